"""The control plane's end of the tunnel, for an agent that is to be tried alone."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio

from fledx.models.codec import decode_lenient, encode
from fledx.models.desired import NodeDesiredState, ReplicaDesired
from fledx.models.event import LogLine
from fledx.models.ingress import GatewayDesired, GatewayStatus
from fledx.models.instance import Instance
from fledx.models.registry import RegistryLogin
from fledx.models.report import Happening, Report
from fledx.models.token import JoinString
from fledx.tunnel.greeting import Hello, Refused, Welcome
from fledx.tunnel.link import Link
from fledx.tunnel.listen import Listener
from fledx.tunnel.stream import Stream
from tests.waiting import until


class FakeControlPlane:
    """Lets one node join with one token, pushes what it is to run, and keeps what it reports."""

    def __init__(self) -> None:
        self.token: str | None = "welcome"
        self.node_id = str(uuid.uuid4())
        self.node_token: str | None = "node-secret"
        self.port = 0
        self.revision = 0
        self.registries: tuple[RegistryLogin, ...] = ()
        self.hellos: list[Hello] = []
        self.link: Link | None = None
        self.reports: list[Report] = []
        self.messages: list[Mapping[str, Any]] = []
        self.instances: dict[tuple[str, int], Instance] = {}
        self.happenings: list[Happening] = []
        self.refuses_links = False
        self.gateway: GatewayStatus | None = None
        self.serve: Callable[[Stream], Awaitable[None]] = _none

    @property
    def join(self) -> str:
        """A join string of this control plane, in the clear."""
        return str(JoinString(host="127.0.0.1", port=self.port, token=self.token or "spent", tls=False))

    async def push(self, *replicas: ReplicaDesired, gateway: GatewayDesired | None = None) -> None:
        """Say what the node is to run, and wait until the agent has stored it."""
        self.revision += 1
        state = NodeDesiredState(
            node_id=self.node_id,
            revision=self.revision,
            replicas=replicas,
            registries=self.registries,
            gateway=gateway,
        )
        await self.push_raw(json.dumps(encode(state)).encode())

    async def push_raw(self, body: bytes) -> None:
        """The same with any bytes."""
        assert self.link is not None
        stream = await self.link.open("desired", {"revision": self.revision})
        await stream.send_all(body)
        await stream.send_eof()
        assert await stream.receive() == b""

    async def logs(self, key: tuple[str, int], **query: Any) -> Stream:
        """A `logs` stream of one replica."""
        assert self.link is not None
        return await self.link.open("logs", {"deployment_id": key[0], "replica_number": key[1], **query})

    def cut(self) -> None:
        """Lose the link."""
        assert self.link is not None
        self.link.close("cut by the test")

    async def connected(self) -> None:
        """Wait for the node's link and its first report."""
        await until(lambda: self.link is not None and self.reports)

    async def authenticate(self, hello: Hello, address: str) -> Welcome | Refused:
        self.hellos.append(hello)
        if hello.role == "join" and hello.token == self.token:
            self.token, self.node_token = None, self.node_token or "node-secret-2"
            body = {"node_id": self.node_id, "node_token": self.node_token, "name": hello.facts.get("name")}
            return Welcome(session="s", reconnect_secs=0.1, body=body)
        if hello.role == "agent" and (hello.node_id, hello.token) == (self.node_id, self.node_token):
            return Welcome(session="s", reconnect_secs=0.1)
        return Refused(code="denied", reason="this token is not known here")

    async def attend(self, link: Link) -> None:
        if not isinstance(link.peer, Hello) or link.peer.role != "agent" or self.refuses_links:
            link.close("no")
            return
        self.reports.clear()
        self.link = link
        async with anyio.create_task_group() as tasks:
            link.attend(tasks, on_stream=self._serve, on_message=self._take)
            await link.closed()
            tasks.cancel_scope.cancel()
        if self.link is link:
            self.link = None

    async def _serve(self, stream: Stream) -> None:
        await self.serve(stream)

    def _take(self, message: Mapping[str, Any]) -> None:
        self.messages.append(message)
        if message.get("type") != "report":
            return
        report = decode_lenient(Report, message["report"])
        self.reports.append(report)
        self.happenings += report.happenings
        self.gateway = report.gateway or self.gateway
        if report.full:
            self.instances.clear()
        for key in report.gone:
            self.instances.pop((key[0], key[1]), None)
        self.instances.update((each.key, each) for each in report.instances)

    @asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[None]:
        """Serve the tunnel on loopback, in the clear."""
        listener = Listener(authenticate=self.authenticate, on_link=self.attend, tls=None)
        self.port = listener.bind("127.0.0.1", port)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve)
            yield
            tasks.cancel_scope.cancel()


async def _none(stream: Stream) -> None:
    stream.reset("nothing is served here")


def read_lines(data: bytes) -> list[LogLine]:
    """What a `logs` stream carries, as the API shows it."""
    found = []
    for line in data.splitlines():
        each = json.loads(line)
        found.append(
            LogLine(deployment="web", replica_number=0, node="n", stream=each["s"], time=each["t"], line=each["l"])
        )
    return found
