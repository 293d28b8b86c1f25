"""What the scheduler reads of a deployment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fledx.control_plane.scheduler.place import LEAST_CPU, LEAST_MEMORY, Placed
from fledx.control_plane.scheduler.ports import Port, Want, overlap, want_of
from fledx.models.assignment import Assignment
from fledx.models.deployment import DeploymentSpec
from fledx.models.node import Capacity, settled_arch
from fledx.models.permission import host_paths, permissions_needed, unknown_to_older
from fledx.models.placement import LEAST, PACK, Affinity, Constraints, Placement
from fledx.models.port import PortMapping
from fledx.models.rule import Rule

#: A node to avoid counts more than one to like, so that one which is both comes after one which is neither.
LIKED, AVOIDED = 1, -2


class Peer(NamedTuple):
    """Another deployment (or the deployment itself), by id; the name is for reasons."""

    id: str
    name: str


class Spread(NamedTuple):
    """
    Replicas go to the domain that has the fewest; ``label`` names the domains, None makes each node one.

    Up to ``max_skew`` replicas a domain count as equally few. Nodes without the label are one domain together.
    """

    label: str | None = None
    max_skew: int = 1


#: One replica a node, as far as that goes.
OVER_NODES = Spread()


@dataclass(frozen=True, kw_only=True)
class Preference:
    """Nodes by id or name, or by all of the labels, are liked so much more (or less, below 0)."""

    weight: int
    nodes: frozenset[str] = frozenset()
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Shape:
    """
    The part of a spec that one order of places serves; ``key`` is equal for equal shapes.

    ``domain`` is the label that replicas spread over, if they do; ``strategy`` is least (loaded first) or pack.
    ``permissions`` is what the node must allow, ``paths`` what it must have under its prefixes, ``fields`` what its
    agent must know.
    """

    arch: str | None = None
    os: str | None = None
    public_ip: bool = False
    rules: tuple[Rule, ...] = ()
    preferences: tuple[Preference, ...] = ()
    domain: str | None = None
    strategy: str = LEAST
    permissions: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    key: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        liked = [(one.weight, sorted(one.nodes), one.labels) for one in self.preferences]
        facts = (self.arch, self.os, self.public_ip, [str(rule) for rule in self.rules], liked)
        wishes = (self.permissions, self.paths, self.fields)
        object.__setattr__(self, "key", repr((*facts, self.domain, self.strategy, *filter(None, wishes))))


@dataclass(frozen=True, kw_only=True)
class Spec:
    """
    One deployment as the scheduler sees it; ``cpu`` in thousandths of a core, ``memory`` in bytes, for each replica.

    ``near`` and ``apart`` are other deployments whose nodes are the only ones allowed, or are forbidden; ``apart``
    binds both sides. A deployment apart from itself has at most one replica a node, one near itself has all on one.
    ``favours`` are deployments whose nodes are liked by a weight. Without ``spread`` the strategy alone decides.
    """

    deployment: str
    name: str
    shape: Shape = Shape()
    cpu: int = 0
    memory: int = 0
    wants: tuple[Want, ...] = ()
    near: tuple[Peer, ...] = ()
    apart: tuple[Peer, ...] = ()
    favours: tuple[tuple[str, int], ...] = ()
    spread: Spread | None = OVER_NODES
    counted_cpu: int = field(init=False)
    counted_memory: int = field(init=False)
    #: The ports of every replica where all are fixed and none collide; else None: they depend on the node.
    fixed: tuple[Port, ...] | None = field(init=False)
    #: At most one replica a node.
    alone: bool = field(init=False)

    def __post_init__(self) -> None:
        if (self.spread.label if self.spread else None) != self.shape.domain:
            raise ValueError("the shape's domain is not the label that replicas spread over")
        given = [want for want in self.wants if want.host is not None]
        put = object.__setattr__
        put(self, "counted_cpu", max(self.cpu, LEAST_CPU))
        put(self, "counted_memory", max(self.memory, LEAST_MEMORY))
        put(self, "fixed", None if len(given) < len(self.wants) or _collide(given) else _ports(given))
        put(self, "alone", bool(given) or any(peer.id == self.deployment for peer in self.apart))


def _collide(wants: list[Want]) -> bool:
    return any(
        one.host == other.host and one.protocol == other.protocol and overlap(one.address, other.address)
        for i, one in enumerate(wants)
        for other in wants[:i]
    )


def _ports(wants: Iterable[Want]) -> tuple[Port, ...]:
    return tuple(Port(want.container, want.protocol, want.host or 0, want.address) for want in wants)


def spec_of(deployment_id: str, spec: DeploymentSpec, ids: Mapping[str, str] | None = None) -> Spec:
    """
    The scheduler's view of a deployment; ``ids`` are those of the deployments that its placement names, by name.

    Replicas spread over nodes, except that the strategy ``pack`` puts them together unless the spec asks for
    spreading. Who must be near a deployment that there is not finds no place; to be apart from it is no demand.
    """
    wanted = spec.constraints or Constraints()
    placement = spec.placement or Placement()
    capacity = wanted.capacity or Capacity()
    strategy, spread = placement.strategy or LEAST, _spread(placement)
    known = {spec.name.lower(): deployment_id, **{name.lower(): found for name, found in (ids or {}).items()}}
    apart = [name for name in placement.apart or () if name.lower() in known]
    return Spec(
        deployment=deployment_id,
        name=spec.name,
        shape=Shape(
            arch=settled_arch(wanted.arch) if wanted.arch else None,
            os=wanted.os.strip().lower() if wanted.os else None,
            public_ip=wanted.requires_public_ip or spec.requires_public_ip,
            rules=_rules(wanted),
            preferences=_preferences(placement),
            domain=spread.label if spread else None,
            strategy=strategy,
            permissions=permissions_needed(spec),
            paths=host_paths(spec),
            fields=unknown_to_older(spec),
        ),
        cpu=capacity.cpu_millis or 0,
        memory=capacity.memory_bytes or 0,
        wants=tuple(want_of(port) for port in spec.ports or ()),
        near=tuple(Peer(known.get(name.lower(), ""), name) for name in placement.near or ()),
        apart=tuple(Peer(known[name.lower()], name) for name in apart),
        favours=_favours(placement, known),
        spread=spread,
    )


def _spread(placement: Placement) -> Spread | None:
    if placement.spread_over is not None:
        return Spread(label=placement.spread_over)
    return OVER_NODES if placement.strategy != PACK or placement.spread else None


def _favours(placement: Placement, known: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    """The deployments that are liked or avoided, by a weight; those that there are not count for nothing."""
    found: dict[str, int] = {}
    for affinity, weight in ((placement.affinity, LIKED), (placement.anti_affinity, AVOIDED)):
        for name in (affinity.deployments if affinity else None) or ():
            if name.lower() in known:
                found[known[name.lower()]] = found.get(known[name.lower()], 0) + weight
    return tuple(sorted(found.items()))


def _rules(wanted: Constraints) -> tuple[Rule, ...]:
    equal = [Rule(key=key, values=(value,)) for key, value in sorted((wanted.labels or {}).items())]
    return (*equal, *(Rule.parse(text) for text in wanted.rules or ()))


def _preferences(placement: Placement) -> tuple[Preference, ...]:
    found = [_preference(placement.affinity, LIKED), _preference(placement.anti_affinity, AVOIDED)]
    return tuple(one for one in found if one is not None)


def _preference(affinity: Affinity | None, weight: int) -> Preference | None:
    if affinity is None or not (affinity.node_ids or affinity.labels):
        return None
    labels = tuple(sorted((affinity.labels or {}).items()))
    return Preference(weight=weight, nodes=frozenset(affinity.node_ids), labels=labels)


def placed_of(spec: Spec, assignment: Assignment) -> Placed:
    """An assignment that was stored, as the board books it: requests as they are now, ports as they were given."""
    ports = tuple(
        Port(port.container_port, port.protocol, port.host_port, port.host_ip or "")
        for port in assignment.ports
        if port.host_port is not None
    )
    return Placed(spec.deployment, assignment.replica_number, assignment.node_id, spec.cpu, spec.memory, ports)


def mappings_of(wanted: Iterable[PortMapping], placed: Placed) -> tuple[PortMapping, ...]:
    """The ports of a spec with the host ports that the plan chose, in the spec's order."""
    pairs = zip(wanted, placed.ports, strict=True)
    return tuple(port if port.host_port == got.host else _with_host(port, got.host) for port, got in pairs)


def _with_host(port: PortMapping, host: int) -> PortMapping:
    return PortMapping(
        container_port=port.container_port,
        host_port=host,
        protocol=port.protocol,
        host_ip=port.host_ip,
        expose=port.expose,
        endpoint=port.endpoint,
    )


def assignment_of(
    placed: Placed, wanted: Iterable[PortMapping], *, node: str | None = None, fence: int = 1, revision: int = 1
) -> Assignment:
    """A placed replica as it is stored; ``wanted`` are the ports of the spec it was planned for."""
    return Assignment(
        replica_number=placed.number,
        node_id=placed.node,
        node=node,
        fence=fence,
        revision=revision,
        ports=mappings_of(wanted, placed),
    )
