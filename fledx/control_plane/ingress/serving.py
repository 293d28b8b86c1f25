"""How a deployment is served to the world, as operators see it: its URLs, its gateways, and what is in the way."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from fledx.control_plane.ingress.gateways import Gateways
from fledx.control_plane.store import certificates, claims, parts
from fledx.control_plane.store.deployments import Stored
from fledx.models.certificate import covers
from fledx.models.ingress import GatewayFacts, GatewayStatus, GatewayView, IngressRule, Serving

NO_GATEWAY = "no node is a gateway: set FLEDX_AGENT_GATEWAY_ENABLED=true for the agent of one that the world reaches"


def serving_of(sql: sqlite3.Connection, stored: Stored, gateways: Gateways) -> Serving | None:
    """What there is to say of a deployment with ingress; None of one without."""
    rules = stored.spec.ingress or ()
    if not rules:
        return None
    rows = parts.gateways(sql)
    seen = [gateway_view(row, gateways, stored.id) for row in rows]
    facts = [GatewayFacts(**json.loads(row["facts"])["gateway"]) for row in rows]
    secured = [host for row in certificates.everyone(sql) for host in json.loads(row["shown_for"])]
    return Serving(
        urls=tuple(_url(rule, secured, facts[0] if facts else GatewayFacts(http_port=80)) for rule in rules),
        gateways=tuple(seen),
        reason=_in_the_way(stored, seen),
    )


def gateway_view(row: sqlite3.Row, gateways: Gateways, deployment_id: str | None = None) -> GatewayView:
    """One gateway, and how it reaches the replicas of a deployment."""
    node_id, status = row["id"], gateways.status(row["id"])
    ways = {} if status is None or deployment_id is None else _ways(status, deployment_id)
    state = "silent" if gateways.connected(node_id) else "away"
    return GatewayView(
        node_id=node_id,
        node=row["name"],
        state=state if status is None else status.state,
        reason=None if status is None else status.reason,
        refused=None if status is None else status.refused,
        ways=ways,
    )


def _ways(status: GatewayStatus, deployment_id: str) -> dict[str, str]:
    """By replica number; where several ports are reached in several ways, each of these."""
    found: dict[str, set[str]] = {}
    for name, way in status.ways.items():
        backend, _, number = name.rpartition("/")
        if backend.rpartition("-")[0] == deployment_id:
            found.setdefault(number, set()).add(way)
    return {number: "/".join(sorted(ways)) for number, ways in sorted(found.items())}


def _url(rule: IngressRule, secured: Sequence[str], facts: GatewayFacts) -> str:
    tls = facts.https_port is not None and any(covers(host, rule.host) for host in secured)
    port, usual = (facts.https_port, 443) if tls else (facts.http_port, 80)
    return f"{'https' if tls else 'http'}://{rule.host}{'' if port == usual else f':{port}'}{rule.path}"


def _in_the_way(stored: Stored, seen: Sequence[GatewayView]) -> str | None:
    if not seen:
        return NO_GATEWAY
    if any(each.state == "serving" for each in seen):
        return None if stored.ready else "no replica is ready"
    told = [f"{each.node} is {each.state}" + (f": {each.reason}" if each.reason else "") for each in seen]
    return f"no gateway serves: {'; '.join(told[:3])}"


def problems(sql: sqlite3.Connection, gateways: Gateways) -> list[str]:
    """What keeps gateways from serving all that they are to serve, a sentence each."""
    rows = parts.gateways(sql)
    seen = [gateway_view(row, gateways) for row in rows]
    found = [f"gateway {each.node} is {each.state}{_why(each)}" for each in seen if each.state in ("failed", "away")]
    found += [f"gateway {each.node} goes on with what it had: {each.refused}" for each in seen if each.refused]
    names = sorted({name for _, name in claims.everything(sql)})
    if names and not any(each.state == "serving" for each in seen):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        found.append(f"no gateway serves {names[0]}{more}" + ("" if rows else f": {NO_GATEWAY}"))
    return found


def _why(each: GatewayView) -> str:
    return f": {each.reason}" if each.reason else ""
