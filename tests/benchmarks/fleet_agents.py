"""
A fleet in one process: each node has the program's own tunnel client and reporter, and says that it runs what it is to.

    MSGPACK_PUREPYTHON=1 python tests/benchmarks/fleet_agents.py COUNT JOIN

All that is missing of an agent is the engine. Prints a line of JSON (`Seen`) once all have joined and another for each
line it reads, and ends with its input.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import anyio  # noqa: E402

from fledx.agent.clock import Clock  # noqa: E402
from fledx.agent.report import Reporter  # noqa: E402
from fledx.agent.spec import Key  # noqa: E402
from fledx.agent.tunnel_client import TunnelClient, join, refuse  # noqa: E402
from fledx.models.codec import decode_lenient  # noqa: E402
from fledx.models.desired import NodeDesiredState, ReplicaDesired  # noqa: E402
from fledx.models.instance import Instance  # noqa: E402
from fledx.models.node import Capacity, NodeFacts  # noqa: E402
from fledx.models.token import JoinString  # noqa: E402
from fledx.tunnel.link import Link  # noqa: E402
from fledx.tunnel.stream import Stream  # noqa: E402

AT_ONCE = 32
"""Nodes that join at the same time."""
CONNECT_SECS = 60.0
JOINED = "2026-01-01T00:00:00.000Z"


@dataclass
class Seen:
    """
    How the fleet stands: who is linked and since when, and what the control plane has said to it.

    ``back`` are seconds of the monotonic clock, by node; ``states`` counts desired states, ``resyncs`` requests to tell
    everything again.
    """

    linked: int = 0
    states: int = 0
    resyncs: int = 0
    back: dict[int, float] = field(default_factory=dict)


class Node:
    """One node; what its client and its reporter need of an agent (`Served`)."""

    def __init__(self, number: int, seen: Seen) -> None:
        self._number = number
        self._seen = seen
        self._state: NodeDesiredState | None = None
        self._node_id = ""
        self._reporter = Reporter(look=self._instances, facts=self._facts, revision=self._revision, clock=Clock())

    async def run(self, joining: JoinString, limit: anyio.CapacityLimiter) -> None:
        """Join, then stay until cancelled."""
        async with limit:
            identity = await join(joining, self._facts(), connect_timeout=CONNECT_SECS)
        self._node_id = identity.node_id
        client = TunnelClient(
            identity,
            facts=self._facts,
            served=self,
            clock=Clock(),
            connect_timeout=CONNECT_SECS,
            learnt=lambda learnt: None,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._reporter.run)
            tasks.start_soon(client.run)

    async def on_stream(self, stream: Stream) -> None:
        """Take a desired state, as `agent.desired` does but for the disk (`Served`)."""
        if stream.kind != "desired":
            await refuse(stream)
        body = bytearray()
        while data := await stream.receive():
            body += data
        self._state = decode_lenient(NodeDesiredState, json.loads(body))
        self._seen.states += 1
        self._reporter.changed()
        await stream.send_eof()

    def on_message(self, message: Mapping[str, Any]) -> None:
        """Tell everything again when asked to (`Served`)."""
        if message.get("type") == "resync":
            self._seen.resyncs += 1
            self._reporter.resync()

    def connected(self, link: Link) -> None:
        """Linked (`Served`)."""
        self._seen.linked += 1
        self._seen.back[self._number] = time.monotonic()
        self._reporter.attach(link)

    def disconnected(self, link: Link) -> None:
        """The link is over (`Served`)."""
        self._seen.linked -= 1
        self._reporter.detach(link)

    def denied(self) -> None:
        """No node of a benchmark is ever turned away (`Served`)."""
        raise RuntimeError(f"node {self._number} was denied")

    def _facts(self) -> NodeFacts:
        return NodeFacts(
            name=f"edge-{self._number:05}",
            arch="amd64",
            os="linux",
            labels={"zone": f"z{self._number % 8}"},
            capacity=Capacity(cpu_millis=4000, memory_bytes=8 << 30),
            host_key=f"host-{self._number}",
            runtime="Docker 24.0",
            allows=(),
            volume_prefixes=(),
        )

    def _revision(self) -> int:
        return 0 if self._state is None else self._state.revision

    def _instances(self) -> Mapping[Key, Instance]:
        return {} if self._state is None else {each.key: self._running(each) for each in self._state.replicas}

    def _running(self, wanted: ReplicaDesired) -> Instance:
        return Instance(
            deployment_id=wanted.deployment_id,
            replica_number=wanted.replica_number,
            node_id=self._node_id,
            container_id=f"{self._number:05}-{wanted.deployment_id}-{wanted.replica_number}",
            state="running",
            ready=True,
            revision=wanted.revision,
            template=wanted.template,
            fence=wanted.fence,
            started_at=JOINED,
            last_updated=JOINED,
        )


async def fleet(count: int, joining: JoinString) -> None:
    """So many nodes, until the input ends."""
    seen, limit = Seen(), anyio.CapacityLimiter(AT_ONCE)
    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(Node(number, seen).run, joining, limit)
        async for _ in anyio.wrap_file(sys.stdin):
            print(json.dumps(asdict(seen)), flush=True)
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # what one node says of its link says every other
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    anyio.run(fleet, int(sys.argv[1]), JoinString.parse(sys.argv[2]))
