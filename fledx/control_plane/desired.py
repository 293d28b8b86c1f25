"""One node's complete desired state, read from the store."""

from __future__ import annotations

import json
import sqlite3

from fledx.control_plane.ingress.part import Part
from fledx.control_plane.registries import logins_for
from fledx.control_plane.resolving import replica_of
from fledx.control_plane.store import assignments, deployments, nodes, parts, revisions, volumes
from fledx.control_plane.store.certificates import opened
from fledx.models.desired import NodeDesiredState
from fledx.models.ingress import GatewayDesired, Held
from fledx.sealing import Seal


def desired_state(sql: sqlite3.Connection, node_id: str, seal: Seal) -> NodeDesiredState | None:
    """What the node is to run, under its present revision, secrets opened; None when there is no such node."""
    node = nodes.by_id(sql, node_id)
    if node is None:
        return None
    owned = assignments.of_node(sql, node_id)
    templates = revisions.templates(sql, {(deployment_id, given.revision) for deployment_id, given in owned})
    rows = deployments.headings(sql, {deployment_id for deployment_id, _ in owned})
    replicas = [
        replica_of(sql, rows[deployment_id], templates[deployment_id, given.revision], given, seal)
        for deployment_id, given in owned
    ]
    gateway = json.loads(node["facts"]).get("gateway")
    envoy = {gateway["image"]} if gateway and gateway.get("image") else set[str]()
    return NodeDesiredState(
        node_id=node_id,
        revision=node["desired_revision"],
        replicas=tuple(replicas),
        registries=logins_for(sql, {replica.image for replica in replicas} | envoy, seal),
        dropped_volumes=tuple(volumes.to_drop(sql, node_id)),
        held=_held(sql, node_id),
        gateway=_gateway(sql, seal) if gateway else None,
    )


def _held(sql: sqlite3.Connection, node_id: str) -> tuple[Held, ...]:
    """The replicas of a node that gateways are still draining."""
    return tuple(
        Held(deployment_id=deployment_id, replica_number=offer.replica_number, seconds=offer.hold)
        for deployment_id, body in parts.passing(sql)
        for offer in Part.of(body).offers
        if offer.node_id == node_id and offer.hold is not None
    )


def _gateway(sql: sqlite3.Connection, seal: Seal) -> GatewayDesired:
    """All that gateways serve."""
    found = [(deployment_id, Part.of(body)) for deployment_id, body in parts.everything(sql)]
    return GatewayDesired(
        routes=tuple(route for _, part in found for route in part.routes),
        backends=tuple(backend for deployment_id, part in found for backend in part.backends(deployment_id)),
        certificates=opened(sql, seal),
    )
