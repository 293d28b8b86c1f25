"""What containers wrote, gathered from the agents that have them: nothing of it is stored here."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from fledx.control_plane.bell import Bell
from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.store import assignments, deployments
from fledx.control_plane.store.database import Database
from fledx.control_plane.store.refs import resolve
from fledx.errors import FledxError
from fledx.models.assignment import Assignment
from fledx.models.event import LogLine

log = logging.getLogger(__name__)
MAX_LINE_BYTES = 64 * 1024
QUEUED_LINES = 64


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
        def look(sql: sqlite3.Connection) -> list[str]:
            if not wanted.deployments:
                return deployments.ids(sql)
            return [resolve(sql, "deployment", ref) for ref in wanted.deployments]

        return self._store.read(look)

    async def _gather(self, ids: list[str], wanted: LogRequest, send: Lines, scope: anyio.CancelScope) -> None:
        """Open a stream for each replica; when following, for replicas that come or move later, too."""
        seen: set[tuple[str, int, str, int]] = set()
        with scope, self._bell.listen(*ids) as ear:
            async with send, anyio.create_task_group() as tasks:
                while True:
                    for source in self._sources(ids, wanted):
                        given = source.owner
                        key = (source.deployment_id, given.replica_number, given.node_id, given.fence)
                        if key not in seen:
                            seen.add(key)
                            tasks.start_soon(self._copy, source, wanted, send)
                    if not wanted.follow:
                        return
                    await ear.wait()

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

    async def _copy(self, source: Source, wanted: LogRequest, send: Lines) -> None:
        try:
            await self._copy_stream(source, wanted, send)
        except FledxError as problem:
            await send.send(f"no logs of {source.label}: {problem}")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            log.debug("the reader of logs has gone")

    async def _copy_stream(self, source: Source, wanted: LogRequest, send: Lines) -> None:
        meta: dict[str, Any] = {
            "deployment_id": source.deployment_id,
            "replica_number": source.owner.replica_number,
            "follow": wanted.follow,
            "since": wanted.since,
            "until": wanted.until,
            "tail": wanted.tail,
        }
        stream = await self._dispatch.open(source.owner.node_id, "logs", meta)
        try:
            rest = b""
            while data := await stream.receive():
                *whole, rest = (rest + data).split(b"\n")
                if len(rest) > MAX_LINE_BYTES:
                    rest = b""
                for line in whole:
                    if (found := _line(source, line)) is not None:
                        await send.send(found)
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
