"""What happened, read and followed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fledx.control_plane.bell import Bell
from fledx.control_plane.changes import EVENTS
from fledx.control_plane.store import events as table
from fledx.control_plane.store.database import Database
from fledx.control_plane.store.refs import resolve
from fledx.models.event import Event

BATCH = 200


@dataclass(frozen=True, kw_only=True)
class EventFilter:
    """What events are narrowed to: deployment and node as an operator names them; a kind or the beginning of one."""

    deployment: str | None = None
    node: str | None = None
    kind: str | None = None


class Events:
    """The history of the system."""

    def __init__(self, store: Database, bell: Bell) -> None:
        self._store = store
        self._bell = bell

    def page(self, wanted: EventFilter, *, after: int = 0, limit: int = 50) -> list[Event]:
        """Events after a number, oldest first; without a number the newest ones."""
        ids = self._ids(wanted)
        return self._store.read(lambda sql: table.page(sql, after=after, limit=limit, kind=wanted.kind, **ids))

    async def follow(self, wanted: EventFilter, *, after: int | None) -> AsyncGenerator[Event, None]:
        """Events after a number (None: from now on), and each further one when it happens; never ends by itself."""
        ids = self._ids(wanted)
        with self._bell.listen(EVENTS) as ear:
            last = self._store.read(table.newest) if after is None else after
            while True:
                since = last
                found = self._store.read(
                    lambda sql, since=since: table.page(  # type: ignore[misc]
                        sql, after=since or -1, limit=BATCH, kind=wanted.kind, **ids
                    )
                )
                for event in found:
                    yield event
                    last = event.id
                if len(found) < BATCH:
                    await ear.wait()

    def _ids(self, wanted: EventFilter) -> dict[str, str | None]:
        deployment, node = wanted.deployment, wanted.node
        return {
            "deployment_id": None
            if deployment is None
            else self._store.read(lambda sql: resolve(sql, "deployment", deployment)),
            "node_id": None if node is None else self._store.read(lambda sql: resolve(sql, "node", node)),
        }
