"""Replicas change their nodes: moved, put out, taken from who does not answer, and given back to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from fledx.control_plane.replicas.advancing import same_ports
from fledx.control_plane.replicas.keeping import data_words, leave, settle_in, stays
from fledx.control_plane.replicas.placing import FENCE, Placing, changed, place, release, tell
from fledx.control_plane.scheduler.board import Board
from fledx.control_plane.scheduler.place import Placed
from fledx.control_plane.scheduler.schedule import schedule
from fledx.control_plane.scheduler.spec import assignment_of, mappings_of, placed_of
from fledx.control_plane.store import assignments, counters, deployments, events, finished, snapshot
from fledx.control_plane.store.deployments import Stored
from fledx.control_plane.store.events import Happening
from fledx.models.assignment import Assignment
from fledx.models.moment import stamp, unix

HOLD_OFF_SECONDS = 3600.0
"""In so long a replica is given back once at most: a link that comes and goes would move it each time."""
KEPT_SECONDS = 600.0
"""In so long it is told once that a replica stays: it is tried again whenever something changes."""


@dataclass(frozen=True)
class Moved:
    """One replica that the board has given to another node: who had it, and its place now."""

    stored: Stored
    given: Assignment
    placed: Placed


def move(tx: Placing, stored: Stored, given: Assignment, *, why: str) -> str | None:
    """
    Give a replica to another node, under a new fence; where there is no other place it keeps the one it has.

    A replica with data stays with it, unless its spec abandons volumes. Gives the reason why it stays.
    """
    if stays(stored.spec):
        return _kept_with_data(tx, stored, given, why)
    return relocate(tx, stored, given, why=why)


def move_lost(tx: Placing, due: Iterable[tuple[Stored, Assignment]], *, why: str) -> None:
    """
    The same for all that a node had which does not answer, in as few statements as it goes.

    Whom each was taken from is remembered until that node comes back, but for one that has been given back lately.
    """
    moved, left = list[Moved](), list[tuple[Stored, Assignment]]()
    for stored, given in due:
        if stays(stored.spec):
            _kept_with_data(tx, stored, given, why)
        else:
            left.append((stored, given))
    while left:
        found = [(each, _elsewhere(tx, *each)) for each in left]
        moved += [place for _, place in found if isinstance(place, Moved)]
        stuck = [(each, place) for each, place in found if isinstance(place, str)]
        left = []
        for each, reason in stuck:
            if len(stuck) < len(found) and _follows(each[0]):  # whom it must be near may have moved since
                left.append(each)
            else:
                keep(tx, *each, f"{why}; {reason}")
    lately = ago(tx, HOLD_OFF_SECONDS)
    _book_moves(tx, moved, why=why, remembered=lambda each: not _returned(tx, each, lately))


def _follows(stored: Stored) -> bool:
    return stored.spec.placement is not None and bool(stored.spec.placement.near)


def _returned(tx: Placing, each: Moved, since: str) -> bool:
    """Whether a replica went back to its original node since then; only of who keeps that one it is ever asked."""
    if each.stored.spec.reschedule.on_return != "keep_original":
        return False
    return events.happened(tx.sql, "replica.returned", each.stored.id, each.given.replica_number, since=since)


def _kept_with_data(tx: Placing, stored: Stored, given: Assignment, why: str) -> str:
    return keep(tx, stored, given, f"{why}; its data lies there, in {data_words(stored.spec)}")


def relocate(tx: Placing, stored: Stored, given: Assignment, *, why: str) -> str | None:
    """Give a replica to another node, whatever it leaves behind; the reason when there is no other place."""
    found = _elsewhere(tx, stored, given)
    if isinstance(found, str):
        return keep(tx, stored, given, f"{why}; {found}")
    _book_moves(tx, [found], why=why, remembered=lambda each: False)
    return None


def _elsewhere(tx: Placing, stored: Stored, given: Assignment) -> Moved | str:
    """Another place on the board, which has it now; or why there is none, and the board is as it was."""
    spec, board = snapshot.spec_for(tx.sql, stored), tx.board
    board.remove(stored.id, [given.replica_number])
    plan = schedule(board, spec, [given.replica_number])
    placed = next((each for each in plan.placed if each.node != given.node_id), None)
    if placed is None:
        board.apply(spec, [placed_of(spec, given)])
        return f"no other place: {plan.reasons.get(given.replica_number, 'only this node suits')}"
    board.apply(spec, [placed])
    return Moved(stored, given, placed)


def _book_moves(tx: Placing, moved: Sequence[Moved], *, why: str, remembered: Callable[[Moved], bool]) -> None:
    """Store what the board has moved, each under a fence of its own; of some, whose they were is remembered."""
    if not moved:
        return
    tx.board_changed()
    fence = counters.following(tx.sql, FENCE, by=len(moved)) - len(moved)
    rows = []
    for i, each in enumerate(moved, start=1):
        ports, revision = each.stored.spec.ports or (), each.given.revision
        fresh = assignment_of(each.placed, ports, fence=fence + i, revision=revision)
        rows.append((each.stored.id, fresh, remembered(each)))
    assignments.put_each(tx.sql, rows)
    told = []
    for each in moved:
        number, node_id = each.placed.number, each.placed.node
        settle_in(tx, each.stored, number, node_id)
        tx.touched_nodes |= {each.given.node_id, node_id}
        tx.touched.add(each.stored.id)
        reason = f"from {each.given.node} to {tx.board.name(node_id)}: {why}"
        told.append(Happening("replica.moved", each.stored.spec.name, reason, each.stored.id, number, node_id))
    tx.note(*told)


def evict(tx: Placing, stored: Stored, given: Assignment, *, why: str) -> None:
    """Take a replica from its node in any case: to another one, else it waits for a place."""
    if relocate(tx, stored, given, why=why) is not None:
        release(tx, stored, [given.replica_number], why=why)
        leave(tx, stored, given.replica_number)
        place(tx, stored, [given.replica_number], why=why)


def ends_there(sql: sqlite3.Connection, stored: Stored, given: Assignment) -> bool:
    """Whether a replica that leaves its node goes nowhere else: each node's own, an extra one, or at its end."""
    return (
        stored.spec.mode == "global"
        or stored.is_extra(given.replica_number)
        or finished.outcome_of(sql, stored.id, given.replica_number) is not None
    )


def move_out(tx: Placing, stored: Stored, given: Assignment, *, why: str) -> None:
    """Take a replica from its node in any case, and give it another one if it is to have one."""
    if ends_there(tx.sql, stored, given):
        release(tx, stored, [given.replica_number], why=why)
        if stored.spec.mode == "global" and stored.spec.desired_state == "running":
            place(tx, stored, (), why=why)  # where no node is left, somebody has to say so
        return
    evict(tx, stored, given, why=why)


def give_back(tx: Placing, node_id: str) -> None:
    """
    A node that did not answer is back: of deployments that keep the original it gets its replicas again.

    Under the fence they had, so that the containers which ran on there are kept. Where the place is taken by now, the
    successor stays. Who keeps the new one forgets the original.
    """
    for deployment_id, now, then in assignments.formerly_of(tx.sql, node_id):
        stored = deployments.by_id(tx.sql, deployment_id)
        ended = finished.outcome_of(tx.sql, deployment_id, now.replica_number) is not None
        if stored is not None and stored.spec.reschedule.on_return == "keep_original" and not ended:
            _give_back(tx, stored, now, then)
        assignments.forget_former(tx.sql, deployment_id, now.replica_number)


def _give_back(tx: Placing, stored: Stored, now: Assignment, then: Assignment) -> None:
    board, spec, number = tx.board, snapshot.spec_for(tx.sql, stored), now.replica_number
    board.remove(stored.id, [number])
    plan = schedule(board, spec, [number], bound={number: then.node_id})
    if not plan.placed:
        board.apply(spec, [placed_of(spec, now)])
        return
    same = same_ports(stored.spec.ports or (), then.ports) and _free(board, then)
    placed = placed_of(spec, then) if same else plan.placed[0]
    board.apply(spec, [placed])
    tx.board_changed()
    assignments.put(
        tx.sql, stored.id, then if same else replace(then, ports=mappings_of(stored.spec.ports or (), placed))
    )
    settle_in(tx, stored, number, then.node_id)
    reason = f"from {now.node} to {board.name(then.node_id)}, which is back: the original is kept"
    changed(tx, stored, "replica.returned", number, then.node_id, reason, before=now.node_id)


def _free(board: Board, then: Assignment) -> bool:
    """Whether nobody else has taken the host ports meanwhile."""
    held = {(port.host, port.protocol) for one in board.on(then.node_id) for port in one.ports}
    return not held & {(port.host_port, port.protocol) for port in then.ports}


def keep(tx: Placing, stored: Stored, given: Assignment, reason: str) -> str:
    """Tell that a replica stays where it is, and why, once in a while; gives the reason."""
    if events.happened(tx.sql, "replica.kept", stored.id, given.replica_number, since=ago(tx, KEPT_SECONDS)):
        return reason
    tell(tx, stored, "replica.kept", given.replica_number, given.node_id, f"stays with {given.node}: {reason}")
    return reason


def ago(tx: Placing, seconds: float) -> str:
    """The moment so many seconds ago."""
    return _before(tx.stamp, seconds)


@lru_cache(maxsize=8)  # asked for each replica of a dead node
def _before(moment: str, seconds: float) -> str:
    return stamp(unix(moment) - seconds)
