"""A deployment's history, and the ways back into it."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from typing import Any

from fledx.control_plane.changes import Changes
from fledx.control_plane.deployments import Deployments, expected
from fledx.control_plane.jobs import run_anew
from fledx.control_plane.revising import go_back
from fledx.control_plane.rollout.state import COMPLETE, FAILED, PAUSED, PROGRESSING, begin_back, last_good
from fledx.control_plane.rollout_state import kept, stored_as
from fledx.control_plane.store import deployments as table
from fledx.control_plane.store import revisions
from fledx.control_plane.store.database import Database
from fledx.control_plane.store.deployments import Stored
from fledx.control_plane.store.refs import resolve
from fledx.errors import Conflict, NotFound
from fledx.models.deployment import Deployment, Revision
from fledx.models.token import Operator


class Revisions:
    """Use cases about revisions, each one transaction."""

    def __init__(self, store: Database, changes: Changes, deployments: Deployments) -> None:
        self._store = store
        self._changes = changes
        self._deployments = deployments

    def page(self, ref: str, *, limit: int, offset: int) -> tuple[list[Revision], int]:
        """The history, newest first, and how many there are in all."""

        def look(sql: sqlite3.Connection) -> list[Revision]:
            stored = table.by_id(sql, resolve(sql, "deployment", ref))
            if stored is None:
                raise NotFound(f"no deployment {ref!r}")
            return history(stored, revisions.of_deployment(sql, stored.id))

        found = self._store.read(look)
        return found[offset : offset + limit], len(found)

    async def rollback(
        self, ref: str, *, by: Operator, to: int | None = None, generation: int | None = None
    ) -> Deployment:
        """
        Make an earlier revision the deployment's own again, the last good one unless `to` names another.

        NotFound when there is no such revision; Conflict when there is no way back, or it is there already.
        """

        def work(tx: Any) -> str:
            stored = expected(tx, ref, generation)
            state = kept(stored)
            revision = _way_back(stored) if to is None else to
            if revision == stored.revision and (state is None or state.phase not in (PAUSED, FAILED)):
                raise Conflict(f"{stored.spec.name} is at revision {revision} already")
            reason = f"{by.name} went back from revision {stored.revision}"
            fresh = go_back(tx, stored, revision, why=f"asked for at revision {stored.revision}", by=by.name)
            table.set_rollout(tx.sql, stored.id, stored_as(begin_back(state, revision, tx.now, reason)))
            if fresh is not None:
                run_anew(tx, fresh, why=reason)
            was, now = {"revision": stored.revision}, {"revision": revision}
            tx.audit("deployment.rollback", by, id=stored.id, name=stored.spec.name, before=was, after=now)
            return stored.id

        return self._deployments.get(await self._changes.commit(work))

    async def restart(self, ref: str, *, by: Operator, generation: int | None = None) -> Deployment:
        """New containers of the same template, step by step; Conflict when the deployment is stopped."""

        def work(tx: Any) -> str:
            stored = expected(tx, ref, generation)
            if stored.spec.desired_state == "stopped":
                hint = f"`fledx deployments start {stored.spec.name}` starts it"
                raise Conflict(f"{stored.spec.name} is stopped", hint=hint)
            self._deployments.apply(tx, stored, replace(stored.spec, restarted_at=tx.stamp), by)
            return stored.id

        return self._deployments.get(await self._changes.commit(work))


def _way_back(stored: Stored) -> int:
    """The last good revision before the present one."""
    state = kept(stored)
    found = None if state is None else state.previous if state.phase == COMPLETE else last_good(state)
    if found is None or found == stored.revision:
        raise Conflict(
            f"{stored.spec.name} has had no good revision before {stored.revision}",
            hint=f"name one with --to; `fledx deployments history {stored.spec.name}` shows them",
        )
    return found


def history(stored: Stored, rows: list[sqlite3.Row]) -> list[Revision]:
    """Rows of the table, oldest first, as they are shown: newest first."""
    found: list[Revision] = []
    before: dict[str, Any] | None = None
    for row in rows:
        template = json.loads(row["template"])
        found.append(_shown(stored, row, template, () if before is None else _changed(before, template)))
        before = template
    return found[::-1]


def _shown(stored: Stored, row: sqlite3.Row, template: dict[str, Any], changed: tuple[str, ...]) -> Revision:
    current = row["revision"] == stored.revision
    return Revision(
        revision=row["revision"],
        state=_state(stored, row, current=current),
        current=current,
        image=template["image"],
        digest=row["digest"],
        changed=changed,
        reason=row["reason"],
        created_at=row["created_at"],
        created_by=row["created_by"],
    )


def _state(stored: Stored, row: sqlite3.Row, *, current: bool) -> str:
    if not current:
        return str(row["outcome"] or "superseded")
    rollout = stored.rollout or {}
    state = str(rollout.get("state", PROGRESSING))
    return state if state in (PROGRESSING, PAUSED, FAILED) else COMPLETE


def _changed(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key)))
