"""Sizes of volumes, as nodes that can be asked tell them."""

from __future__ import annotations

import pytest

from fledx.control_plane.volumes import Volumes
from fledx.errors import InvalidSpec
from fledx.models.volume import Volume
from fledx.tunnel.stream import Stream
from tests.builders import NOW
from tests.unit.control_plane.conftest import Stage
from tests.unit.control_plane.entered import Port, tunnel_port
from tests.waiting import until

pytestmark = pytest.mark.anyio


def volume(port: Port, node: str, name: str) -> Volume:
    return Volume(
        deployment="web",
        replica_number=0,
        volume="data",
        node=node,
        state="current",
        name=name,
        node_id=port.tokens[node][0],
        deployment_id="d",
        created_at=NOW,
    )


async def test_a_volume_has_a_size_where_its_node_is_there_and_tells_one(stage: Stage) -> None:
    async def tells(stream: Stream) -> None:
        await says(stream, b'{"one": 7, "two": -1, "three": "many", "four": true}')

    async def babbles(stream: Stream) -> None:
        await says(stream, b"[1, 2")

    async def is_older(stream: Stream) -> None:
        raise InvalidSpec("kind", "this agent serves no streams of that kind")

    async with tunnel_port(stage) as port:
        for name, serve in (("edge-1", tells), ("edge-2", babbles), ("edge-3", is_older), ("edge-4", tells)):
            link = await port.node(name, serve)
        link.close("a cut")
        await until(lambda: port.dispatch.session(port.tokens["edge-4"][0]) is None)
        listed = [volume(port, "edge-1", name) for name in ("one", "two", "three", "four", "five")]
        listed += [volume(port, f"edge-{number}", "one") for number in (2, 3, 4)]

        found = await Volumes(stage.store, stage.changes, port.dispatch).measured(listed)

    assert [7] + [None] * 7 == [each.size_bytes for each in found]
    assert [each.name for each in listed] == [each.name for each in found]


async def says(stream: Stream, answer: bytes) -> None:
    assert (stream.kind, stream.meta) == ("volume_sizes", {})
    stream.accept()
    await stream.send_all(answer)
    await stream.send_eof()
