"""Replicas change where they stand: to another revision, or to other host ports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fledx.control_plane.replicas.keeping import settle_in
from fledx.control_plane.replicas.placing import FENCE, Placing, changed, place
from fledx.control_plane.scheduler.schedule import schedule
from fledx.control_plane.scheduler.spec import assignment_of, placed_of
from fledx.control_plane.store import assignments, counters, deployments, finished, instances, snapshot
from fledx.control_plane.store.deployments import Stored
from fledx.models.assignment import Assignment
from fledx.models.permission import data_of
from fledx.models.port import PortMapping


def advance(tx: Placing, stored: Stored, given: Assignment, *, why: str) -> None:
    """
    Bring a replica to the deployment's present revision, where it stands if its ports can be had there.

    The fence stays while the owner does: the agent sees from the template whether a new container is needed.
    """
    number, board, spec = given.replica_number, tx.board, snapshot.spec_for(tx.sql, stored)
    fresh = replace(given, revision=stored.revision)
    if not same_ports(stored.spec.ports or (), given.ports):
        board.remove(stored.id, [number])
        plan = schedule(board, spec, [number], bound={number: given.node_id})
        if not plan.placed:
            assignments.drop(tx.sql, stored.id, [number])
            tx.touched_nodes.add(given.node_id)
            place(tx, stored, [number], why=f"{why}; {plan.reasons[number]}")
            return
        board.apply(spec, plan.placed)
        tx.board_changed()
        fresh = assignment_of(
            plan.placed[0], stored.spec.ports or (), node=given.node, fence=given.fence, revision=stored.revision
        )
    assignments.put(tx.sql, stored.id, fresh)
    settle_in(tx, stored, number, given.node_id)
    reason = f"to revision {stored.revision} on {given.node}: {why}"
    changed(tx, stored, "replica.updated", number, given.node_id, reason)


def same_ports(wanted: Sequence[PortMapping], got: Sequence[PortMapping]) -> bool:
    """Whether the ports a replica has are what its spec asks for, any number being right where none is fixed."""
    if len(wanted) != len(got):
        return False
    return all(
        replace(one, host_port=other.host_port if one.host_port is None else one.host_port) == other
        for one, other in zip(wanted, got, strict=True)
    )


def mend_ports(tx: Placing, node_id: str) -> None:
    """
    Replicas whose chosen host port turned out to be somebody else's on this node get another one.

    What runs has its port, whatever the node says of it.
    """
    busy = tx.board.places[tx.board.index[node_id]].node.busy
    running = instances.running_on(tx.sql, node_id) if busy else set()
    for deployment_id, given in assignments.of_node(tx.sql, node_id):
        has = {(port.protocol, port.host_port) for port in given.ports}
        if not has & busy or (deployment_id, given.replica_number, given.fence) in running:
            continue
        if finished.outcome_of(tx.sql, deployment_id, given.replica_number) is not None:
            continue
        stored = deployments.by_id(tx.sql, deployment_id)
        if stored is not None and stored.spec.desired_state == "running" and given.revision == stored.revision:
            _other_ports(tx, stored, given)


def _other_ports(tx: Placing, stored: Stored, given: Assignment) -> None:
    """Other ports on the same node, else another node; where neither can be had the replica keeps what it has."""
    number, board, spec = given.replica_number, tx.board, snapshot.spec_for(tx.sql, stored)
    before = placed_of(spec, given)
    board.remove(stored.id, [number])
    plan = schedule(board, spec, [number], bound={number: given.node_id})
    if not plan.placed and not data_of(stored.spec) and stored.spec.mode != "global":
        plan = schedule(board, spec, [number])
    board.apply(spec, plan.placed or [before])
    tx.board_changed()
    if not plan.placed:
        return
    (placed,) = plan.placed
    stays = placed.node == given.node_id
    name = board.name(placed.node)
    fence = given.fence if stays else counters.following(tx.sql, FENCE)
    fresh = assignment_of(placed, stored.spec.ports or (), node=name, fence=fence, revision=given.revision)
    assignments.put(tx.sql, stored.id, fresh)
    reason = f"{', '.join(map(str, fresh.ports))} on {name}: a port it had is used by something outside fledx"
    changed(tx, stored, "replica.ports", number, placed.node, reason, before=given.node_id)
