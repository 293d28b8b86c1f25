"""A container engine, real or made up, and the words in which contracts speak of it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from fledx.agent.runtime.base import Runtime
from fledx.agent.runtime.containers import Container, ContainerSpec, LogEntry
from fledx.agent.runtime.docker import DockerRuntime
from tests.contracts.shell_image import ensure_shell_image
from tests.fakes.runtime import FakeRuntime

LIMIT = 60.0


@dataclass(kw_only=True)
class Engine:
    """A runtime, the image to use, and a node id that only this test has."""

    runtime: Runtime
    image: str
    node_id: str
    fake: FakeRuntime | None = None

    def spec(self, script: str = "sleep 60", **changes: object) -> ContainerSpec:
        """A container that runs a line of shell."""
        fields: dict[str, object] = {
            "name": f"fledx-test-{uuid.uuid4().hex[:12]}",
            "image": self.image,
            "command": (script,),
            "labels": {"fledx.node_id": self.node_id},
            "stop_grace": 0.0,
            **changes,
        }
        return ContainerSpec(**fields)  # type: ignore[arg-type]

    async def running(self, script: str = "sleep 60", **changes: object) -> str:
        """One that has been started; returns its id."""
        container_id = await self.runtime.create(self.spec(script, **changes))
        await self.runtime.start(container_id)
        return container_id

    async def shown(self, container_id: str) -> Container:
        """It must be there."""
        found = await self.runtime.inspect(container_id)
        assert found is not None
        return found

    async def until(self, container_id: str, true: Callable[[Container], bool]) -> Container:
        """Wait for a condition of it."""
        with anyio.fail_after(LIMIT):
            while not true(found := await self.shown(container_id)):
                await anyio.sleep(0.02)
        return found


@asynccontextmanager
async def docker_engine() -> AsyncIterator[Engine]:
    image = await anyio.to_thread.run_sync(ensure_shell_image)
    engine = Engine(runtime=DockerRuntime(), image=image, node_id=f"test-{uuid.uuid4()}")
    try:
        yield engine
    finally:
        for container in await engine.runtime.look(engine.node_id):
            await engine.runtime.remove(container.id)
        await engine.runtime.aclose()


@asynccontextmanager
async def fake_engine() -> AsyncIterator[Engine]:
    fake = FakeRuntime()
    yield Engine(runtime=fake, image="app:1", node_id="test-node", fake=fake)


async def lines_of(runtime: Runtime, container_id: str, **query: object) -> list[LogEntry]:
    found: list[LogEntry] = []
    async with runtime.logs(container_id, **query) as batches:  # type: ignore[arg-type]
        async for batch in batches:
            found += batch
    return found
