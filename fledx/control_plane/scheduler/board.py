"""Everything the scheduler knows: the nodes, what stands on them, and how they rank for the specs asked for so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from typing import NamedTuple

from fledx.control_plane.scheduler.order import Order
from fledx.control_plane.scheduler.place import NodeView, Place, Placed
from fledx.control_plane.scheduler.ports import Port, PortRange, Ports
from fledx.control_plane.scheduler.spec import Shape, Spec

#: Who holds a port that fledx has not given to anybody.
FOREIGN = "something outside fledx"

NOWHERE: Mapping[int, int] = {}
NONE: frozenset[int] = frozenset()
NOBODY: frozenset[str] = frozenset()


class Memory(NamedTuple):
    """
    How much the board remembers of orders.

    Those of at most ``tiny`` places are made faster than they are kept. All together hold ``standings``, at about 125
    bytes each; the one that was longest not asked for goes first. ``changes`` are remembered for orders that have yet
    to follow them.
    """

    tiny: int = 32
    standings: int = 500_000
    changes: int = 65_536


MEMORY = Memory()


class Board:
    """
    The nodes as places, numbered in the order of their names, and the replicas on them.

    One owner changes it: ``apply``, ``remove``, ``update``, ``forget`` and ``revise``, each after the transaction it
    stands for is committed. ``version`` rises with every change: a refused replica need not be tried again before.
    ``running`` counts the replicas of each deployment by place.
    """

    def __init__(
        self, nodes: Iterable[NodeView] = (), ports: PortRange | None = (30000, 40000), memory: Memory = MEMORY
    ) -> None:
        self.version = 0
        self._memory = memory
        self._range = ports
        self._specs: dict[str, Spec] = {}
        self._repelled: dict[str, set[str]] = {}
        self._seat(Place(node) for node in nodes)

    def _seat(self, places: Iterable[Place]) -> None:
        """Number the places anew and book what stands on them; the orders are forgotten."""
        self.places = sorted(places, key=lambda place: (place.node.name, place.node.id))
        self.index = {place.node.id: i for i, place in enumerate(self.places)}
        self.ports = Ports(self._range)
        self.running: dict[str, dict[int, int]] = {}
        self._where: dict[str, dict[int, int]] = {}
        self._labelled: dict[tuple[str, str], set[int]] = {}
        self._orders: dict[str, Order] = {}
        self._log: list[int] = []
        self._standings = self._asked = 0
        for i, place in enumerate(self.places):
            self._label(i, place.node)
            self._claim(i, place.node)
            for placed in place.held.values():
                self._book(i, placed)

    def of(self, deployment: str) -> dict[int, Placed]:
        """The placed replicas of a deployment by number."""
        where = self._where.get(deployment, NOWHERE)
        return {number: self.places[i].held[deployment, number] for number, i in sorted(where.items())}

    def on(self, node_id: str) -> tuple[Placed, ...]:
        """The replicas on a node, by deployment and number."""
        i = self.index.get(node_id)
        return () if i is None else tuple(placed for _, placed in sorted(self.places[i].held.items()))

    def name(self, node_id: str) -> str:
        """What a node is called; its id if it is gone."""
        i = self.index.get(node_id)
        return node_id if i is None else self.places[i].node.name

    def title(self, deployment: str) -> str:
        """What a deployment is called in reasons."""
        spec = self._specs.get(deployment)
        return spec.name if spec else deployment

    def barred(self, spec: Spec) -> Set[int]:
        """The places of the deployments that it must be apart from, or that must be apart from it; not of its own."""
        others = self.rivals(spec.deployment)
        if spec.apart:
            others = {*others, *(peer.id for peer in spec.apart)}
        return NONE.union(*(self.running.get(other, NOWHERE) for other in others if other != spec.deployment))

    def rivals(self, deployment: str) -> Set[str]:
        """The deployments that demand to be apart from this one, itself perhaps among them."""
        return self._repelled.get(deployment, NOBODY)

    def apply(self, spec: Spec, placed: Iterable[Placed]) -> None:
        """Book replicas of the spec; one that stood elsewhere has moved. Of a node that is gone nothing is booked."""
        self._know(spec)
        self.version += 1
        where = self._where.get(spec.deployment, NOWHERE)
        for one in placed:
            if one.number in where:
                self._drop(one.deployment, one.number)
            i = self.index.get(one.node)
            if i is not None:
                self.places[i].add(one)
                self._book(i, one)
                where = self._where[spec.deployment]
                if self._orders:
                    self._log.append(i)
        if spec.deployment not in self._where:
            self._unknow(spec.deployment)

    def remove(self, deployment: str, numbers: Iterable[int] | None = None) -> None:
        """Take replicas off the board, all of the deployment or those numbered; others than booked are ignored."""
        where = self._where.get(deployment, NOWHERE)
        self.version += 1
        for number in list(where) if numbers is None else [number for number in numbers if number in where]:
            self._drop(deployment, number)
        if deployment not in self._where:
            self._unknow(deployment)

    def update(self, node: NodeView) -> None:
        """A node is new, or its facts have changed; a view that equals the last one changes nothing."""
        i = self.index.get(node.id)
        if i is not None and self.places[i].node == node:
            return
        self.version += 1
        if i is None:
            self._seat([*self.places, Place(node)])
            return
        place = self.places[i]
        renamed = place.node.name != node.name
        self._unlabel(i, place.node)
        self.ports.release(i, _foreign(place.node), FOREIGN)
        place.view(node)
        self._label(i, node)
        self._claim(i, node)
        if renamed:
            self._seat(self.places)
        for order in self._orders.values():
            self._standings -= len(order.standings)
            order.review(i, place)
            self._standings += len(order.standings)

    def forget(self, node_id: str) -> tuple[Placed, ...]:
        """A node is gone; gives what stood on it, which is off the board with it."""
        lost = self.on(node_id)
        if node_id in self.index:
            self.version += 1
            for one in lost:
                self._drop(one.deployment, one.number)
            self._seat(place for place in self.places if place.node.id != node_id)
            for deployment in {one.deployment for one in lost} - self._where.keys():
                self._unknow(deployment)
        return lost

    def revise(self, spec: Spec) -> None:
        """A spec has changed: its placed replicas stay where they are, and request what it requests now."""
        held = self.of(spec.deployment).values()
        self.apply(spec, [one._replace(cpu=spec.cpu, memory=spec.memory) for one in held])

    @contextmanager
    def lifted(self, deployment: str, number: int) -> Iterator[None]:
        """Ask questions as if one replica were not there; afterwards it is, and nothing has changed."""
        i = self._where.get(deployment, NOWHERE).get(number)
        if i is None:
            yield
            return
        placed, orders = self.places[i].held[deployment, number], self._orders
        self._orders = {}
        try:
            self._drop(deployment, number)
            yield
        finally:
            self.places[i].add(placed)
            self._book(i, placed)
            self._orders = orders

    def copy(self) -> Board:
        """The same board, to try changes on."""
        other = Board((place.node for place in self.places), self._range, self._memory)
        for deployment, spec in self._specs.items():
            other.apply(spec, self.of(deployment).values())
        return other

    def _book(self, i: int, placed: Placed) -> None:
        deployment = placed.deployment
        running = self.running.get(deployment)
        if running is None:
            running, self._where[deployment] = {}, {}
            self.running[deployment] = running
        running[i] = running.get(i, 0) + 1
        self._where[deployment][placed.number] = i
        if placed.ports:
            self.ports.take(i, placed.ports, deployment)

    def _drop(self, deployment: str, number: int) -> None:
        i = self._where[deployment].pop(number)
        placed = self.places[i].held[deployment, number]
        self.places[i].drop(placed)
        self.ports.release(i, placed.ports, deployment)
        running = self.running[deployment]
        running[i] -= 1
        if not running[i]:
            del running[i]
        if not running:
            del self.running[deployment], self._where[deployment]
        if self._orders:
            self._log.append(i)

    def _know(self, spec: Spec) -> None:
        known = self._specs.get(spec.deployment)
        if known is spec:
            return
        if known is not None:
            self._unknow(spec.deployment)
        self._specs[spec.deployment] = spec
        for peer in spec.apart:
            self._repelled.setdefault(peer.id, set()).add(spec.deployment)

    def _unknow(self, deployment: str) -> None:
        spec = self._specs.pop(deployment, None)
        for peer in spec.apart if spec else ():
            rivals = self._repelled[peer.id]
            rivals.discard(deployment)
            if not rivals:
                del self._repelled[peer.id]

    def _claim(self, i: int, node: NodeView) -> None:
        """Take the ports that others listen on there, and note the node's own range."""
        self.ports.take(i, _foreign(node), FOREIGN)
        self.ports.give_range(i, node.port_range)

    def _label(self, i: int, node: NodeView) -> None:
        for label in node.labels.items():
            self._labelled.setdefault(label, set()).add(i)

    def _unlabel(self, i: int, node: NodeView) -> None:
        for label in node.labels.items():
            self._labelled[label].discard(i)

    def order(self, shape: Shape) -> Order:
        """The places that the shape allows, as they rank now: a memo, made at the first question and then kept."""
        if len(self._log) > self._memory.changes:
            self._trim()
        self._asked += 1
        order = self._orders.get(shape.key)
        if order is None:
            order = Order(shape, self.places, self._candidates(shape), len(self._log))
            if len(order.standings) > self._memory.tiny:
                self._keep(shape.key, order)
        else:
            order.follow(self.places, self._log)
        order.asked = self._asked
        return order

    def _candidates(self, shape: Shape) -> Iterable[int]:
        """Places that may suit: the fewest that one of the label rules leaves."""
        found: Iterable[int] = range(len(self.places))
        fewest = len(self.places)
        for rule in shape.rules:
            if rule.values and not rule.negated:
                sets = [self._labelled.get((rule.key, value), NONE) for value in rule.values]
                if sum(map(len, sets)) < fewest:
                    fewest = sum(map(len, sets))
                    found = sets[0] if len(sets) == 1 else NONE.union(*sets)
        return found

    def _keep(self, key: str, order: Order) -> None:
        self._orders[key] = order
        self._standings += len(order.standings)
        while self._standings > self._memory.standings and len(self._orders) > 1:
            idle = min((kept for kept in self._orders if kept != key), key=lambda kept: self._orders[kept].asked)
            self._let_go(idle)

    def _let_go(self, key: str) -> None:
        self._standings -= len(self._orders.pop(key).standings)

    def _trim(self) -> None:
        """Forget the older half of the log, and with it the orders that have not followed so far."""
        half = len(self._log) // 2
        for key in [key for key, order in self._orders.items() if order.seen < half]:
            self._let_go(key)
        del self._log[:half]
        for order in self._orders.values():
            order.seen -= half


def _foreign(node: NodeView) -> list[Port]:
    return [Port(host, protocol, host, "") for protocol, host in sorted(node.busy)]
