"""Valid models to begin a test with; a test says only what it is about."""

from __future__ import annotations

from typing import Any

from fledx.models.assignment import Assignment
from fledx.models.codec import encode
from fledx.models.deployment import DeploymentSpec
from fledx.models.desired import ReplicaDesired
from fledx.models.instance import Instance
from fledx.models.node import Capacity, NodeFacts
from fledx.models.template import template_hash

NOW = "2026-11-25T12:00:00.000Z"
GIB = 1024**3


def spec(**changes: Any) -> DeploymentSpec:
    """A deployment of one replica."""
    return DeploymentSpec(**{"name": "web", "image": "web:1", **changes})


def facts(**changes: Any) -> NodeFacts:
    """What a healthy node of 4 cores and 8 GiB tells of itself."""
    fields: dict[str, Any] = {
        "name": "edge-1",
        "arch": "amd64",
        "os": "linux",
        "labels": {},
        "capacity": Capacity(cpu_millis=4000, memory_bytes=8 * GIB),
        "runtime": "Docker 28.2",
    }
    return NodeFacts(**{**fields, **changes})


def assignment(**changes: Any) -> Assignment:
    """Replica 0 on node `n1`, first owner, first revision."""
    return Assignment(**{"replica_number": 0, "node_id": "n1", "node": "edge-1", **changes})


def instance(**changes: Any) -> Instance:
    """Replica 0 of deployment `d`, running and ready on node `n1` under its first owner and revision."""
    fields: dict[str, Any] = {
        "deployment_id": "d",
        "replica_number": 0,
        "node_id": "n1",
        "container_id": "c1",
        "state": "running",
        "ready": True,
        "fence": 1,
        "revision": 1,
        "last_updated": NOW,
    }
    return Instance(**{**fields, **changes})


def running(replica: ReplicaDesired, **changes: Any) -> Instance:
    """What an agent tells of a replica that runs as it was told."""
    fields: dict[str, Any] = {
        "deployment_id": replica.deployment_id,
        "replica_number": replica.replica_number,
        "container_id": f"c-{replica.template}-{replica.replica_number}",
        "state": "running",
        "ready": True,
        "fence": replica.fence,
        "revision": replica.revision,
        "template": replica.template,
        "last_updated": NOW,
    }
    return Instance(**{**fields, **changes})


def replica(number: int = 0, **changes: Any) -> ReplicaDesired:
    """Replica of deployment `web`; its template hash follows from what it is made of."""
    fields: dict[str, Any] = {
        "deployment_id": "d-web",
        "deployment": "web",
        "replica_number": number,
        "generation": 1,
        "revision": 1,
        "template": "",
        "fence": 1,
        "image": "app:1",
        **changes,
    }
    made = ReplicaDesired(**fields)
    return ReplicaDesired(**{**fields, "template": template_hash(encode(made))})
