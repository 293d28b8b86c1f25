"""Replicas get their places, lose them and wait for them: the scheduler's plan, carried out in a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Protocol

from fledx.control_plane.replicas.keeping import homes, settle_in
from fledx.control_plane.scheduler.board import Board
from fledx.control_plane.scheduler.everywhere import everywhere
from fledx.control_plane.scheduler.place import Placed
from fledx.control_plane.scheduler.ports import PortRange
from fledx.control_plane.scheduler.schedule import schedule
from fledx.control_plane.scheduler.spec import Spec, assignment_of
from fledx.control_plane.store import assignments, counters, deployments, nodes, snapshot
from fledx.control_plane.store.deployments import Stored
from fledx.control_plane.store.events import Happening
from fledx.models.deployment import MAX_REPLICAS, DeploymentSpec

BOARD = "board"
FENCE = "fence"


class KeptBoard:
    """
    The board between two transactions; good as long as the counter row says what it said.

    Building it takes as long as there are rows, keeping it nothing: a create is hundreds of times cheaper so.
    """

    def __init__(self, ports: PortRange | None) -> None:
        self._ports = ports
        self._board: Board | None = None
        self._count = -1

    def of(self, sql: sqlite3.Connection) -> Board:
        """The board that agrees with the rows as they are now."""
        count = counters.current(sql, BOARD)
        if self._board is None or count != self._count:
            self._board = snapshot.board(sql, self._ports)
            self._count = count
        return self._board

    def advance(self, sql: sqlite3.Connection) -> None:
        """Rows and board were changed alike."""
        self._count = counters.following(sql, BOARD)

    def drop(self) -> None:
        """A transaction was undone: what the board knows of it is wrong."""
        self._board = None


class Placing(Protocol):
    """The part of a transaction that placing needs."""

    sql: sqlite3.Connection
    stamp: str
    touched_nodes: set[str]
    touched: set[str]

    @property
    def board(self) -> Board:
        """The scheduler's board."""

    def board_changed(self) -> None:
        """Rows and board were changed alike."""

    def decided(self, *, placed: int, waiting: int) -> None:
        """The scheduler was asked: so many replicas got a place, so many wait for one."""

    def event(
        self,
        kind: str,
        subject: str,
        reason: str,
        *,
        deployment_id: str | None = None,
        replica_number: int | None = None,
        node_id: str | None = None,
    ) -> None:
        """Store what happened and why."""

    def note(self, *happened: Happening) -> None:
        """The same for many at once."""


def tell(tx: Placing, stored: Stored, kind: str, number: int, node_id: str, reason: str) -> None:
    """Store what happened to one replica on a node."""
    tx.event(kind, stored.spec.name, reason, deployment_id=stored.id, replica_number=number, node_id=node_id)


def changed(
    tx: Placing, stored: Stored, kind: str, number: int, node_id: str, reason: str, *, before: str | None = None
) -> None:
    """Store what happened to a replica, and let its node hear of it, and the node that it was on `before`."""
    tx.touched_nodes |= {node_id, before or node_id}
    tx.touched.add(stored.id)
    tell(tx, stored, kind, number, node_id, reason)


def place(tx: Placing, stored: Stored, numbers: Sequence[int], *, why: str) -> None:
    """
    Give these replicas of a deployment a place, at its present revision; those without one wait, each with its reason.

    Replicas that are not named keep what they have; of those that waited before, only the named ones are looked at. Of
    a global deployment all nodes are looked at, whatever is named.
    """
    if stored.spec.mode == "global":
        _place_everywhere(tx, stored, why=why)
        return
    board, spec = tx.board, snapshot.spec_for(tx.sql, stored)
    plan = schedule(board, spec, numbers, bound=homes(tx, stored, numbers))
    tx.decided(placed=len(plan.placed), waiting=len(plan.left))
    _book(tx, stored, spec, plan.placed, why=why)
    _wait(tx, stored, set(numbers) - set(plan.left), dict(plan.reasons))
    tx.touched.add(stored.id)


def _book(tx: Placing, stored: Stored, spec: Spec, found: Sequence[Placed], *, why: str) -> None:
    """Store what was placed, each under a fence of its own."""
    if not found:
        return
    board, ports, fence = tx.board, stored.spec.ports or (), counters.following(tx.sql, FENCE, by=len(found))
    given = [
        assignment_of(placed, ports, fence=fence - len(found) + i, revision=stored.revision)
        for i, placed in enumerate(found, start=1)
    ]
    assignments.put(tx.sql, stored.id, *given)
    for placed in found:
        settle_in(tx, stored, placed.number, placed.node)
        changed(tx, stored, "replica.placed", placed.number, placed.node, f"on {board.name(placed.node)}: {why}")
    board.apply(spec, found)
    tx.board_changed()
    _settle_near(tx, stored)


def _place_everywhere(tx: Placing, stored: Stored, *, why: str) -> None:
    """Bring a global deployment up to what the nodes are now: it follows those that come, go and change."""
    spec = snapshot.spec_for(tx.sql, stored)
    found = everywhere(tx.board, spec, homes(tx, stored, range(MAX_REPLICAS)))
    waited = {each.replica_number for each in assignments.pending_of(tx.sql, stored.id)}
    if not (found.placed or found.surplus or found.waiting or waited):
        return
    for number, reason in found.surplus.items():
        release(tx, stored, [number], why=reason)
    tx.decided(placed=len(found.placed), waiting=len(found.waiting))
    _book(tx, stored, spec, found.placed, why=why)
    _wait(tx, stored, waited - found.waiting.keys(), dict(found.waiting))
    tx.touched.add(stored.id)


def _wait(tx: Placing, stored: Stored, placed: set[int], left: dict[int, str]) -> None:
    """Bring the list of waiting replicas up to date; a new reason is an event."""
    had = {each.replica_number: each.reason for each in assignments.pending_of(tx.sql, stored.id)}
    now = {**{number: reason for number, reason in had.items() if number not in placed}, **left}
    if now == had:
        return
    assignments.set_pending(tx.sql, stored.id, now, tx.stamp)
    for number, reason in left.items():
        if had.get(number) != reason:
            tx.event("replica.pending", stored.spec.name, reason, deployment_id=stored.id, replica_number=number)


def _settle_near(tx: Placing, stored: Stored) -> None:
    """Whoever waits to be near a deployment that has got a place just now is looked at again."""
    near = [each for each in deployments.with_peers(tx.sql) if _named(stored.spec.name, each.spec, "near")]
    waiting = set(assignments.waiting(tx.sql)) - {stored.id} if near else ()
    for other in near:
        if other.id in waiting:
            _place_waiting(tx, other, why=f"{stored.spec.name} has got a place")


def _named(name: str, spec: DeploymentSpec, field: str) -> bool:
    names = getattr(spec.placement, field, None) or ()
    return name.lower() in {each.lower() for each in names}


def release(tx: Placing, stored: Stored, numbers: Iterable[int], *, why: str) -> None:
    """Take replicas from their owners and from the waiting list; their agents remove them."""
    gone = set(numbers)
    for given in assignments.of_deployment(tx.sql, stored.id):
        if given.replica_number in gone:
            changed(tx, stored, "replica.removed", given.replica_number, given.node_id, why)
    assignments.drop(tx.sql, stored.id, gone)
    left = {each.replica_number: each.reason for each in assignments.pending_of(tx.sql, stored.id)}
    kept = {number: reason for number, reason in left.items() if number not in gone}
    assignments.set_pending(tx.sql, stored.id, kept, tx.stamp)
    tx.board.remove(stored.id, gone)
    tx.board_changed()
    tx.touched.add(stored.id)


def settle_waiting(tx: Placing) -> None:
    """Something got free or a node came: whoever waits for a place is looked at again."""
    for deployment_id in dict.fromkeys([*assignments.waiting(tx.sql), *deployments.globals_that_run(tx.sql)]):
        stored = deployments.by_id(tx.sql, deployment_id)
        if stored is not None:
            _place_waiting(tx, stored, why="a place has become free")


def _place_waiting(tx: Placing, stored: Stored, *, why: str) -> None:
    if stored.spec.desired_state == "running":
        numbers = [each.replica_number for each in assignments.pending_of(tx.sql, stored.id)]
        place(tx, stored, numbers, why=why)


def refresh_place(tx: Placing, node_id: str) -> None:
    """A node is new or its facts have changed: the board learns of it."""
    row = nodes.by_id(tx.sql, node_id)
    if row is not None:
        tx.board.update(nodes.view(row))
        tx.board_changed()


def revise_peers(tx: Placing, name: str) -> None:
    """A deployment is called so from now on: the board learns of it from those that must be apart from that name."""
    for other in deployments.with_peers(tx.sql):
        if _named(name, other.spec, "apart"):
            revise_board(tx, other)


def revise_board(tx: Placing, stored: Stored) -> None:
    """The board books what a deployment requests now."""
    tx.board.revise(snapshot.spec_for(tx.sql, stored))
    tx.board_changed()


def place_extra(tx: Placing, stored: Stored, number: int, *, why: str) -> str | None:
    """Place one replica beyond the wanted number; the reason when there is no place, and then nothing waits for one."""
    board, spec = tx.board, snapshot.spec_for(tx.sql, stored)
    plan = schedule(board, spec, [number])
    if not plan.placed:
        return plan.reasons[number]
    (placed,) = plan.placed
    fence = counters.following(tx.sql, FENCE)
    given = assignment_of(placed, stored.spec.ports or (), fence=fence, revision=stored.revision)
    assignments.put(tx.sql, stored.id, given)
    assignments.set_extra(tx.sql, stored.id, stored.spec.replicas)
    settle_in(tx, stored, number, placed.node)
    board.apply(spec, plan.placed)
    tx.board_changed()
    changed(tx, stored, "replica.placed", number, placed.node, f"on {board.name(placed.node)}: {why}")
    return None
