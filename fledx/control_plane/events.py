"""What happened, read and followed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from fledx.control_plane.bell import Bell
from fledx.control_plane.changes import EVENTS
from fledx.control_plane.store import events as table
from fledx.control_plane.store.database import Database
from fledx.control_plane.store.refs import resolve
from fledx.models.event import Event
from fledx.models.moment import stamp, unix

BATCH = 200


@dataclass(frozen=True, kw_only=True)
class EventFilter:
    """
    What events are narrowed to: deployment and node as an operator names them; a kind or the beginning of one.

    ``since`` is RFC 3339.
    """

    deployment: str | None = None
    node: str | None = None
    kind: str | None = None
    since: str | None = None


class Events:
    """The history of the system."""

    def __init__(self, store: Database, bell: Bell) -> None:
        self._store = store
        self._bell = bell

    def page(self, wanted: EventFilter, *, after: int = 0, limit: int = 50) -> list[Event]:
        """Events after a number, oldest first; without a number the newest ones."""
        narrowed = self._narrowed(wanted)
        return self._store.read(lambda sql: table.page(sql, after=after, limit=limit, **narrowed))

    async def follow(self, wanted: EventFilter, *, after: int | None) -> AsyncGenerator[Event, None]:
        """
        Events after a number, and each further one when it happens; never ends by itself.

        Without a number from the time that is wanted on, and without that from now on.
        """
        narrowed = self._narrowed(wanted)
        since = "" if wanted.since is None else stamp(unix(wanted.since))
        with self._bell.listen(EVENTS) as ear:
            last = self._store.read(table.newest) if after is None and wanted.since is None else after or 0
            while True:
                seen = last
                found = self._store.read(
                    lambda sql, seen=seen: table.page(sql, after=seen or -1, limit=BATCH, **narrowed)  # type: ignore[misc]
                )
                for event in found:
                    if event.at >= since:  # it may be a time to come
                        yield event
                    last = event.id
                if len(found) < BATCH:
                    await ear.wait()

    def _narrowed(self, wanted: EventFilter) -> dict[str, Any]:
        deployment, node = wanted.deployment, wanted.node
        since = None if wanted.since is None else stamp(unix(wanted.since))
        return {
            "kind": wanted.kind,
            "above": 0 if since is None else self._store.read(lambda sql: table.last_before(sql, since)),
            "deployment_id": None
            if deployment is None
            else self._store.read(lambda sql: resolve(sql, "deployment", deployment)),
            "node_id": None if node is None else self._store.read(lambda sql: resolve(sql, "node", node)),
        }
