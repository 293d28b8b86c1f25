"""Keeps what gateways serve in step with what runs, and lets instances go once they are drained."""

from __future__ import annotations

import logging
import sqlite3

import anyio

from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.ingress.gateways import GATEWAYS, Gateways
from fledx.control_plane.ingress.offering import Change, reworked
from fledx.control_plane.store import deployments, nodes, parts
from fledx.control_plane.store.database import Database
from fledx.errors import FledxError

log = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
GATHER_SECONDS = 0.02


class Draining:
    """
    Works out each touched deployment's part inside the very transaction that touched it.

    So an instance that is to go is held in the same desired state that would take it down. What time and gateways
    change is found by looks; nothing is remembered but in the store.
    """

    def __init__(self, store: Database, changes: Changes, gateways: Gateways, *, grace: float) -> None:
        self._store = store
        self._changes = changes
        self._gateways = gateways
        self._grace = grace
        changes.follow_with(self.follow)

    def follow(self, tx: Transaction) -> set[str]:
        """Bring the parts of touched deployments up to date; the ids of those that gateways are to serve otherwise."""
        away = nodes.away(tx.sql) if tx.touched else {}
        found = [self._reworked(tx.sql, deployment_id, tx.now, away) for deployment_id in sorted(tx.touched)]
        changes = [change for change in found if change is not None]
        for change in changes:
            _store(tx.sql, change)
            tx.touched_nodes |= change.owners
        visible = {change.deployment_id for change in changes if change.visible}
        if visible or tx.gateways:
            tx.touched_nodes |= {row["id"] for row in parts.gateways(tx.sql)}
        return visible

    def _reworked(self, sql: sqlite3.Connection, deployment_id: str, now: float, away: dict[str, str]) -> Change | None:
        stored = deployments.by_id(sql, deployment_id) if parts.concerns(sql, deployment_id) else None
        return reworked(sql, deployment_id, stored, self._gateways, now=now, grace=self._grace, away=away)

    async def run(self) -> None:
        """Look whenever a gateway tells something, and once a second, for ever."""
        with self._changes.bell.listen(GATEWAYS) as ear:
            while True:
                try:
                    await self.look()
                except FledxError as problem:
                    log.error("draining not looked at", extra={"reason": str(problem)})
                await anyio.sleep(GATHER_SECONDS)
                with anyio.move_on_after(LOOK_SECONDS - GATHER_SECONDS):
                    await ear.wait()

    async def look(self) -> None:
        """Do what time and the gateways' words allow by now."""
        due = await self._store.read_far(self._due)
        if due:
            await self._changes.commit(lambda tx: tx.touched.update(due), durable=False)

    def _due(self, sql: sqlite3.Connection) -> set[str]:
        away, now = nodes.away(sql), self._changes.clock()
        return {id for id, _ in parts.passing(sql) if self._reworked(sql, id, now, away) is not None}


def _store(sql: sqlite3.Connection, change: Change) -> None:
    if change.part is None:
        parts.delete(sql, change.deployment_id)
    else:
        passing = any(offer.passing for offer in change.part.offers)
        parts.put(sql, change.deployment_id, change.part.text(), passing=passing)
