"""Moves deployments to their current revision, step by step."""

from __future__ import annotations

import logging

import anyio

from fledx.control_plane.changes import OVERVIEW, Changes, Transaction
from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.placing import advance
from fledx.control_plane.status import current
from fledx.control_plane.store import assignments, deployments, instances
from fledx.control_plane.store.database import Database
from fledx.errors import FledxError

log = logging.getLogger(__name__)
LOOK_SECONDS = 1.0


class Rollouts:
    """Looks whenever something about a deployment has changed, and once a second while a rollout is on its way."""

    def __init__(self, store: Database, changes: Changes, dispatch: Dispatch) -> None:
        self._store = store
        self._changes = changes

    async def run(self) -> None:
        """Decide and act, for ever."""
        with self._changes.bell.listen(OVERVIEW) as ear:
            while True:
                try:
                    await self._look()
                except FledxError as problem:
                    log.error("rollouts not looked at", extra={"reason": str(problem)})
                with anyio.move_on_after(LOOK_SECONDS):
                    await ear.wait()

    async def _look(self) -> None:
        behind = self._store.read(
            lambda sql: [
                row[0]
                for row in sql.execute(
                    "SELECT DISTINCT deployment.id FROM deployment JOIN assignment ON deployment_id = deployment.id"
                    " WHERE assignment.revision < deployment.revision"
                )
            ]
        )
        for deployment_id in behind:
            await self._changes.commit(lambda tx, one=deployment_id: self._step(tx, one))  # type: ignore[misc]

    def _step(self, tx: Transaction, deployment_id: str) -> None:
        stored = deployments.by_id(tx.sql, deployment_id)
        if stored is None:
            return
        owned = assignments.of_deployment(tx.sql, deployment_id)
        seen = current([each for each, _ in instances.of_deployment(tx.sql, deployment_id)], owned)
        moving = [
            given
            for given in owned
            if given.revision == stored.revision
            and not ((each := seen.get(given.replica_number)) and each.ready and each.revision == given.revision)
        ]
        if moving:
            return
        for given in owned:
            if given.revision < stored.revision:
                advance(tx, stored, given, why="rolling update")
                return
