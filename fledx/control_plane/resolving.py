"""What one replica is to run: its template with its ports, configs, secrets and volumes resolved."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fledx.control_plane.delivery import Delivery, Moments, delivered
from fledx.control_plane.store import assignments, finished, revisions, volumes
from fledx.models.assignment import Assignment
from fledx.models.codec import decode_lenient, encode
from fledx.models.deployment import DeploymentSpec
from fledx.models.desired import ReplicaDesired
from fledx.models.template import template_hash
from fledx.sealing import Seal


def replica_of(
    sql: sqlite3.Connection,
    deployment: sqlite3.Row,
    template: dict[str, Any],
    given: Assignment,
    seal: Seal | None = None,
) -> ReplicaDesired:
    """
    A replica's template with its ports, configs and secrets resolved, and who it is; `deployment` is its `heading`.

    Without `seal` the secrets' values are left out.
    """
    found = delivery_of(sql, deployment["id"], template, given)
    body = _resolved(sql, deployment, template, given, found)
    who = {
        "deployment_id": deployment["id"],
        "deployment": deployment["name"],
        "replica_number": given.replica_number,
        "generation": deployment["generation"],
        "revision": given.revision,
        "template": _hash_of(json.dumps(body)),
        "fence": given.fence,
        "desired_state": deployment["desired_state"],
        "secrets": encode(found.values(seal)) if seal else [],
        "digest": revisions.digest_of(sql, deployment["id"], given.revision),
        "job": None if deployment["job"] is None else job_of(sql, deployment, given),
    }
    return decode_lenient(ReplicaDesired, {**body, **who})


def replica_template(
    sql: sqlite3.Connection, deployment: sqlite3.Row, template: dict[str, Any], given: Assignment
) -> str:
    """The hash by which the container that a replica is to have is known; what a rollout asks of each, all the time."""
    found = delivery_of(sql, deployment["id"], template, given)
    return _hash_of(json.dumps(_resolved(sql, deployment, template, given, found)))


def _resolved(
    sql: sqlite3.Connection, deployment: sqlite3.Row, template: dict[str, Any], given: Assignment, found: Delivery
) -> dict[str, Any]:
    """The encoded template as this replica gets it."""
    own = {"ports": encode(given.ports), **_volume_names(sql, deployment, template, given)}
    return {**template, **found.fields(), **own}


@lru_cache(maxsize=1024)
def _hash_of(text: str) -> str:
    return template_hash(json.loads(text))


def _volume_names(
    sql: sqlite3.Connection, deployment: sqlite3.Row, template: Mapping[str, Any], given: Assignment
) -> dict[str, dict[str, str]]:
    """What the node calls the volumes that the template mounts by name; nothing where there are none."""
    wanted = {mount["name"] for mount in template.get("volumes") or () if mount.get("name")}
    if not wanted:
        return {}
    own = volumes.current(sql, deployment["id"], given.replica_number)
    return {"volume_names": {name: own[name].name for name in sorted(wanted & own.keys())}}


def job_of(sql: sqlite3.Connection, deployment: sqlite3.Row, given: Assignment) -> Any:
    """How the agent runs a job, encoded."""
    spec = decode_lenient(DeploymentSpec, json.loads(deployment["job"]))
    return encode(spec.job(finished.outcome_of(sql, deployment["id"], given.replica_number)))


def delivery_of(sql: sqlite3.Connection, deployment_id: str, template: dict[str, Any], given: Assignment) -> Delivery:
    """What a replica gets of configs and secrets at the revision it is to run now."""
    moments = Moments.of(
        revisions.content_of(sql, deployment_id, given.revision),
        assignments.arrived(sql, deployment_id, given.replica_number),
    )
    return delivered(sql, deployment_id, template, given.node_id, moments)
