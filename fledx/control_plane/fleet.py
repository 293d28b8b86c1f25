"""What operators want of nodes: labels, no new work, none at all, a new token, the end."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.replicas.keeping import data_words, stays
from fledx.control_plane.replicas.moving import ends_there, move_out
from fledx.control_plane.replicas.placing import refresh_place, settle_waiting
from fledx.control_plane.scheduler.board import Board
from fledx.control_plane.scheduler.schedule import schedule
from fledx.control_plane.scheduler.spec import Spec
from fledx.control_plane.store import assignments, deployments, instances, nodes
from fledx.control_plane.store.database import Database
from fledx.control_plane.store.deployments import Stored
from fledx.control_plane.store.refs import resolve
from fledx.control_plane.store.snapshot import spec_for
from fledx.control_plane.trust.tokens import Tokens
from fledx.errors import Conflict, NotFound
from fledx.models import check
from fledx.models.assignment import Assignment
from fledx.models.check import Faults
from fledx.models.moment import stamp
from fledx.models.node import Node, Wish
from fledx.models.token import Operator

T = TypeVar("T")
MOST_NAMED = 5
AUDITED = {"cordoned": "cordon", "active": "uncordon", "draining": "drain"}


@dataclass(frozen=True, kw_only=True)
class Drain:
    """
    How a node is emptied.

    After ``deadline_seconds`` what is still there leaves at once, without regard to how many are down; None is never.
    ``force`` lets replicas leave data in volumes behind, and leave though there is no other place for them.
    """

    reason: str | None = None
    deadline_seconds: float | None = None
    force: bool = False

    def __post_init__(self) -> None:
        faults = Faults()
        faults.add("reason", None if self.reason is None else check.line(self.reason))
        if self.deadline_seconds is not None and not 0 <= self.deadline_seconds <= 86400 * 7:
            faults.add("deadline_seconds", f"{self.deadline_seconds:g} is not between 0 and a week")
        faults.settle()


class Fleet:
    """Use cases about what is wanted of nodes, each one transaction."""

    def __init__(self, store: Database, changes: Changes, tokens: Tokens, dispatch: Dispatch) -> None:
        self._store = store
        self._changes = changes
        self._tokens = tokens
        self._dispatch = dispatch

    async def cordon(self, ref: str, *, by: Operator, reason: str | None = None) -> Node:
        """Keep new replicas away; those that are there stay."""
        why = f"cordoned by {by.name}" + (f": {reason}" if reason else "")
        return await self._wish(ref, "cordoned", why, by, lambda tx: Wish(since=tx.stamp, by=by.name, reason=reason))

    async def uncordon(self, ref: str, *, by: Operator) -> Node:
        """Let replicas come again, and end a drain."""
        return await self._wish(ref, "active", f"uncordoned by {by.name}", by, lambda tx: None)

    async def drain(self, ref: str, wanted: Drain, *, by: Operator) -> Node:
        """
        Empty a node: its replicas go elsewhere, as many at once as their deployments allow.

        Conflict, without `force`, that names every replica with data in volumes and every one that fits nowhere else.
        """

        def wish(tx: Transaction) -> Wish:
            deadline = None if wanted.deadline_seconds is None else stamp(tx.now + wanted.deadline_seconds)
            return Wish(since=tx.stamp, by=by.name, reason=wanted.reason, deadline=deadline, force=wanted.force)

        def check_first(tx: Transaction, row: sqlite3.Row) -> None:
            if not wanted.force:
                _refuse(row["name"], held_back(tx, row["id"]), "--force moves them all the same")

        why = f"drained by {by.name}" + (f": {wanted.reason}" if wanted.reason else "")
        return await self._wish(ref, "draining", why, by, wish, check_first)

    async def _wish(
        self,
        ref: str,
        availability: str,
        why: str,
        by: Operator,
        wish: Callable[[Transaction], Wish | None],
        check_first: Callable[[Transaction, sqlite3.Row], None] = lambda tx, row: None,
    ) -> Node:
        def work(tx: Transaction) -> str:
            row = _row(tx.sql, ref)
            if availability == "active" == row["availability"]:
                return str(row["id"])
            check_first(tx, row)
            nodes.set_availability(tx.sql, row["id"], availability, wish(tx))
            tx.event(f"node.{availability}", row["name"], why, node_id=row["id"])
            tx.audit(f"node.{AUDITED[availability]}", by, id=row["id"], name=row["name"])
            tx.touched |= assignments.deployments_on(tx.sql, row["id"])
            tx.overview = True
            refresh_place(tx, row["id"])
            settle_waiting(tx)
            return str(row["id"])

        return await self._changed(work)

    async def label(self, ref: str, changes: Mapping[str, str | None], *, by: Operator) -> Node:
        """
        Lay labels over those that the node tells; null takes one away, whoever set it.

        A replica whose constraints no longer fit stays; what waits for such a label is placed.
        """
        faults = Faults()
        faults.found += check.labels({key: value or "" for key, value in changes.items()}, "labels")
        faults.settle()

        def work(tx: Transaction) -> str:
            row = _row(tx.sql, ref)
            told = json.loads(row["facts"]).get("labels") or {}
            own = {**json.loads(row["own_labels"]), **changes}
            nodes.set_own_labels(tx.sql, row["id"], {k: v for k, v in own.items() if v is not None or k in told})
            words = [key if value is None else f"{key}={value}" for key, value in sorted(changes.items())]
            tx.audit("node.label", by, id=row["id"], name=row["name"], after=dict(changes))
            tx.event("node.labels", row["name"], f"{', '.join(words)} by {by.name}", node_id=row["id"])
            tx.overview = True
            refresh_place(tx, row["id"])
            settle_waiting(tx)
            return str(row["id"])

        return await self._changed(work)

    async def delete(self, ref: str, *, by: Operator, force: bool = False) -> None:
        """
        Forget a node; its agent is not let in any more.

        Conflict while it owns replicas, unless `force`: then these go elsewhere or wait for a place.
        """

        def work(tx: Transaction) -> str:
            row = _row(tx.sql, ref)
            _emptied(tx, row, by, force=force)
            _forgotten(tx, str(row["id"]))
            settle_waiting(tx)
            tx.audit("node.delete", by, id=row["id"], name=row["name"])
            tx.event("node.deleted", row["name"], f"deleted by {by.name}", node_id=row["id"])
            tx.overview = True
            return str(row["id"])

        node_id = await self._changes.commit(work)
        session = self._dispatch.session(node_id)
        if session is not None:
            session.link.close("this node was deleted")

    async def rotate_token(self, ref: str, *, by: Operator) -> Node:
        """
        Give a connected node another token; the one it has is good until it shows the new one.

        Conflict while the node is away: nobody could take the new one.
        """
        node_id = self._store.read(lambda sql: str(_row(sql, ref)["id"]))
        session = self._dispatch.session(node_id)
        if session is None:
            raise Conflict(
                f"node {ref} is not connected, so it cannot be given another token",
                hint="join again on that machine; that gives it a new token and keeps its identity",
            )
        token, hashed = self._tokens.new_node_token()

        def work(tx: Transaction) -> str:
            row = _row(tx.sql, node_id)
            nodes.set_token(tx.sql, node_id, hashed, former=row["token_hash"])
            tx.audit("node.rotate_token", by, id=node_id, name=row["name"])
            tx.event("node.token", row["name"], f"token rotated by {by.name}", node_id=node_id)
            return node_id

        node = await self._changed(work)
        session.link.send({"type": "token", "token": token})
        return node

    async def _changed(self, work: Callable[[Transaction], str]) -> Node:
        node_id = await self._changes.commit(work)
        return self._store.read(lambda sql: nodes.node_of(_row(sql, node_id)))


def _emptied(tx: Transaction, row: sqlite3.Row, by: Operator, *, force: bool) -> None:
    """Have a node's replicas go elsewhere; Conflict where it has some and `force` is not given."""
    owned = assignments.of_node(tx.sql, row["id"])
    if owned and not force:
        named = [_title(tx.sql, deployment_id, given) for deployment_id, given in owned]
        _refuse(row["name"], named, "drain it first; --force moves them all the same")
    nodes.set_availability(tx.sql, row["id"], "draining", Wish(since=tx.stamp, by=by.name, force=True))
    refresh_place(tx, row["id"])
    for deployment_id, given in owned:
        stored = deployments.by_id(tx.sql, deployment_id)
        if stored is not None:
            move_out(tx, stored, given, why=f"node {row['name']} was deleted by {by.name}")


def _forgotten(tx: Transaction, node_id: str) -> None:
    tx.touched |= instances.deployments_on(tx.sql, node_id)
    tx.board.forget(node_id)
    tx.board_changed()
    tx.touched_nodes.discard(node_id)
    nodes.delete(tx.sql, node_id)


def _row(sql: sqlite3.Connection, ref: str) -> sqlite3.Row:
    row = nodes.by_id(sql, resolve(sql, "node", ref))
    if row is None:
        raise NotFound(f"no node {ref!r}")
    return row


def _title(sql: sqlite3.Connection, deployment_id: str, given: Assignment) -> str:
    stored = deployments.by_id(sql, deployment_id)
    return f"{stored.spec.name if stored else deployment_id}/{given.replica_number}"


def _refuse(name: str, held: list[str], hint: str) -> None:
    if held:
        more = f", and {len(held) - MOST_NAMED} more" if len(held) > MOST_NAMED else ""
        raise Conflict(f"node {name} holds {'; '.join(held[:MOST_NAMED])}{more}", hint=hint)


def held_back(tx: Transaction, node_id: str) -> list[str]:
    """Each replica that cannot leave a node without loss, and why: data in volumes, or no other place."""
    trial = tx.board.copy()
    trial.update(replace(trial.places[trial.index[node_id]].node, availability="draining"))
    found = []
    for deployment_id, given in assignments.of_node(tx.sql, node_id):
        stored = deployments.by_id(tx.sql, deployment_id)
        if stored is not None and not ends_there(tx.sql, stored, given):
            reason = _holds(trial, spec_for(tx.sql, stored), stored, given)
            found += [f"{stored.spec.name}/{given.replica_number}: {reason}"] if reason else []
    return found


def _holds(trial: Board, spec: Spec, stored: Stored, given: Assignment) -> str | None:
    """Why a replica cannot leave; where it can it has left, on the trial board."""
    if stays(stored.spec):
        return f"its data lies there, in {data_words(stored.spec)}"
    trial.remove(stored.id, [given.replica_number])
    plan = schedule(trial, spec, [given.replica_number])
    trial.apply(spec, plan.placed)
    return None if plan.placed else f"no other place: {plan.reasons[given.replica_number]}"
