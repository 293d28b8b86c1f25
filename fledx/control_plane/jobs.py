"""Jobs come to their end, and run anew when they are changed."""

from __future__ import annotations

from collections.abc import Iterable

from fledx.control_plane.changes import Transaction
from fledx.control_plane.replicas.placing import changed, place, release, settle_waiting
from fledx.control_plane.resolving import replica_template
from fledx.control_plane.store import assignments, deployments, finished, revisions
from fledx.control_plane.store.deployments import Stored
from fledx.models.instance import Instance


def note_ends(tx: Transaction, node_id: str, found: Iterable[Instance]) -> None:
    """Keep the ends of jobs that run once, as the owners of their replicas report them; what they held gets free."""
    ended = [each for each in found if _is_end(each)]
    news = [each for each in ended if _end(tx, node_id, each)]
    if news:
        settle_waiting(tx)


def _is_end(each: Instance) -> bool:
    run = each.job.run if each.job else None
    return run is not None and run.due is None and run.outcome is not None


def _end(tx: Transaction, node_id: str, each: Instance) -> bool:
    """Whether this is news: of the present owner, and of what the replica is to run now."""
    stored, run = deployments.by_id(tx.sql, each.deployment_id), each.job.run if each.job else None
    if stored is None or run is None or not stored.spec.is_once:
        return False
    owned = {given.replica_number: given for given in assignments.of_deployment(tx.sql, stored.id)}
    given = owned.get(each.replica_number)
    if given is None or (given.node_id, given.fence) != (node_id, each.fence):
        return False
    if finished.outcome_of(tx.sql, stored.id, given.replica_number) is not None:
        return False
    templates = revisions.templates(tx.sql, {(stored.id, given.revision)})
    heading = deployments.heading(tx.sql, stored.id)
    template = replica_template(tx.sql, heading, templates[stored.id, given.revision], given)
    if template != each.template:
        return False
    finished.add(tx.sql, stored.id, given.replica_number, template=template, node=given.node, run=run)
    tx.board.remove(stored.id, [given.replica_number])
    tx.board_changed()
    reason = run.reason or f"replica {given.replica_number} has {run.outcome}"
    changed(tx, stored, f"job.{run.outcome}", given.replica_number, node_id, reason)
    return True


def run_anew(tx: Transaction, stored: Stored, *, why: str) -> None:
    """What has run to its end runs again, wherever there is a place for it now."""
    ended = finished.of_deployment(tx.sql, stored.id)
    if not ended:
        return
    release(tx, stored, ended, why=why)
    finished.forget(tx.sql, stored.id)
    if stored.spec.desired_state == "running":
        place(tx, stored, sorted(ended), why=why)
