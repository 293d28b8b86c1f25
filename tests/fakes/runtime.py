"""An engine in memory: containers that start, fail, exit and are meddled with on command."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from fledx.agent.runtime.containers import (
    Container,
    ContainerSpec,
    Execution,
    ImageMissing,
    LogEntry,
    NameTaken,
    PortTaken,
    RuntimeEvent,
    Usage,
)
from fledx.errors import FledxError, NotFound, Unavailable
from fledx.models.exec import ExecRequest
from fledx.models.port import PortMapping
from tests.fakes.commands import PROGRAMS, FakeCommand, Program, begun
from tests.fakes.images import FakeImages
from tests.fakes.volumes import FakeVolumes

ALIVE = ("running", "paused", "restarting")


class FakeRuntime(FakeImages, FakeVolumes):
    """
    Behaves as `Runtime` says, at once and without threads.

    ``exits`` maps an image to the code with which its containers end as soon as they run, ``refuses`` to the error
    their start raises, ``start_gates`` to what a start is answered after; ``resume_gate`` is that of going on after a
    pause. While ``down`` is set every call raises Unavailable. ``done`` is what was asked of it.
    """

    def __init__(self) -> None:
        FakeImages.__init__(self)
        FakeVolumes.__init__(self)
        self.start_gates: dict[str, anyio.Event] = {}
        self.stop_gates: dict[str, anyio.Event] = {}
        self.resume_gate: anyio.Event | None = None
        self.exits: dict[str, int] = {}
        self.refuses: dict[str, FledxError] = {}
        self.down = False
        self.address = "10.0.0.9"
        self.done: list[str] = []
        self.specs: dict[str, ContainerSpec] = {}
        self.written: dict[str, list[LogEntry]] = {}
        self.answers: dict[tuple[str, ...], Execution] = {}
        self.programs: dict[str, Program] = dict(PROGRAMS)
        self.commands: list[FakeCommand] = []
        self._containers: dict[str, Container] = {}
        self._numbers = itertools.count(1)
        self._subscribers: list[tuple[str, MemoryObjectSendStream[RuntimeEvent]]] = []

    def all(self) -> list[Container]:
        """Every container, eldest first."""
        return list(self._containers.values())

    def running(self) -> list[Container]:
        """Those that run."""
        return [each for each in self._containers.values() if each.state == "running"]

    def named(self, name: str) -> Container:
        """The container of this name."""
        return next(each for each in self._containers.values() if each.name == name)

    def foreign(
        self, name: str, *, labels: Mapping[str, str] | None = None, ports: tuple[PortMapping, ...] = ()
    ) -> Container:
        """Somebody else's container, running."""
        container = Container(
            id=f"foreign{next(self._numbers)}",
            name=name,
            image="other",
            labels=labels or {},
            state="running",
            created_at=self._stamp(),
            ports=ports,
        )
        self._containers[container.id] = container
        return container

    def exit(self, container_id: str, code: int, *, oom: bool = False) -> None:
        """The process inside ends by itself."""
        self._end(container_id, code, oom=oom)

    def stop_by_hand(self, container_id: str) -> None:
        """Somebody types `docker stop`."""
        self._emit("halt", container_id)
        self._end(container_id, 143)
        self._emit("halt", container_id)

    def remove_by_hand(self, container_id: str) -> None:
        """Somebody types `docker rm -f`."""
        self._emit("halt", container_id)
        self._end(container_id, 137)
        self._drop(container_id)

    def pause_by_hand(self, container_id: str) -> None:
        """Somebody types `docker pause`."""
        self._change(container_id, state="paused")
        self._emit("pause", container_id)

    def rename_by_hand(self, container_id: str, name: str) -> None:
        """Somebody types `docker rename`."""
        self._change(container_id, name=name)

    def change(self, container_id: str, **changes: object) -> None:
        """Put it into a state that is reached in odd ways only."""
        self._change(container_id, **changes)

    def go_away(self, *, ending: bool = True) -> None:
        """The daemon stops; unless it keeps them alive its containers end with it."""
        self.down = True
        for _, subscriber in self._subscribers:
            subscriber.close()
        self._subscribers.clear()
        if ending:
            for each in self.running():
                self._change(each.id, state="exited", exit_code=137, ports=(), address=None)

    def come_back(self) -> None:
        """The daemon answers again."""
        self.down = False

    async def describe(self) -> str:
        await self._asked()
        return "fake 1.0"

    async def look(self, node_id: str) -> tuple[Container, ...]:
        await self._asked()
        return tuple(each for each in self._containers.values() if each.labels.get("fledx.node_id") == node_id)

    async def labelled(self, name: str, value: str) -> tuple[Container, ...]:
        await self._asked()
        return tuple(each for each in self._containers.values() if each.labels.get(name) == value)

    async def inspect(self, container_id: str) -> Container | None:
        await self._asked()
        return self._containers.get(container_id)

    async def create(self, spec: ContainerSpec) -> str:
        await self._asked(f"create {spec.name} {spec.image}")
        if spec.image not in self.images:
            raise ImageMissing(f"No such image: {spec.image}")
        if any(each.name == spec.name for each in self._containers.values()):
            raise NameTaken(f"the name {spec.name} is taken")
        container = Container(
            id=f"c{next(self._numbers)}",
            name=spec.name,
            image=spec.image,
            labels=dict(spec.labels),
            state="created",
            created_at=self._stamp(),
            stop_grace=spec.stop_grace,
        )
        self._containers[container.id] = container
        self.specs[container.id] = spec
        return container.id

    async def start(self, container_id: str) -> None:
        await self._asked(f"start {self._name(container_id)}")
        container = self._must(container_id)
        if container.state == "running":
            return
        if container.image in self.refuses:
            raise self.refuses[container.image]
        ports = self.specs[container_id].ports
        for other in self.running():
            for port in ports:
                if any(_clash(port, taken) for taken in other.ports):
                    raise PortTaken(f"Bind for 0.0.0.0:{port.host_port} failed: port is already allocated")
        stamp = self._stamp()
        self._change(container_id, state="running", exit_code=None, started_at=stamp, ports=ports, address=self.address)
        self._emit("start", container_id)
        if container.image in self.exits:
            self._end(container_id, self.exits[container.image])
        if container.image in self.start_gates:
            await self.start_gates[container.image].wait()

    async def stop(self, container_id: str, *, grace: float) -> None:
        await self._asked(f"stop {self._name(container_id)}")
        if container_id not in self._containers:
            return
        if (gate := self.stop_gates.get(self._name(container_id))) is not None:
            await gate.wait()
        if self._containers[container_id].state in ALIVE:
            self._emit("halt", container_id)
            self._end(container_id, 143)
            self._emit("halt", container_id)

    async def pause(self, container_id: str) -> None:
        await self._asked(f"pause {self._name(container_id)}")
        if self._must(container_id).state not in ("running", "paused"):
            raise NotFound("the container does not run")
        self._change(container_id, state="paused")
        self._emit("pause", container_id)

    async def resume(self, container_id: str) -> None:
        await self._asked(f"resume {self._name(container_id)}")
        if self._must(container_id).state == "paused":
            self._change(container_id, state="running")
            self._emit("unpause", container_id)
            if self.resume_gate is not None:
                await self.resume_gate.wait()

    async def remove(self, container_id: str) -> None:
        await self._asked(f"remove {self._name(container_id)}")
        if container_id in self._containers:
            self._drop(container_id)

    async def holder(self, port: PortMapping) -> str | None:
        await self._asked()
        found = (each.name for each in self.running() if any(_clash(port, taken) for taken in each.ports))
        return next(found, None)

    @asynccontextmanager
    async def events(self, node_id: str) -> AsyncIterator[AsyncIterator[RuntimeEvent]]:
        await self._asked()
        send, receive = anyio.create_memory_object_stream[RuntimeEvent](1000)
        self._subscribers.append((node_id, send))
        try:
            with send, receive:
                yield receive.__aiter__()
        finally:
            self._subscribers = [each for each in self._subscribers if each[1] is not send]

    @asynccontextmanager
    async def logs(
        self,
        container_id: str,
        *,
        follow: bool = False,
        since: str | None = None,
        until: str | None = None,
        tail: int | None = None,
    ) -> AsyncIterator[AsyncIterator[Sequence[LogEntry]]]:
        await self._asked()
        self._must(container_id)
        yield self._entries(container_id, follow=follow, since=since, until=until, tail=tail)

    async def _entries(
        self, container_id: str, *, follow: bool, since: str | None, until: str | None, tail: int | None
    ) -> AsyncIterator[Sequence[LogEntry]]:
        entries = self.written.setdefault(container_id, [])
        chosen = [each for each in entries if (since or "") <= each.time <= (until or "~")]
        if batch := chosen if tail is None else chosen[len(chosen) - min(tail, len(chosen)) :]:
            yield batch
        sent = len(entries)
        while follow and self._containers.get(container_id) and self._containers[container_id].state in ALIVE:
            await anyio.sleep(0.001)
            if batch := entries[sent:]:
                yield batch
            sent += len(batch)

    async def usage(self, container_id: str) -> Usage | None:
        await self._asked()
        container = self._containers.get(container_id)
        if container is None or container.state != "running":
            return None
        return Usage(at=0.0, cpu_seconds=0.0, memory_bytes=1_000_000)

    async def execute(self, container_id: str, command: Sequence[str], *, limit: float, most: int) -> Execution:
        await self._asked()
        if self._must(container_id).state != "running":
            raise NotFound("the container does not run")
        answer = self.answers.get(tuple(command), Execution(exit_code=0, output=""))
        return replace(answer, output=answer.output[:most])

    @asynccontextmanager
    async def command(self, container_id: str, wanted: ExecRequest) -> AsyncIterator[FakeCommand]:
        await self._asked()
        if self._must(container_id).state != "running":
            raise NotFound("the container does not run")
        problem: FledxError | None = None
        async with begun(wanted, self.programs) as command:
            self.commands.append(command)
            try:
                yield command
            except FledxError as caught:
                problem = caught
        if problem is not None:
            raise problem

    async def aclose(self) -> None:
        for _, subscriber in self._subscribers:
            subscriber.close()

    async def _asked(self, what: str | None = None) -> None:
        await anyio.lowlevel.checkpoint()
        if self.down:
            raise Unavailable("Docker at fake does not answer")
        if what is not None:
            self.done.append(what)

    def _must(self, container_id: str) -> Container:
        if container_id not in self._containers:
            raise NotFound(f"No such container: {container_id}")
        return self._containers[container_id]

    def _name(self, container_id: str) -> str:
        return self._containers[container_id].name if container_id in self._containers else container_id

    def _stamp(self) -> str:
        return f"2026-11-25T12:00:00.{next(self._numbers):09d}Z"

    def _change(self, container_id: str, **changes: object) -> None:
        self._containers[container_id] = replace(self._containers[container_id], **changes)  # type: ignore[arg-type]

    def _end(self, container_id: str, code: int, *, oom: bool = False) -> None:
        self._change(container_id, state="exited", exit_code=code, oom_killed=oom, ports=(), address=None)
        self._emit("die", container_id)

    def _drop(self, container_id: str) -> None:
        container = self._containers.pop(container_id)
        self._emit("destroy", container_id, container)

    def _emit(self, kind: str, container_id: str, container: Container | None = None) -> None:
        labels = (container or self._containers[container_id]).labels
        for node_id, subscriber in self._subscribers:
            if labels.get("fledx.node_id") == node_id:
                subscriber.send_nowait(RuntimeEvent(kind=kind, container_id=container_id))


def _clash(one: PortMapping, other: PortMapping) -> bool:
    return one.host_port is not None and (one.host_port, one.protocol) == (other.host_port, other.protocol)
