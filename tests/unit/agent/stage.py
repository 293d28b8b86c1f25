"""One agent's reconciler on a fake engine with a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from fledx.agent.backoff import Pace
from fledx.agent.images.choosing import Images
from fledx.agent.images.disk import Disk, InUse, Limits, Space
from fledx.agent.images.pins import Pins
from fledx.agent.images.records import Records
from fledx.agent.instances import Known, instance_of
from fledx.agent.reconcile.execute import Executor
from fledx.agent.reconcile.loop import Reconciler
from fledx.agent.secrets import NodeSecrets
from fledx.agent.spec import Key, container_spec, marks_for
from fledx.agent.volumes import Policy
from fledx.models.desired import NodeDesiredState, ReplicaDesired
from fledx.models.health import HealthStatus
from fledx.models.image import registry_of
from fledx.models.ingress import Held
from fledx.models.instance import Instance
from fledx.models.port import PortMapping
from fledx.models.registry import RegistryLogin
from tests.builders import replica as replica  # whoever is on this stage wants replicas
from tests.fakes.clock import FakeClock
from tests.fakes.runtime import FakeRuntime

NODE = "0a1b2c3d-0000-4000-8000-000000000001"
PACE = Pace(first=1.0, longest=30.0, limit=5, slow=300.0, stable=30.0)
IDLE_TURNS = 60


def port(host: int, container: int = 80) -> PortMapping:
    """A published port."""
    return PortMapping(container_port=container, host_port=host)


def space(taken: int) -> Space:
    """A disk of 100 bytes."""
    return Space(root="/docker", total=100, free=100 - taken, taken=taken)


class Stage:
    """A node, and the words of its stories."""

    def __init__(self, *, environ: Mapping[str, str] | None = None) -> None:
        self.said: list[Mapping[str, Any]] = []
        self.linked = False
        self.logins: dict[str, RegistryLogin] = {}
        self.space = space(0)
        self.clock = FakeClock()
        self.runtime = FakeRuntime()
        self.state: NodeDesiredState | None = None
        self.happened: list[tuple[str, Key | None, str]] = []
        self.health: dict[str, HealthStatus] = {}
        self._build(environ or {})

    def _build(self, environ: Mapping[str, str]) -> None:
        executor = Executor(
            node_id=NODE,
            node="edge-1",
            runtime=self.runtime,
            images=self._images(),
            secrets=NodeSecrets(environ, prefix="FLEDX_SECRET_", directory="/nonexistent"),
            policy=Policy(prefixes=("/nonexistent",)),
            clock=self.clock,
        )
        self.loop = Reconciler(
            node_id=NODE,
            runtime=self.runtime,
            executor=executor,
            desired=lambda: self.state,
            clock=self.clock,
            pace=PACE,
            interval=10.0,
            tell=lambda kind, key, reason: self.happened.append((kind, key, reason)),
            changed=lambda: None,
            spread=lambda: 0.0,
        )

    def _images(self) -> Images:
        self.pins = Pins(desired=lambda: self.state, say=self._say)
        self.records = Records(Path("/nonexistent/images.json"))
        self.disk = Disk(
            self.runtime,
            self.records,
            self.clock,
            Limits(reserve=10, clean_percent=80),
            in_use=lambda: InUse(wanted=(), used={each.image for each in self.runtime.all()}),
            tell=lambda reason: self.happened.append(("disk", None, reason)),
            eased=lambda: self.loop.pull_again("no_space", set(self.loop.wanted())),
            measured=lambda root: self.space,
        )
        return Images(
            self.runtime,
            pins=self.pins,
            records=self.records,
            disk=self.disk,
            login=lambda image: self.logins.get(registry_of(image)),
        )

    def _say(self, message: Mapping[str, Any]) -> bool:
        if self.linked:
            self.said.append(message)
        return self.linked

    async def want(self, *replicas: ReplicaDesired, held: tuple[Held, ...] = ()) -> None:
        """The control plane says what is to run, and what gateways still drain."""
        revision = self.state.revision + 1 if self.state else 1
        self.state = NodeDesiredState(node_id=NODE, revision=revision, replicas=replicas, held=held)
        self.pins.changed()
        self.loop.wake()
        await self.settle()

    async def settle(self) -> None:
        """Let everything happen that can without time passing."""
        quiet, before = 0, len(self.runtime.done)
        while quiet < IDLE_TURNS:
            await anyio.lowlevel.checkpoint()
            quiet = quiet + 1 if len(self.runtime.done) == before else 0
            before = len(self.runtime.done)

    async def wait(self, seconds: float) -> None:
        """Let time pass in small steps."""
        end = self.clock.now + seconds
        while self.clock.now < end - 1e-9:
            self.clock.advance(min(0.25, end - self.clock.now))
            for _ in range(12):
                await anyio.lowlevel.checkpoint()
        await self.settle()

    def instance(self, number: int = 0, deployment: str = "d-web") -> Instance:
        """What would be reported of one replica."""
        key = (deployment, number)
        found = instance_of(
            Known(
                key=key,
                node_id=NODE,
                replica=self.loop.wanted().get(key),
                copies=self.loop.copies.get(key, ()),
                history=self.loop.histories.get(key),
                pace=PACE,
                host="192.0.2.1",
                doing=self.loop.doing(key),
                waiting=self.loop.waiting(key),
                trouble=self.loop.trouble,
                health=self.health,
                record=self.loop.jobs.records.get(key),
            )
        )
        assert found is not None
        return found

    def kinds(self, number: int = 0) -> list[str]:
        """The words under which things were told of one replica."""
        return [kind for kind, key, _ in self.happened if key == ("d-web", number)]

    def reasons(self, kind: str) -> list[str]:
        """Why."""
        return [reason for each, _, reason in self.happened if each == kind]

    async def made(self, wanted: ReplicaDesired, *, state: str = "running", restarts: int = 0) -> str:
        """A container that an earlier agent of this node has left in this state; returns its id."""
        spec = container_spec(wanted, marks_for(wanted, NODE, restarts), node="edge-1", secrets={}, mounts=())
        taken = {each.name for each in self.runtime.all()}
        name = next(name for i in range(9) if (name := f"{spec.name}{'-old' * i}") not in taken)
        container_id = await self.runtime.create(replace(spec, name=name))
        if state != "created":
            await self.runtime.start(container_id)
        if state == "exited":
            self.runtime.exit(container_id, 0)
        elif state not in ("created", "running"):
            self.runtime.change(container_id, state=state)
        self.runtime.done.clear()
        return container_id


@asynccontextmanager
async def running(stage: Stage | None = None) -> AsyncIterator[Stage]:
    """The stage while its reconciler runs."""
    stage = stage or Stage()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stage.loop.run)
        await stage.settle()
        yield stage
        tasks.cancel_scope.cancel()
