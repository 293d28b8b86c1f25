"""A control plane's tunnel port and a node whose replicas are made up, for what the command line does with both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fledx.agent.reconcile.actions import Copy
from fledx.agent.runtime.containers import ContainerSpec
from fledx.agent.spec import Marks
from fledx.agent.streams.exec import Commands
from fledx.agent.streams.forward import Connections
from fledx.agent.streams.replicas import Replicas
from fledx.client.operator_session import WayIn
from fledx.errors import InvalidSpec
from fledx.tunnel.stream import Stream
from tests.fakes.runtime import FakeRuntime
from tests.unit.control_plane.conftest import Stage
from tests.unit.control_plane.entered import Port, tunnel_port


class Fleet:
    """One deployment `web` on two nodes; `runtime` is the engine of both, whose containers' address is loopback."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.runtime = FakeRuntime()
        self.runtime.address = "127.0.0.1"
        replicas = Replicas(copies=lambda key: [self.copy], wanted=dict)
        self._serving = {
            "exec": Commands(self.runtime, replicas).serve,
            "connect": Connections(replicas).serve,
        }

    @property
    def way(self) -> WayIn:
        """As the API would tell it."""
        return WayIn(hosts=("127.0.0.1",), port=self.port.number, authority=None, token="secret")

    async def set_up(self) -> None:
        """Both nodes join, and run a replica each."""
        container_id = await self.runtime.create(ContainerSpec(name="web", image="app:1"))
        await self.runtime.start(container_id)
        marks = Marks(
            node_id="n", deployment_id="d", deployment="web", replica_number=0, generation=1, revision=1, template="t",
            fence=1,
        )  # fmt: skip
        self.copy = Copy(container=self.runtime.running()[0], marks=marks)
        for name in ("edge-1", "edge-2"):
            await self.port.node(name, self._serve)
        await self.port.deploy(replicas=2)

    async def _serve(self, stream: Stream) -> None:
        if stream.kind not in self._serving:
            raise InvalidSpec("kind", stream.kind)
        await self._serving[stream.kind](stream)


@asynccontextmanager
async def fleet(folder: Path) -> AsyncIterator[Fleet]:
    """While the block runs."""
    stage = Stage(folder / "fledx.db")
    try:
        async with tunnel_port(stage) as port:
            made = Fleet(port)
            await made.set_up()
            yield made
    finally:
        stage.store.close()
