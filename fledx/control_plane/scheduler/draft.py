"""A plan in the making: what the board holds, what the plan has added so far, and what that still allows."""

from __future__ import annotations

from itertools import chain

from fledx.control_plane.scheduler.board import NOWHERE, Board
from fledx.control_plane.scheduler.filters import APART, CPU, MEMORY, NEAR, PORTS, Refusal, unsuitable
from fledx.control_plane.scheduler.place import Placed
from fledx.control_plane.scheduler.ports import Clash, Port, pick
from fledx.control_plane.scheduler.spec import Spec

MIB = 1024 * 1024
NOTHING: list[tuple[Port, ...]] = []


class Draft:
    """
    Placements of one spec that are not yet on the board.

    ``own`` counts the deployment's replicas by place, those of the plan included; ``drafted`` holds the ports of the
    plan's replicas by place, one entry for each replica. ``former`` are ports to keep where they are chosen
    automatically. What was refused once stays refused: a draft only fills up.
    """

    __slots__ = ("barred", "board", "drafted", "former", "own", "placed", "spec")

    def __init__(self, board: Board, spec: Spec, former: tuple[Port, ...] = ()) -> None:
        self.board, self.spec, self.former = board, spec, former
        self.own: dict[int, int] = dict(board.running.get(spec.deployment, NOWHERE))
        self.barred = board.barred(spec)
        self.drafted: dict[int, list[tuple[Port, ...]]] = {}
        self.placed: list[Placed] = []

    def take(self, i: int, number: int, ports: tuple[Port, ...]) -> None:
        """Put a replica on a place that has room for it."""
        spec = self.spec
        node = self.board.places[i].node.id
        self.placed.append(Placed(spec.deployment, number, node, spec.cpu, spec.memory, ports))
        self.own[i] = self.own.get(i, 0) + 1
        if i in self.drafted:
            self.drafted[i].append(ports)
        else:
            self.drafted[i] = [ports]

    def whole(self, i: int) -> tuple[Port, ...] | Refusal:
        """The ports for one more replica on a place, or the first refusal of all filters in their fixed order."""
        return unsuitable(self.spec.shape, self.board.places[i].node) or self.room(i)

    def room(self, i: int) -> tuple[Port, ...] | Refusal:
        """The same for a place that is known to suit."""
        drafts = self.drafted.get(i, NOTHING)
        return self._short(i, len(drafts)) or self._misplaced(i) or self._ports(i, drafts)

    def _short(self, i: int, drafts: int) -> Refusal | None:
        spec, place = self.spec, self.board.places[i]
        if spec.cpu and place.cpu < spec.cpu * (drafts + 1):
            if not place.node.cpu:
                return Refusal(CPU, "CPU capacity not known")
            return Refusal(CPU, f"{spec.cpu}m CPU requested", max(0, place.cpu - spec.cpu * drafts))
        if spec.memory and place.memory < spec.memory * (drafts + 1):
            if not place.node.memory:
                return Refusal(MEMORY, "memory capacity not known")
            return Refusal(
                MEMORY, f"{mebibytes(spec.memory)} memory requested", max(0, place.memory - spec.memory * drafts)
            )
        return None

    def _misplaced(self, i: int) -> Refusal | None:
        spec = self.spec
        for peer in spec.near:
            itself = peer.id == spec.deployment
            if i not in (self.own if itself else self.board.running.get(peer.id, NOWHERE)) and (self.own or not itself):
                return Refusal(NEAR, "other replicas are elsewhere" if itself else f"{peer.name} is not there")
        if i in self.barred:
            return Refusal(APART, self._apart(i))
        if i in self.own and any(peer.id == spec.deployment for peer in spec.apart):
            return Refusal(APART, "has a replica of it already")
        return None

    def _apart(self, i: int) -> str:
        spec, board = self.spec, self.board
        there = {other for other, places in board.running.items() if i in places} - {spec.deployment}
        for peer in spec.apart:
            if peer.id in there:
                return f"{peer.name} is there"
        return f"{min(map(board.title, there & board.rivals(spec.deployment)))} is there and keeps apart"

    def _ports(self, i: int, drafts: list[tuple[Port, ...]]) -> tuple[Port, ...] | Refusal:
        spec = self.spec
        if not spec.wants:
            return ()
        if not drafts and spec.fixed is not None and self._untouched(i):
            return spec.fixed
        drafted = list(chain.from_iterable(drafts))
        got = pick(self.board.ports, i, spec.wants, spec.deployment, drafted=drafted, former=self.former)
        return Refusal(PORTS, self._taken(got, i)) if isinstance(got, Clash) else got

    def _untouched(self, i: int) -> bool:
        in_use = self.board.ports.in_use
        return not any(in_use(i, port.protocol, port.host) for port in self.spec.fixed or ())

    def _taken(self, clash: Clash, i: int) -> str:
        port = f"{clash.host}" if clash.protocol == "tcp" else f"{clash.host}/{clash.protocol}"
        if clash.holder is not None:
            own = clash.holder == self.spec.deployment
            return f"port {port} taken by {'its own replica' if own else self.board.title(clash.holder)}"
        bounds = self.board.ports.range_of(i)
        if bounds is None:
            return f"port {port} has no host port and none is chosen automatically"
        first, last = bounds
        return f"no host port free for {port}, from {first} to {last}"


def mebibytes(count: int) -> str:
    """Memory for a reason, rounded down to whole MiB."""
    return f"{count // MIB} MiB"
