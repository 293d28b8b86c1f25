"""Moves replicas to where they are better off, when an operator asks for it."""

from __future__ import annotations

import sqlite3

from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.replicas.moving import relocate
from fledx.control_plane.scheduler.board import Board
from fledx.control_plane.scheduler.ports import PortRange
from fledx.control_plane.scheduler.rebalance import rebalance
from fledx.control_plane.store import assignments, deployments, snapshot
from fledx.control_plane.store.database import Database
from fledx.control_plane.store.deployments import Stored
from fledx.control_plane.store.snapshot import spec_for
from fledx.models.node import Move
from fledx.models.permission import data_of
from fledx.models.token import Operator


class Rebalancing:
    """
    Use cases about balance.

    Only services that run, have no volumes and are not in the middle of an update take part. Of each at most as many
    replicas move in one go as may be unavailable: ask again for the rest.
    """

    def __init__(self, store: Database, changes: Changes, ports: PortRange | None) -> None:
        self._store = store
        self._changes = changes
        self._ports = ports

    def preview(self, most: int) -> list[Move]:
        """Every move that is worth it, in order, with nothing changed."""
        return self._store.read(lambda sql: _wanted(sql, snapshot.board(sql, self._ports), most))

    async def begin(self, most: int, *, by: Operator) -> list[Move]:
        """Make the first of these moves, as many as the deployments allow at once; those that were made."""

        def work(tx: Transaction) -> list[Move]:
            left = {stored.id: _spare(stored) for stored in _partakers(tx.sql)}
            made = []
            for move in _wanted(tx.sql, tx.board, most):
                stored = deployments.by_id(tx.sql, move.deployment_id)
                if stored is None or left.get(stored.id, 0) <= 0:
                    continue
                owned = {given.replica_number: given for given in assignments.of_deployment(tx.sql, stored.id)}
                why = f"rebalanced by {by.name}: {move.reason}"
                if relocate(tx, stored, owned[move.replica_number], why=why) is None:
                    left[stored.id] -= 1
                    made.append(move)
            tx.audit("node.rebalance", by)
            return made

        return await self._changes.commit(work)


def _partakers(sql: sqlite3.Connection) -> list[Stored]:
    return [
        stored
        for stored in deployments.everyone(sql)
        if stored.spec.desired_state == "running"
        and stored.spec.mode == "service"
        and not data_of(stored.spec)
        and (stored.rollout or {}).get("state") != "progressing"
    ]


def _spare(stored: Stored) -> int:
    """How many replicas may be taken down now."""
    return stored.spec.update.max_unavailable - max(0, stored.spec.replicas - stored.ready)


def _wanted(sql: sqlite3.Connection, board: Board, most: int) -> list[Move]:
    names = {stored.id: stored for stored in _partakers(sql)}
    specs = {stored.id: spec_for(sql, stored) for stored in names.values()}
    return [
        Move(
            deployment_id=move.now.deployment,
            deployment=names[move.now.deployment].spec.name,
            replica_number=move.now.number,
            from_node=board.name(move.now.node),
            to_node=board.name(move.then.node),
            reason=move.reason,
        )
        for move in rebalance(board, specs, most=most)
    ]
