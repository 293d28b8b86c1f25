"""One node's complete desired state, read from the store."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from fledx.control_plane.store import assignments, deployments, nodes
from fledx.models.assignment import Assignment
from fledx.models.codec import decode_lenient, encode
from fledx.models.desired import NodeDesiredState, ReplicaDesired
from fledx.models.template import template_hash


def desired_state(sql: sqlite3.Connection, node_id: str) -> NodeDesiredState | None:
    """What the node is to run, under its present revision; None when there is no such node."""
    node = nodes.by_id(sql, node_id)
    if node is None:
        return None
    owned = assignments.of_node(sql, node_id)
    templates = deployments.templates(sql, {(deployment_id, given.revision) for deployment_id, given in owned})
    rows = deployments.headings(sql, {deployment_id for deployment_id, _ in owned})
    replicas = [
        replica_of(rows[deployment_id], templates[deployment_id, given.revision], given)
        for deployment_id, given in owned
    ]
    return NodeDesiredState(node_id=node_id, revision=node["desired_revision"], replicas=tuple(replicas))


def replica_of(deployment: sqlite3.Row, template: dict[str, Any], given: Assignment) -> ReplicaDesired:
    """A replica's template with its ports resolved, and who it is; `deployment` is its `heading`."""
    body = {**template, "ports": encode(given.ports)}
    who = {
        "deployment_id": deployment["id"],
        "deployment": deployment["name"],
        "replica_number": given.replica_number,
        "generation": deployment["generation"],
        "revision": given.revision,
        "template": template_hash(json.loads(json.dumps(body))),
        "fence": given.fence,
        "desired_state": deployment["desired_state"],
    }
    return decode_lenient(ReplicaDesired, {**body, **who})
