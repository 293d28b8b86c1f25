"""What containers wrote, gathered from the agents that have them: nothing of it is stored here."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import defaultdict
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from fledx.control_plane.bell import Bell, Ear
from fledx.control_plane.changes import OVERVIEW
from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.store import assignments, deployments
from fledx.control_plane.store.database import Database
from fledx.control_plane.store.refs import resolve
from fledx.errors import FledxError, NotFound
from fledx.models.assignment import Assignment
from fledx.models.event import LogLine

log = logging.getLogger(__name__)
MAX_LINE_BYTES = 64 * 1024
QUEUED_LINES = 64
REST = 10.0
"""A look is followed by ten times as long a rest, so that whoever follows everything never takes more than a tenth."""


@dataclass(frozen=True, kw_only=True)
class LogRequest:
    """
    Which lines: of these deployments (none: all), of one replica or all; times are RFC 3339.

    `tail` is how many of the last lines of each replica; None is all.
    """

    deployments: tuple[str, ...] = ()
    replica: int | None = None
    follow: bool = False
    since: str | None = None
    until: str | None = None
    tail: int | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """One replica on its present owner."""

    deployment_id: str
    deployment: str
    owner: Assignment

    @property
    def key(self) -> tuple[str, int, str, int]:
        """What makes it another one: a replica that has moved is asked for elsewhere."""
        return self.deployment_id, self.owner.replica_number, self.owner.node_id, self.owner.fence

    @property
    def label(self) -> str:
        """How a notice names it."""
        return f"{self.deployment}/{self.owner.replica_number} on {self.owner.node or self.owner.node_id}"


Lines = MemoryObjectSendStream[LogLine | str]


class Logs:
    """Reads and follows; one stream a replica, a bounded queue for all, so that a slow reader slows the agents."""

    def __init__(self, store: Database, dispatch: Dispatch, bell: Bell, tasks: TaskGroup) -> None:
        self._store = store
        self._dispatch = dispatch
        self._bell = bell
        self._tasks = tasks

    async def read(self, wanted: LogRequest) -> AsyncGenerator[LogLine | str, None]:
        """Lines as they come, those of each replica in order; a text is a notice about a replica that gives none."""
        ids = self._ids(wanted)
        send, receive = anyio.create_memory_object_stream[LogLine | str](QUEUED_LINES)
        scope = anyio.CancelScope()  # not a task group around `yield`: a generator may be closed by another task
        self._tasks.start_soon(self._gather, ids, wanted, send, scope)
        try:
            async for line in receive:
                yield line
        finally:
            receive.close()
            scope.cancel()

    def _ids(self, wanted: LogRequest) -> list[str]:
        return self._store.read(
            lambda sql: [resolve(sql, "deployment", ref) for ref in wanted.deployments] or deployments.ids(sql)
        )

    async def _gather(self, ids: list[str], wanted: LogRequest, send: Lines, scope: anyio.CancelScope) -> None:
        topics = ids if wanted.deployments else [OVERVIEW]
        with scope, self._bell.listen(*topics) as ear:
            async with send, anyio.create_task_group() as tasks:
                gathering = Gathering(self._dispatch, wanted, send, ear, tasks)
                while True:
                    began = anyio.current_time()
                    gathering.look(self._sources(ids, wanted))
                    if not wanted.follow:
                        return
                    took = anyio.current_time() - began
                    await ear.wait()
                    await anyio.sleep(REST * took)
                    ids = ids if wanted.deployments else self._ids(wanted)

    def _sources(self, ids: list[str], wanted: LogRequest) -> list[Source]:
        def look(sql: sqlite3.Connection) -> list[Source]:
            found = []
            for deployment_id in ids:
                stored = deployments.by_id(sql, deployment_id)
                for owner in assignments.of_deployment(sql, deployment_id) if stored else ():
                    if stored and wanted.replica in (None, owner.replica_number):
                        found.append(Source(deployment_id=deployment_id, deployment=stored.spec.name, owner=owner))
            return found

        return self._store.read(look)


class Place:
    """
    Where the reader of one replica has got to, so that a broken stream goes on without a line lost or told twice.

    ``time`` is the last stamp, None before the first line. Several lines may bear it: Podman's have whole seconds.
    """

    def __init__(self) -> None:
        self.time: str | None = None
        self._same = self._known = 0

    def resume(self) -> str | None:
        """From when on to read again; what was told of that moment comes first then."""
        self._known = self._same
        return self.time

    def is_new(self, time: str) -> bool:
        """Whether a line with this stamp was not told before; to be asked of each in order."""
        if self._known and time == self.time:
            self._known -= 1
            return False
        if self.time is None or time > self.time:
            self.time, self._same, self._known = time, 1, 0
        elif time == self.time:
            self._same += 1
        return True


class Gathering:
    """
    One reading: a task for each replica that is being read.

    One that is followed and gives no more, as its node is away or has it not yet, is asked again at the next look, from
    where it stopped: `ear` rings whenever agents tell something of it, as they do of everything when they come back.
    """

    def __init__(self, dispatch: Dispatch, wanted: LogRequest, send: Lines, ear: Ear, tasks: TaskGroup) -> None:
        self._dispatch = dispatch
        self._wanted = wanted
        self._send = send
        self._ear = ear
        self._tasks = tasks
        self._looks = 0
        self._busy: set[tuple[str, int, str, int]] = set()
        self._told: set[tuple[str, int, str, int]] = set()
        self._places: defaultdict[tuple[str, int, str, int], Place] = defaultdict(Place)

    def look(self, sources: list[Source]) -> None:
        """Begin with each that is not being read."""
        self._looks += 1
        for source in sources:
            if source.key not in self._busy:
                self._busy.add(source.key)
                self._tasks.start_soon(self._copy, source, self._looks)

    async def _copy(self, source: Source, look: int) -> None:
        try:
            await self._until_it_ends(source)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            log.debug("the reader of logs has gone")
            return
        if self._wanted.follow:
            self._busy.discard(source.key)
            if look != self._looks:  # what rang meanwhile may have been about this one
                self._ear.ring()

    async def _until_it_ends(self, source: Source) -> None:
        try:
            await self._copy_stream(source)
        except FledxError as problem:
            expected = self._wanted.follow and isinstance(problem, NotFound)
            if not expected and source.key not in self._told:
                self._told.add(source.key)
                await self._send.send(f"no logs of {source.label}: {problem}")

    async def _copy_stream(self, source: Source) -> None:
        wanted, place = self._wanted, self._places[source.key]
        last = place.resume()
        meta: dict[str, Any] = {
            "deployment_id": source.deployment_id,
            "replica_number": source.owner.replica_number,
            "follow": wanted.follow,
            "since": last or wanted.since,
            "until": wanted.until,
            "tail": None if last else wanted.tail,
        }
        stream = await self._dispatch.open(source.owner.node_id, "logs", meta)
        self._told.discard(source.key)
        try:
            rest = b""
            while data := await stream.receive():
                *whole, rest = (rest + data).split(b"\n")
                if len(rest) > MAX_LINE_BYTES:
                    rest = b""
                for line in whole:
                    if (found := _line(source, line)) is not None and place.is_new(found.time):
                        await self._send.send(found)
        finally:
            with anyio.CancelScope(shield=True):
                await stream.aclose()


def _line(source: Source, raw: bytes) -> LogLine | None:
    """One line as the agent sent it; None for what is not one."""
    try:
        fields = json.loads(raw)
        return LogLine(
            deployment=source.deployment,
            replica_number=source.owner.replica_number,
            node=source.owner.node or source.owner.node_id,
            stream=str(fields["s"]),
            time=str(fields["t"]),
            line=str(fields["l"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
