"""A whole agent on a fake engine, and the control plane's end of its tunnel."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from fledx.agent.clock import Clock
from fledx.agent.run import serve
from fledx.errors import FledxError
from fledx.models.desired import ReplicaDesired
from fledx.settings.agent import AgentSettings
from tests.fakes.control_plane import FakeControlPlane
from tests.fakes.runtime import FakeRuntime
from tests.waiting import until

WEB = ("d-web", 0)
"""The one replica of `tests.builders.replica`."""


class World:
    """One directory, one engine, one control plane; agents come and go, the last one's end took `ended` seconds."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.runtime = FakeRuntime()
        self.cp = FakeControlPlane()
        self.failure: FledxError | None = None
        self.clock: Clock | None = None
        self.ended = 0.0

    def settings(self, **changes: Any) -> AgentSettings:
        fields: dict[str, Any] = {
            "data_dir": str(self.directory / "data"),
            "config_dir": str(self.directory / "config"),
            "name": "edge-1",
            "metrics_port": 0,
            "health_port": 0,
            "restart_backoff_secs": 0.05,
            **changes,
        }
        return AgentSettings(**fields)

    @asynccontextmanager
    async def agent(self, join: str | None = None, **changes: Any) -> AsyncIterator[None]:
        """An agent at work; leaving stops it, which must not take long."""
        stop = anyio.Event()

        async def run() -> None:
            try:
                await serve(
                    self.settings(**changes), join=join, environ={}, stop=stop, runtime=self.runtime, clock=self.clock
                )
            except FledxError as problem:
                self.failure = problem

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            yield
            began = time.monotonic()
            stop.set()
        self.ended = time.monotonic() - began
        assert self.ended < 60

    @asynccontextmanager
    async def running(self, replica: ReplicaDesired) -> AsyncIterator[None]:
        """A control plane that listens, and an agent that has joined it and runs this replica, which is ready."""
        async with self.cp.listening(), self.agent(self.cp.join):
            await self.cp.connected()
            await self.cp.push(replica)
            await until(lambda: replica.key in self.cp.instances and self.cp.instances[replica.key].ready)
            yield
