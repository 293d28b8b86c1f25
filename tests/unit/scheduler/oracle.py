"""
The scheduler as a plain scan: every replica looks at every node, with nothing kept from one to the next.

Written apart from the real one, sharing only its nouns, so that a fault in either shows as a difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fledx.control_plane.scheduler.place import NodeView, Placed
from fledx.control_plane.scheduler.ports import Port, Want
from fledx.control_plane.scheduler.spec import Preference, Spec
from fledx.models.rule import Rule

MIB = 1024 * 1024


@dataclass(frozen=True)
class Refused:
    """Which filter (by its number), its words, and how much there was."""

    step: int
    text: str
    left: int | None = None

    def alone(self) -> str:
        """As it is told of one node."""
        return self.text if self.left is None else f"{self.text}, {self.amount(self.left)} left"

    def amount(self, left: int) -> str:
        """In the unit of the filter."""
        return f"{left}m" if self.step == 6 else f"{left // MIB} MiB"


@dataclass
class World:
    """Nodes and what stands on them, as lists."""

    nodes: list[NodeView]
    bounds: tuple[int, int] | None
    standing: list[Placed] = field(default_factory=list)
    specs: dict[str, Spec] = field(default_factory=dict)

    def on(self, node: NodeView) -> list[Placed]:
        """What stands on a node."""
        return [placed for placed in self.standing if placed.node == node.id]

    def of(self, deployment: str) -> list[Placed]:
        """What stands of a deployment, on nodes that exist."""
        known = {node.id for node in self.nodes}
        return [placed for placed in self.standing if placed.deployment == deployment and placed.node in known]

    def apply(self, spec: Spec, placed: Iterable[Placed]) -> None:
        """Book replicas, each instead of what it was before."""
        placed = list(placed)
        numbers = {one.number for one in placed}
        self.standing = [
            one for one in self.standing if one.deployment != spec.deployment or one.number not in numbers
        ] + placed
        self.specs[spec.deployment] = spec


def plan(
    world: World, spec: Spec, wanted: Sequence[int], bound: Mapping[int, str]
) -> tuple[list[Placed], dict[int, str]]:
    """What is placed, in order, and why each other one is not."""
    trial = World(world.nodes, world.bounds, list(world.standing), {**world.specs, spec.deployment: spec})
    placed: list[Placed] = []
    reasons: dict[int, str] = {}
    for number in (number for number in wanted if number in bound):
        node = next((node for node in world.nodes if node.id == bound[number]), None)
        if node is None:
            reasons[number] = f"its volume data lies on node {bound[number]}, which is gone"
            continue
        refused = refusal(trial, spec, node)
        if refused is not None:
            reasons[number] = f"its volume data lies on node {node.name}: {refused.alone()}"
        else:
            placed.append(_put(trial, spec, number, node))
    reason = None
    for number in (number for number in wanted if number not in bound):
        ranked = [(rank(world, trial, spec, node), node) for node in trial.nodes if refusal(trial, spec, node) is None]
        if ranked:
            placed.append(_put(trial, spec, number, min(ranked, key=lambda pair: pair[0])[1]))
        else:
            reason = reason or told([(node.name, refusal(trial, spec, node)) for node in _sorted(trial.nodes)])
            reasons[number] = reason
    return placed, reasons


def _put(trial: World, spec: Spec, number: int, node: NodeView) -> Placed:
    ports = chosen(trial, spec, node)
    assert not isinstance(ports, Refused)
    one = Placed(spec.deployment, number, node.id, spec.cpu, spec.memory, ports)
    trial.standing.append(one)
    return one


def _sorted(nodes: Iterable[NodeView]) -> list[NodeView]:
    return sorted(nodes, key=lambda node: (node.name, node.id))


def refusal(world: World, spec: Spec, node: NodeView, *, staying: bool = False) -> Refused | None:
    """The first filter that refuses a node; `staying` for a replica that is there, when its state does not count."""
    shape = spec.shape
    if not staying:
        if node.status != "ready":
            return Refused(0, "unreachable" if node.status == "unreachable" else f"is {node.status}")
        if node.availability != "active":
            return Refused(1, node.availability)
    if shape.arch and shape.arch != node.arch:
        return Refused(2, f"architecture is {node.arch or 'not known'}, not {shape.arch}")
    if shape.os and shape.os != node.os:
        return Refused(3, f"operating system is {node.os or 'not known'}, not {shape.os}")
    for rule in shape.rules:
        if not _obeys(rule, node.labels):
            return Refused(4, f"label {rule.wanted} {'present' if rule.negated else 'missing'}")
    if shape.public_ip and not node.public_ip:
        return Refused(5, "no public IP address")
    ports = _room(world, spec, node) or _company(world, spec, node) or chosen(world, spec, node)
    return ports if isinstance(ports, Refused) else None


def _obeys(rule: Rule, labels: Mapping[str, str]) -> bool:
    if rule.key not in labels:
        return rule.negated
    hit = not rule.values or labels[rule.key] in rule.values
    return not hit if rule.negated else hit


def _room(world: World, spec: Spec, node: NodeView) -> Refused | None:
    cpu = node.cpu - sum(placed.cpu for placed in world.on(node))
    memory = node.memory - sum(placed.memory for placed in world.on(node))
    if spec.cpu > 0 and cpu < spec.cpu:
        return (
            Refused(6, f"{spec.cpu}m CPU requested", max(cpu, 0)) if node.cpu else Refused(6, "CPU capacity not known")
        )
    if spec.memory > 0 and memory < spec.memory:
        text = f"{spec.memory // MIB} MiB memory requested"
        return Refused(7, text, max(memory, 0)) if node.memory else Refused(7, "memory capacity not known")
    return None


def _company(world: World, spec: Spec, node: NodeView) -> Refused | None:
    there = {placed.deployment for placed in world.on(node)}
    for peer in spec.near:
        if peer.id == spec.deployment:
            if world.of(spec.deployment) and spec.deployment not in there:
                return Refused(8, "other replicas are elsewhere")
        elif peer.id not in there:
            return Refused(8, f"{peer.name} is not there")
    for peer in spec.apart:
        if peer.id != spec.deployment and peer.id in there:
            return Refused(9, f"{peer.name} is there")
    enemies = [other for other in there - {spec.deployment} if spec.deployment in _apart(world.specs[other])]
    if enemies:
        return Refused(9, f"{min(world.specs[other].name for other in enemies)} is there and keeps apart")
    if spec.deployment in there and spec.deployment in _apart(spec):
        return Refused(9, "has a replica of it already")
    return None


def _apart(spec: Spec) -> set[str]:
    return {peer.id for peer in spec.apart}


def chosen(world: World, spec: Spec, node: NodeView, former: Sequence[Port] = ()) -> tuple[Port, ...] | Refused:
    """The ports a further replica gets on a node."""
    taken = [(port, placed.deployment) for placed in world.on(node) for port in placed.ports]
    taken += [(Port(host, protocol, host, ""), "something outside fledx") for protocol, host in node.busy]
    bounds = world.bounds and (node.port_range or world.bounds)
    got: dict[int, Port] = {}
    for at, want in enumerate(spec.wants):
        if want.host is not None:
            mine = Port(want.container, want.protocol, want.host, want.address)
            own = [(port, spec.deployment) for port in got.values()]
            holders = [holder for port, holder in own + taken if _collides(port, mine)]
            if holders:
                holder = spec.deployment if spec.deployment in holders else min(holders)
                return Refused(10, _taken(world, spec, want, want.host, holder))
            got[at] = mine
    for at, want in enumerate(spec.wants):
        if want.host is None:
            used = {(port.protocol, port.host) for port, _ in taken} | {(p.protocol, p.host) for p in got.values()}
            had = [port.host for port in former if (port.container, port.protocol) == (want.container, want.protocol)]
            more = [want.container, *range(bounds[0], bounds[1] + 1)] if bounds else []
            host = next((host for host in [*had, *more] if (want.protocol, host) not in used), None)
            if host is None:
                return Refused(10, _none_left(want, bounds))
            got[at] = Port(want.container, want.protocol, host, want.address)
    return tuple(got[at] for at in range(len(spec.wants)))


def _collides(one: Port, other: Port) -> bool:
    same = (one.protocol, one.host) == (other.protocol, other.host)
    return same and (one.address == other.address or "" in (one.address, other.address))


def _taken(world: World, spec: Spec, want: Want, host: int, holder: str) -> str:
    who = "its own replica" if holder == spec.deployment else holder
    who = world.specs[holder].name if who in world.specs else who
    return f"port {host}{'' if want.protocol == 'tcp' else '/' + want.protocol} taken by {who}"


def _none_left(want: Want, bounds: tuple[int, int] | None) -> str:
    port = f"{want.container}{'' if want.protocol == 'tcp' else '/' + want.protocol}"
    if bounds is None:
        return f"port {port} has no host port and none is chosen automatically"
    return f"no host port free for {port}, from {bounds[0]} to {bounds[1]}"


def rank(before: World, now: World, spec: Spec, node: NodeView) -> tuple[int, int, int, int, str, str]:
    """Smaller is better. Who is liked is there before the plan; what the plan has placed counts for the rest."""
    liked = sum(one.weight for one in spec.shape.preferences if _meets(one, node))
    liked += sum(weight for other, weight in spec.favours if any(p.node == node.id for p in before.of(other)))
    own = Counter(placed.node for placed in now.of(spec.deployment))
    here, spread, level = own[node.id], 0, 0
    if spec.spread is not None and spec.spread.label is None:
        spread = here // spec.spread.max_skew
    elif spec.spread is not None:
        mine = node.labels.get(spec.spread.label or "")
        zones = {other.id: other.labels.get(spec.spread.label or "") for other in now.nodes}
        spread = sum(count for id, count in own.items() if zones[id] == mine) // spec.spread.max_skew
        level = here if spec.shape.strategy == "least" else 0
    load = _load(now, node)
    return -liked, spread, level, load if spec.shape.strategy == "least" else -load, node.name, node.id


def _load(world: World, node: NodeView) -> int:
    cpu = sum(max(placed.cpu, 100) for placed in world.on(node))
    memory = sum(max(placed.memory, 128 * MIB) for placed in world.on(node))
    return max(cpu * 10_000 // (node.cpu or 1000), memory * 10_000 // (node.memory or 1024 * MIB))


def _meets(preference: Preference, node: NodeView) -> bool:
    if {node.id, node.name} & preference.nodes:
        return True
    return bool(preference.labels) and all(node.labels.get(key) == value for key, value in preference.labels)


def told(refused: Sequence[tuple[str, Refused | None]]) -> str:
    """The sentence over all nodes."""
    groups: dict[tuple[int, str], list[tuple[str, Refused]]] = {}
    for name, one in refused:
        assert one is not None
        groups.setdefault((one.step, one.text), []).append((name, one))
    if not groups:
        return "there are no nodes"
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    text = "; ".join([_group(members, names=True) for _, members in ordered[:6]] + _others(ordered[6:]))
    if len(text) > 600:
        text = "; ".join([_group(members, names=False) for _, members in ordered[:6]] + _others(ordered[6:]))
    return text


def _group(members: Sequence[tuple[str, Refused]], *, names: bool) -> str:
    count, first = len(members), members[0][1]
    text = f"{count} nodes: {first.text}" if count > 1 else f"1 node: {first.text}"
    left = [one.left for _, one in members if one.left is not None]
    if left:
        text += f", {'at most ' if count > 1 else ''}{first.amount(max(left))} left"
    return text + (f" ({', '.join(name for name, _ in members)})" if names and count <= 3 else "")


def _others(ordered: Sequence[tuple[object, Sequence[object]]]) -> list[str]:
    count = sum(len(members) for _, members in ordered)
    return (
        [f"{count} node{'s' if count > 1 else ''}: {len(ordered)} other reason{'s' if len(ordered) > 1 else ''}"]
        if ordered
        else []
    )


def fits(world: World, spec: Spec, placed: Placed) -> str | None:
    """Why a replica may not stay; None if it may."""
    node = next((node for node in world.nodes if node.id == placed.node), None)
    if node is None:
        return "its node is gone"
    if node.availability == "draining":
        return f"node {node.name} is draining"
    rest = [one for one in world.standing if one[:2] != placed[:2]]
    trial = World(world.nodes, world.bounds, rest, {**world.specs, spec.deployment: spec})
    refused = refusal(trial, spec, node, staying=True)
    if refused is not None and refused.step == 10:
        ports = chosen(trial, spec, node, placed.ports)
        refused = ports if isinstance(ports, Refused) else None
    return f"no longer fits node {node.name}: {refused.alone()}" if refused is not None else None
