"""A node's digest that is not that of what is stored has the node tell everything again."""

from __future__ import annotations

import pytest

from fledx.models.report import Report, digest_of
from tests.builders import instance
from tests.unit.control_plane.conftest import Stage
from tests.unit.control_plane.entered import tunnel_port
from tests.waiting import until

pytestmark = pytest.mark.anyio
RESYNC, END = {"type": "resync"}, {"type": "end"}


async def test_a_digest_that_differs_is_answered_once_however_often_it_comes(stage: Stage) -> None:
    async with tunnel_port(stage) as port:
        link = await port.node("edge-1")
        await port.deploy()
        node_id, _ = port.tokens["edge-1"]
        session = port.dispatch.session(node_id)
        assert session is not None
        right = digest_of(stage.nodes.instances(node_id))
        assert stage.nodes.instances(node_id)

        for digest in (right, "a" * 16, "a" * 16, right, "b" * 16):
            link.send({"type": "digest", "digest": digest, "revision": 1})
        await until(lambda: session.disputed is not None and session.disputed[0] == "b" * 16)
        session.link.send(END)
        await until(lambda: END in port.told)
        assert [RESYNC, RESYNC, END] == port.told


async def test_nothing_is_compared_while_a_report_waits_to_be_stored(stage: Stage) -> None:
    node = await stage.node("edge-1")
    assert not stage.reports.agrees(node, "a" * 16)
    await stage.reports.take(node, Report(revision=1, instances=(instance(node_id=node),)))
    assert stage.reports.agrees(node, "a" * 16)
