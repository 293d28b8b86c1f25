"""What replicas used, looked up minute by minute."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

from fledx.control_plane.store import usage as table
from fledx.control_plane.store.database import Database
from fledx.control_plane.store.refs import resolve
from fledx.errors import InvalidSpec
from fledx.models.moment import stamp, unix
from fledx.models.usage import Usage

DEFAULT_RANGE_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class UsageFilter:
    """Whose usage: a deployment, a node (name, id or its beginning) or both; from `since` to `until`, RFC 3339."""

    deployment: str | None = None
    node: str | None = None
    replica_number: int | None = None
    since: str | None = None
    until: str | None = None


class UsageHistory:
    """The averages that the reports' samples were added to."""

    def __init__(self, store: Database, *, kept_seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._kept = kept_seconds
        self._clock = clock

    def page(self, wanted: UsageFilter, *, limit: int, offset: int) -> tuple[list[Usage], int]:
        """
        Minutes, newest first, and how many there are in all; without `since` those of the last hour.

        InvalidSpec when it is nobody's usage, or of a time that ends before it begins or that is no longer kept.
        """
        if wanted.deployment is None and wanted.node is None:
            raise InvalidSpec("query.deployment", "name a deployment, a node or both")
        since, until = self._span(wanted)

        def look(sql: sqlite3.Connection) -> tuple[list[Usage], int]:
            deployment, node = wanted.deployment, wanted.node
            return table.page(
                sql,
                since=since,
                until=until,
                deployment_id=None if deployment is None else resolve(sql, "deployment", deployment),
                node_id=None if node is None else resolve(sql, "node", node),
                replica_number=wanted.replica_number,
                limit=limit,
                offset=offset,
            )

        return self._store.read(look)

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
