"""A deployment as the API shows it, put together from its rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import fields, replace

from fledx.control_plane.replicas.status import current
from fledx.control_plane.store import assignments, configs, instances, revisions
from fledx.control_plane.store.deployments import Stored
from fledx.models.assignment import Assignment
from fledx.models.deployment import Deployment, DeploymentSpec, Rollout
from fledx.models.instance import Instance
from fledx.models.port import PortMapping

SPEC_FIELDS = tuple(field.name for field in fields(DeploymentSpec))


def deployment_view(sql: sqlite3.Connection, stored: Stored, public_host: str | None) -> Deployment:
    """The whole of it; `listing.py` writes the same for lists, without instances and what is pending."""
    owned = assignments.of_deployment(sql, stored.id)
    found = [each for each, _ in instances.of_deployment(sql, stored.id)]
    seen = current(found, owned)
    first = next((given for given in owned if given.replica_number == 0), owned[0] if owned else None)
    pending = tuple(assignments.pending_of(sql, stored.id))
    counted = {"replicas": len(owned) + len(pending)} if stored.spec.mode == "global" else {}
    job = stored.job or {}
    spec = {name: getattr(stored.spec, name) for name in SPEC_FIELDS} | counted
    offered = {(given.node_id, given.replica_number) for given in owned if not given.leaving}
    return Deployment(
        **spec,
        deployment_id=stored.id,
        status=stored.status,
        reason=stored.reason,
        generation=stored.generation,
        revision=stored.revision,
        ready_replicas=stored.ready,
        unplaced_replicas=0 if stored.spec.desired_state == "stopped" else _unplaced(stored, owned, len(pending)),
        outcome=job.get("outcome"),
        last_run=job.get("last_run"),
        next_run=job.get("next_run"),
        assigned_node_id=first.node_id if first else None,
        assignments=tuple(_with_endpoints(given, public_host) for given in owned),
        instances=tuple(_in_turn(each, offered) for each in found),
        instance=seen.get(first.replica_number) if first else None,
        pending=pending,
        rollout=_rollout(stored, owned, spec["replicas"]),
        configs=tuple(configs.names_on(sql, "deployment", stored.id)) or None,
        image_digest=revisions.digest_of(sql, stored.id, stored.revision),
        last_reported=max((each.last_updated for each in found), default=None),
        created_at=stored.created_at,
        updated_at=stored.updated_at,
    )


def _unplaced(stored: Stored, owned: Sequence[Assignment], waiting: int) -> int:
    """Of a job that has ended in part not all have an owner, and nobody waits for one."""
    if stored.spec.mode != "service":
        return waiting
    return stored.spec.replicas - sum(given.replica_number < stored.spec.replicas for given in owned)


def _in_turn(each: Instance, offered: set[tuple[str, int]]) -> Instance:
    """One that is about to be taken down, or has no claim any more, is not shown as ready: nobody should use it."""
    if not each.ready or (each.node_id, each.replica_number) in offered:
        return each
    return replace(each, ready=False, message=each.message or "about to be taken down")


def _with_endpoints(given: Assignment, public_host: str | None) -> Assignment:
    """Exposed ports with where they are reached, if that is known."""
    return replace(given, ports=tuple(_with_endpoint(port, public_host) for port in given.ports))


def _with_endpoint(port: PortMapping, public_host: str | None) -> PortMapping:
    host = port.host_ip or public_host
    if not port.expose or host is None or port.host_port is None:
        return port
    return replace(port, endpoint=f"{host}:{port.host_port}")


def _rollout(stored: Stored, owned: Sequence[Assignment], wanted: int) -> Rollout:
    """How far the revision has got."""
    kept = stored.rollout or {}
    due = [given for given in owned if not stored.is_extra(given.replica_number)]
    updated = sum(1 for given in due if given.revision == stored.revision)
    done = updated == len(due)
    return Rollout(
        state=kept.get("state", "complete" if done else "progressing"),
        revision=stored.revision,
        updated=updated,
        wanted=wanted,
        reason=kept.get("reason"),
        since=kept.get("since"),
        waits_for=kept.get("waits_for"),
    )
