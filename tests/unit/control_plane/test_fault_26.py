"""A control plane whose agents are two versions ahead, or behind (fault 26)."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from fledx import __version__
from fledx.errors import InvalidSpec
from fledx.models.codec import decode_lenient, encode
from fledx.models.node import NodeFacts
from fledx.tunnel.greeting import Hello, Welcome
from fledx.tunnel.link import Link
from fledx.tunnel.stream import Stream
from tests.builders import facts, instance, spec
from tests.unit.control_plane.conftest import ME, Stage
from tests.unit.control_plane.entered import LIMIT_SECS, Port, tunnel_port
from tests.waiting import until

pytestmark = pytest.mark.anyio


class Agent:
    """One of version 0.3.0, that keeps what it is told to run and refuses it when `refusal` says why."""

    def __init__(self, port: Port, refusal: str | None = None) -> None:
        self.port = port
        self.refusal = refusal
        self.node_id = ""
        self.state: dict[str, Any] = {}

    async def on_stream(self, stream: Stream) -> None:
        body = b""
        while piece := await stream.receive():
            body += piece
        if self.refusal:
            raise InvalidSpec("", self.refusal)
        self.state = json.loads(body)

    async def connect(self, told: dict[str, Any]) -> Link:
        """Join, be given something to run, and dial with these facts."""
        stage = self.port.stage
        made = await stage.nodes.register(decode_lenient(NodeFacts, told), by="test")
        await stage.deployments.create(spec(), by=ME)
        self.node_id = made.node_id
        hello = Hello(role="agent", node_id=made.node_id, token=made.node_token, version="0.3.0", facts=told)
        return await self.port.dial(hello, self.on_stream)


async def test_fault_26_what_a_newer_agent_adds_is_passed_over(stage: Stage) -> None:
    async with tunnel_port(stage) as port:
        port.tasks.start_soon(stage.reports.run)
        agent = Agent(port)
        link = await agent.connect({**encode(facts()), "brand_new": {"a": 1}})
        assert isinstance(link.peer, Welcome)
        assert link.peer.version == __version__
        await until(lambda: agent.state.get("replicas"))
        (replica,) = agent.state["replicas"]
        seen = encode(
            instance(deployment_id=replica["deployment_id"], node_id=agent.node_id, template=replica["template"])
        )

        link.send({"type": "brand_new", "data": [1, 2]})
        told = {"revision": agent.state["revision"], "full": True, "instances": [{**seen, "brand_new": 1}]}
        link.send({"type": "report", "report": {**told, "brand_new": {}}})

        await until(lambda: stage.deployments.get("web").status == "running")
        assert link.reason is None


async def test_fault_26_a_much_older_agent_that_tells_next_to_nothing_runs_what_it_can(stage: Stage) -> None:
    async with tunnel_port(stage) as port:
        agent = Agent(port)
        await agent.connect({"name": "edge-1"})
        hardened = await stage.deployments.create(spec(name="hardened", read_only=True), by=ME)

        await until(lambda: agent.state.get("replicas"))

        assert ["web"] == [replica["deployment"] for replica in agent.state["replicas"]]
        assert ["1 node: its agent is too old for read_only (edge-1)"] == [each.reason for each in hardened.pending]


async def test_fault_26_an_agent_that_cannot_read_its_state_is_told_both_versions(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    async with tunnel_port(stage) as port:
        link = await Agent(port, refusal="replicas[0].ports: {} is not a list").connect(encode(facts()))

        with anyio.fail_after(LIMIT_SECS):
            reason = await link.closed()

    text = f"it runs fledx 0.3.0, this control plane {__version__}): replicas[0].ports: {{}} is not a list"
    assert reason.endswith(text)
    assert [reason] == [
        record.__dict__["reason"] for record in caplog.records if record.message == "desired state not taken"
    ]
