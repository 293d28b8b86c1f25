"""
What gateways are to serve of each deployment, worked out whenever something about it has changed.

A deployment's part (routes, backends, and who is offered) is stored as text, so that a gateway's desired state is put
together without looking at any deployment, and so that it can outlive its deployment until the last of its instances
is drained. Deployments without ingress cost one point query.
"""

from __future__ import annotations

import ipaddress
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fledx.control_plane.ingress.draining import Gateway, Look, Offer, Seen, next_offers
from fledx.control_plane.ingress.gateways import Gateways
from fledx.control_plane.ingress.part import Part, backend_name
from fledx.control_plane.resolving import replica_template
from fledx.control_plane.store import assignments, deployments, instances, nodes, parts, revisions
from fledx.control_plane.store.deployments import Stored
from fledx.models.assignment import Assignment
from fledx.models.ingress import IngressRule, Route, host_fault, settled_port
from fledx.models.instance import Instance


@dataclass(frozen=True, kw_only=True)
class Change:
    """
    What became of one deployment's part.

    ``visible`` says that gateways are to serve something else, ``owners`` are nodes that are to hold other instances.
    """

    deployment_id: str
    part: Part | None
    visible: bool
    owners: frozenset[str]


def reworked(
    sql: sqlite3.Connection,
    deployment_id: str,
    stored: Stored | None,
    gateways: Gateways,
    *,
    now: float,
    grace: float,
    away: Mapping[str, str],
) -> Change | None:
    """What changes about a deployment's part now; None where nothing does. `away` are nodes that do not answer."""
    kept = parts.get(sql, deployment_id)
    rules = () if stored is None else stored.spec.ingress or ()
    if kept is None and not rules:
        return None
    before = None if kept is None else Part.of(kept.body)
    routes, ports = _served(deployment_id, stored, rules)
    seen = _vanishing(before) if stored is None else _seen(sql, stored, away)
    wanted = _wanted(sql, stored, away) if stored is not None and rules else ()
    look = Look(
        seen=[each for each in seen if rules or not each.stays],
        coming={(given.node_id, given.replica_number) for given in wanted if not given.leaving},
        backends=[backend_name(deployment_id, int(port)) for port in (before.ports if before else ports)],
        gateways=_counted(sql, gateways, {} if kept is None else kept.marks),
        now=now,
        grace=grace if stored is None else min(grace, stored.spec.update.progress_deadline_seconds / 2),
    )
    offers = next_offers(before.offers if before else (), look)
    if not rules and not offers:
        return _difference(deployment_id, before, None)
    name = stored.spec.name if stored is not None else before.deployment if before else ""
    old_ports = before.ports if before else {}
    # One that leaves is to be followed by another in its place: once nobody is left, that one is waited for.
    awaited = bool(look.coming if offers else wanted) and all(offer.draining_since is not None for offer in offers)
    fresh = Part(deployment=name, routes=routes, ports=ports or old_ports, offers=offers, awaited=awaited)
    return _difference(deployment_id, before, fresh)


def _difference(deployment_id: str, before: Part | None, fresh: Part | None) -> Change | None:
    if before == fresh:
        return None
    return Change(
        deployment_id=deployment_id,
        part=fresh,
        visible=_visible(deployment_id, before) != _visible(deployment_id, fresh),
        owners=frozenset(node_id for node_id, _, _ in _holds(before) ^ _holds(fresh)),
    )


def _visible(deployment_id: str, part: Part | None) -> Any:
    return None if part is None else (part.routes, part.backends(deployment_id))


def _holds(part: Part | None) -> set[tuple[str, int, float]]:
    offers = () if part is None else part.offers
    return {(offer.node_id, offer.replica_number, offer.hold) for offer in offers if offer.hold is not None}


def _served(
    deployment_id: str, stored: Stored | None, rules: Sequence[IngressRule]
) -> tuple[tuple[Route, ...], dict[str, str]]:
    """The routes of a deployment's rules, and its ports with their protocols: h2c where any rule says so."""
    routes, ports = [], dict[str, str]()
    for rule in rules:
        port = settled_port(rule, () if stored is None else stored.spec.tcp_ports) or 0
        ports[str(port)] = rule.protocol if ports.get(str(port)) != "h2c" else "h2c"
        routes.append(
            Route(
                host=rule.host,
                path=rule.path,
                path_type=rule.path_type,
                backend=backend_name(deployment_id, port),
                rewrite=rule.rewrite,
                timeout_seconds=rule.timeout_seconds,
                max_body_bytes=rule.max_body_bytes,
                https_redirect=rule.https_redirect,
            )
        )
    return tuple(routes), ports


def _vanishing(before: Part | None) -> tuple[Seen, ...]:
    """The instances of a deployment that is gone: nothing is reported of them any more, and all are to go."""
    return tuple(
        Seen(
            replica_number=offer.replica_number,
            node_id=offer.node_id,
            fence=offer.fence,
            template=offer.template,
            ready=True,
            stays=False,
            addresses=offer.addresses,
        )
        for offer in (before.offers if before else ())
    )


def _wanted(sql: sqlite3.Connection, stored: Stored, away: Mapping[str, str]) -> list[Assignment]:
    """All that are to run, and can."""
    if stored.spec.desired_state != "running":
        return []
    return [given for given in assignments.of_deployment(sql, stored.id) if given.node_id not in away]


def _seen(sql: sqlite3.Connection, stored: Stored, away: Mapping[str, str]) -> Iterator[Seen]:
    """The instances of a deployment that run, each beside what its node is to run."""
    owned = {(given.node_id, given.replica_number): given for given in assignments.of_deployment(sql, stored.id)}
    for instance, _ in instances.of_deployment(sql, stored.id):
        if instance.state != "running" or instance.template is None or instance.node_id is None:
            continue
        given = owned.get((instance.node_id, instance.replica_number))
        yield Seen(
            replica_number=instance.replica_number,
            node_id=instance.node_id,
            fence=instance.fence,
            template=instance.template,
            ready=instance.ready and instance.node_id not in away,
            stays=given is not None and _fits(sql, stored, given, instance),
            leaving=given is not None and given.leaving is True,
            addresses={} if given is None else _addresses(sql, given),
        )


def _fits(sql: sqlite3.Connection, stored: Stored, given: Assignment, instance: Instance) -> bool:
    """Whether a container is what its node is to run; with the same revision it is, unless its owner says otherwise."""
    if stored.spec.desired_state != "running" or instance.fence != given.fence:
        return False
    if instance.revision == given.revision:
        return True
    template = revisions.templates(sql, {(stored.id, given.revision)})[stored.id, given.revision]
    heading = deployments.heading(sql, stored.id)
    return replica_template(sql, heading, template, given) == instance.template


def _addresses(sql: sqlite3.Connection, given: Assignment) -> dict[str, tuple[str, ...]]:
    """Where published ports may be reached without a tunnel, by container port."""
    row = nodes.by_id(sql, given.node_id)
    if row is None or not given.ports:
        return {}
    hosts = reachable_hosts(json.loads(row["facts"]), row["address"])
    found: dict[str, tuple[str, ...]] = {}
    for port in given.ports:
        if port.protocol == "tcp" and port.host_port is not None:
            at = [host for host in ([port.host_ip] if port.host_ip else hosts) if _outward(host)]
            found[str(port.container_port)] = tuple(_joined(host, port.host_port) for host in at)
    return {port: addresses for port, addresses in found.items() if addresses}


def reachable_hosts(facts: Mapping[str, Any], peer: str | None) -> list[str]:
    """A node's hosts as it tells them, then the address it connects from (`host:port`)."""
    seen_from = (peer or "").rpartition(":")[0].strip("[]") or peer
    found = (facts.get("public_host"), facts.get("public_ip"), seen_from)
    return list(dict.fromkeys(host for host in found if host))


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _outward(host: str) -> bool:
    """Whether an address may mean a node: not one that means another machine to everyone, or services of a cloud."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower().rstrip(".")
        return host_fault(name) is None and name != "localhost" and not name.startswith("*")
    return not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)


def _counted(sql: sqlite3.Connection, gateways: Gateways, marks: Mapping[str, int]) -> list[Gateway]:
    """The gateways that count now, and how far each has come with this deployment."""
    found = []
    for row in parts.gateways(sql):
        if gateways.counts(row["id"], row["status"]):
            status = gateways.status(row["id"])
            caught_up = status is not None and status.revision >= max(1, marks.get(row["id"], 0))
            drained = () if status is None else status.drained
            names = frozenset((each.backend, each.replica_number, each.fence, each.template) for each in drained)
            found.append(Gateway(node_id=row["id"], caught_up=caught_up, drained=names))
    return found


def offered_on(
    sql: sqlite3.Connection, gateway_id: str, deployment_id: str, replica_number: int, port: int
) -> list[str] | None:
    """
    The nodes on which a gateway is offered a replica at a port, those that get nothing new last.

    None when the node is no gateway, or the deployment is not served at that port: nobody may ask for it.
    """
    kept = parts.get(sql, deployment_id) if nodes.is_gateway(sql, gateway_id) else None
    part = None if kept is None else Part.of(kept.body)
    if part is None or str(port) not in part.ports:
        return None
    found = sorted((offer for offer in part.offers if offer.replica_number == replica_number), key=_last_draining)
    return [offer.node_id for offer in found]


def _last_draining(offer: Offer) -> bool:
    return offer.draining_since is not None
