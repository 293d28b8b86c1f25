"""The tunnel port of a control plane on loopback: nodes and operators dial it as they would."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskGroup

from fledx.control_plane.agents import Agents
from fledx.control_plane.asking import UsageAsking
from fledx.control_plane.audit import AuditFilter
from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.entrance import Entrance
from fledx.control_plane.ingress.backends import Backends
from fledx.control_plane.ingress.sessions import Ingress
from fledx.control_plane.loops.reachability import Reachability
from fledx.control_plane.metrics import Metrics
from fledx.control_plane.operators import ROLE, Operators
from fledx.control_plane.targets import Targets
from fledx.control_plane.volumes import Volumes
from fledx.models.codec import encode
from fledx.settings.control_plane import ControlPlaneSettings
from fledx.tunnel.dial import dial
from fledx.tunnel.greeting import Hello
from fledx.tunnel.link import Link
from fledx.tunnel.listen import Listener
from fledx.tunnel.stream import Stream
from tests.builders import facts, spec
from tests.unit.control_plane.conftest import ME, Stage
from tests.waiting import until

Serve = Callable[[Stream], Awaitable[None]]
LIMIT_SECS = 60.0


async def echo(stream: Stream) -> None:
    """Say back what comes."""
    stream.accept()
    while data := await stream.receive():
        await stream.send_all(data)
    await stream.send_eof()


async def nothing(stream: Stream) -> None:
    """Serve no stream."""


class Port:
    """The port, and who has dialled it; `tasks` runs both ends."""

    def __init__(self, stage: Stage, tasks: TaskGroup) -> None:
        self.stage = stage
        self.tasks = tasks
        self.metrics = Metrics()
        self.dispatch = Dispatch(stage.store, stage.seal)
        reachability = Reachability(stage.store, stage.changes, self.dispatch, ControlPlaneSettings())
        self.backends = Backends(stage.store, self.dispatch, self.metrics, stage.audit)
        agents = Agents(
            stage.nodes,
            stage.tokens,
            self.dispatch,
            stage.reports,
            reachability,
            stage.pins,
            Volumes(stage.store, stage.changes, self.dispatch),
            heartbeat_secs=5.0,
            metrics=self.metrics,
            audit=stage.audit,
            usage=UsageAsking(self.dispatch),
            ingress=Ingress(
                stage.store,
                stage.changes,
                stage.gateways,
                self.backends,
                self.metrics,
            ),
        )
        targets = Targets(stage.store, self.dispatch)
        operators = Operators(
            stage.tokens, targets, self.dispatch, stage.bell, stage.audit, self.metrics, heartbeat_secs=5.0
        )
        entrance = Entrance(agents, {ROLE: operators})
        self.listener = Listener(authenticate=entrance.authenticate, on_link=entrance.attend, tls=None)
        self.number = self.listener.bind("127.0.0.1", 0)
        self.told: list[Mapping[str, Any]] = []
        self.opened: list[tuple[str, str, Mapping[str, Any]]] = []
        self.tokens: dict[str, tuple[str, str]] = {}
        self.states: dict[str, dict[str, Any]] = {}

    async def node(self, name: str, serve: Serve = echo, **changes: Any) -> Link:
        """A node that joins and connects; what is opened to it is noted and given to `serve`."""
        told = facts(name=name, host_key=str(uuid.uuid4()), **changes)
        made = await self.stage.nodes.register(told, by="test")
        self.tokens[name] = (made.node_id, made.node_token)

        async def on_stream(stream: Stream) -> None:
            if stream.kind == "desired":
                body = b""
                while piece := await stream.receive():
                    body += piece
                self.states[name] = json.loads(body)
                return
            self.opened.append((name, stream.kind, stream.meta))
            await serve(stream)

        hello = Hello(role="agent", node_id=made.node_id, token=made.node_token, facts=encode(told))
        link = await self.dial(hello, on_stream)
        await until(lambda: self.dispatch.session(made.node_id))
        return link

    async def operator(self, token: str = "secret") -> Link:
        """An operator's session."""
        return await self.dial(Hello(role=ROLE, token=token), nothing)

    async def dial(self, hello: Hello, on_stream: Serve) -> Link:
        """Whoever it is."""
        return await dial(
            "127.0.0.1",
            self.number,
            tls=None,
            hello=hello,
            tasks=self.tasks,
            on_stream=on_stream,
            on_message=self.told.append,
        )

    async def deploy(self, **changes: Any) -> str:
        """A deployment whose replicas run and are ready; its id."""
        made = await self.stage.deployments.create(spec(**changes), by=ME)
        for node_id, _ in self.tokens.values():
            await self.stage.runs(node_id)
        return made.deployment_id

    async def audited(self, action: str) -> list[dict[str, Any]]:
        """The lines of an action, the newest first."""
        lines, _ = await self.stage.audit.page(AuditFilter(action=action), limit=100, offset=0)
        return [json.loads(line) for line in lines]

    async def until_audited(self, action: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for so many lines."""
        with anyio.fail_after(LIMIT_SECS):
            while len(found := await self.audited(action)) < count:
                await anyio.sleep(0.005)
        return found


@asynccontextmanager
async def tunnel_port(stage: Stage) -> AsyncIterator[Port]:
    """Open while the block runs."""
    async with anyio.create_task_group() as tasks:
        port = Port(stage, tasks)
        tasks.start_soon(port.listener.serve)
        yield port
        tasks.cancel_scope.cancel()
