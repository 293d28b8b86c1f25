"""An agent in this process on a real engine, with a control plane that pushes and listens."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from fledx.agent.run import serve
from fledx.models.desired import ReplicaDesired
from fledx.models.instance import Instance
from fledx.sample.image import NAME as SAMPLE
from fledx.sample.image import ensure_image
from fledx.settings.agent import AgentSettings
from tests import builders
from tests.contracts.shell_image import ensure_shell_image
from tests.fakes.control_plane import FakeControlPlane

LIMIT = 60.0


def replica(number: int = 0, **changes: Any) -> ReplicaDesired:
    """Replica of deployment `web`, of the sample app."""
    return builders.replica(number, **{"image": SAMPLE, "stop_grace_seconds": 1.0, **changes})


def shell(script: str, **changes: Any) -> ReplicaDesired:
    """A replica that runs a line of shell."""
    return replica(image="fledx-test-shell:1", command=(script,), stop_grace_seconds=0.0, **changes)


class Node:
    """An agent in this process, its engine, and a control plane that pushes and listens."""

    def __init__(self, directory: Path, docker_host: str) -> None:
        self.docker_host = docker_host
        self.cp = FakeControlPlane()
        self.cp.node_id = str(uuid.uuid4())
        self._directory = directory

    @asynccontextmanager
    async def agent(self, **changes: Any) -> AsyncIterator[None]:
        """At work; leaving stops it."""
        given: dict[str, Any] = {
            "data_dir": str(self._directory / "data"),
            "config_dir": str(self._directory / "config"),
            "docker_host": self.docker_host,
            "metrics_port": 0,
            "health_port": 0,
            "name": "edge-1",
            **changes,
        }
        stop = anyio.Event()
        async with anyio.create_task_group() as tasks:
            join = None if (self._directory / "data" / "identity.json").exists() else self.cp.join
            tasks.start_soon(lambda: serve(AgentSettings(**given), join=join, environ={}, stop=stop))
            await self.cp.connected()
            yield
            began = time.monotonic()
            stop.set()
        assert time.monotonic() - began < LIMIT

    def docker(self, *words: str) -> str:
        """What the docker command prints."""
        done = subprocess.run(
            ["docker", "-H", self.docker_host, *words], capture_output=True, text=True, check=True, timeout=240
        )
        return done.stdout.strip()

    def ids(self) -> list[str]:
        """The running containers of this node."""
        return self.docker("ps", "-q", "--no-trunc", "--filter", f"label=fledx.node_id={self.cp.node_id}").split()

    def pids(self) -> dict[str, str]:
        """The process and the start time of each."""
        found = self.ids()
        shown = self.docker("inspect", "-f", "{{.Id}} {{.State.Pid}}/{{.State.StartedAt}}", *found) if found else ""
        return dict(line.split() for line in shown.splitlines())

    def instance(self, number: int = 0) -> Instance | None:
        """What was reported of one replica."""
        return self.cp.instances.get(("d-web", number))

    async def until(self, true: Callable[[Instance], bool], number: int = 0, within: float = LIMIT) -> Instance:
        """Wait until what is reported of a replica is so."""
        try:
            with anyio.fail_after(within):
                while (found := self.instance(number)) is None or not true(found):
                    await anyio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"not within {within} s: {self.instance(number)}") from None
        return found

    async def running(self, *replicas: ReplicaDesired) -> None:
        """Push and wait until all are ready."""
        await self.cp.push(*replicas)
        for each in replicas:
            await self.until(lambda found: found.ready, each.replica_number)


@asynccontextmanager
async def agent_and_engine(directory: Path, docker_host: str) -> AsyncIterator[Node]:
    """What it made is removed afterwards."""
    node = Node(directory, docker_host)
    await anyio.to_thread.run_sync(lambda: ensure_image(SAMPLE, docker_host=docker_host))
    await anyio.to_thread.run_sync(lambda: ensure_shell_image(docker_host))
    async with node.cp.listening():
        try:
            yield node
        finally:
            left = node.docker("ps", "-aq", "--filter", f"label=fledx.node_id={node.cp.node_id}").split()
            subprocess.run(["docker", "-H", docker_host, "rm", "-f", *left], capture_output=True, check=False)
