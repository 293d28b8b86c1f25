"""What replicas used, looked up minute by minute."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from fledx.control_plane.store import assignments
from fledx.control_plane.store import usage as table
from fledx.control_plane.store.database import Database
from fledx.control_plane.store.refs import resolve
from fledx.errors import InvalidSpec
from fledx.models.moment import stamp, unix
from fledx.models.usage import Usage

DEFAULT_RANGE_SECONDS = 3600.0
UNTOLD_SECONDS = 3600.0
"""What is older than this was told without being asked for, even by a metered node."""


@dataclass(frozen=True, kw_only=True)
class UsageFilter:
    """Whose usage: a deployment, a node (name, id or its beginning) or both; from `since` to `until`, RFC 3339."""

    deployment: str | None = None
    node: str | None = None
    replica_number: int | None = None
    since: str | None = None
    until: str | None = None


class UsageHistory:
    """The averages that the agents' samples were added to; `ask` has the agents tell the newest."""

    def __init__(
        self,
        store: Database,
        ask: Callable[[Iterable[str]], Awaitable[None]],
        *,
        kept_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ask = ask
        self._store = store
        self._kept = kept_seconds
        self._clock = clock

    async def page(self, wanted: UsageFilter, *, limit: int, offset: int) -> tuple[list[Usage], int]:
        """
        Minutes, newest first, and how many there are in all; without `since` those of the last hour.

        InvalidSpec when it is nobody's usage, or of a time that ends before it begins or that is no longer kept.
        """
        if wanted.deployment is None and wanted.node is None:
            raise InvalidSpec("query.deployment", "name a deployment, a node or both")
        since, until = self._span(wanted)
        deployment_id, node_id = self._ids(wanted)
        if until > self._clock() - UNTOLD_SECONDS:
            await self._ask(self._nodes(deployment_id, node_id))

        def look(sql: sqlite3.Connection) -> tuple[list[Usage], int]:
            return table.page(
                sql,
                since=since,
                until=until,
                deployment_id=deployment_id,
                node_id=node_id,
                replica_number=wanted.replica_number,
                limit=limit,
                offset=offset,
            )

        return self._store.read(look)

    def _ids(self, wanted: UsageFilter) -> tuple[str | None, str | None]:
        """Deployment and node by id."""

        def look(sql: sqlite3.Connection) -> tuple[str | None, str | None]:
            deployment, node = wanted.deployment, wanted.node
            return (
                None if deployment is None else resolve(sql, "deployment", deployment),
                None if node is None else resolve(sql, "node", node),
            )

        return self._store.read(look)

    def _nodes(self, deployment_id: str | None, node_id: str | None) -> set[str]:
        """Those that may know more than is stored."""
        if node_id is not None or deployment_id is None:
            return {node_id} if node_id is not None else set()
        return self._store.read(lambda sql: {each.node_id for each in assignments.of_deployment(sql, deployment_id)})

    def _span(self, wanted: UsageFilter) -> tuple[int, int]:
        now = self._clock()
        oldest = now - self._kept if self._kept else 0.0
        until = now if wanted.until is None else unix(wanted.until, field="query.until")
        if until < oldest:
            raise InvalidSpec("query.until", f"usage is kept since {stamp(oldest)} only")
        if wanted.since is None:
            since = until - DEFAULT_RANGE_SECONDS
        elif (since := unix(wanted.since, field="query.since")) > until:
            raise InvalidSpec("query.since", f"{wanted.since} lies after the end, {stamp(until)}")
        return int(max(since, oldest)) // 60 * 60, int(until)
