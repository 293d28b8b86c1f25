"""Host ports: which are taken where, and which a replica can have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from typing import NamedTuple

from fledx.models.port import PROTOCOLS, PortMapping

PortRange = tuple[int, int]
NOBODY: dict[int, tuple[tuple[str, str], ...]] = {}


class Want(NamedTuple):
    """A port that a spec publishes; ``host`` None is for the scheduler to choose, ``address`` "" is every address."""

    container: int
    protocol: str
    host: int | None
    address: str


class Port(NamedTuple):
    """The same with its number on the node."""

    container: int
    protocol: str
    host: int
    address: str


class Clash(NamedTuple):
    """Why a port cannot be had: ``holder`` has ``host`` already, or (``holder`` None) no number is left to choose."""

    protocol: str
    host: int
    holder: str | None


def want_of(mapping: PortMapping) -> Want:
    """The port as a spec asks for it."""
    return Want(mapping.container_port, mapping.protocol, mapping.host_port, mapping.host_ip or "")


def overlap(one: str, other: str) -> bool:
    """Two addresses collide when they are the same, or one is every address."""
    return not one or not other or one == other


class Ports:
    """
    The ports that are taken, by number and then by place.

    ``bounds`` is the range of automatic numbers, both ends included; None when nothing is chosen automatically. A place
    may have a range of its own.
    """

    def __init__(self, bounds: PortRange | None) -> None:
        self.bounds = bounds
        self._ranges: dict[int, PortRange] = {}
        self._taken: dict[tuple[str, int], dict[int, tuple[tuple[str, str], ...]]] = {}
        self._floor: dict[tuple[int, str], int] = {}

    def take(self, place: int, ports: Iterable[Port], holder: str) -> None:
        """Note that ``holder`` has these ports on a place."""
        for port in ports:
            at = self._taken.setdefault((port.protocol, port.host), {})
            at[place] = (*at.get(place, ()), (port.address, holder))

    def release(self, place: int, ports: Iterable[Port], holder: str) -> None:
        """Undo what ``take`` noted."""
        for port in ports:
            at = self._taken[port.protocol, port.host]
            holders = list(at.pop(place))
            holders.remove((port.address, holder))
            if holders:
                at[place] = tuple(holders)
            elif not at:
                del self._taken[port.protocol, port.host]
            first, _ = self.range_of(place) or (0, 0)
            if first <= port.host < self._floor.get((place, port.protocol), first):
                self._floor[place, port.protocol] = port.host

    def range_of(self, place: int) -> PortRange | None:
        """The automatic numbers of a place: its own range if it has one; None when nothing is chosen automatically."""
        return self.bounds and self._ranges.get(place, self.bounds)

    def give_range(self, place: int, bounds: PortRange | None) -> None:
        """Let a place choose from a range of its own, or (None) from the common one."""
        self._ranges.pop(place, None)
        if bounds is not None:
            self._ranges[place] = bounds
        for protocol in PROTOCOLS:
            self._floor.pop((place, protocol), None)

    def holder(self, place: int, want: Want, owner: str) -> str | None:
        """Who has a fixed port there, on an address that collides: of several the owner, or the first; None if free."""
        held = self._taken.get((want.protocol, want.host or 0), NOBODY).get(place, ())
        if len(held) == 1:
            address, holder = held[0]
            return holder if overlap(want.address, address) else None
        holders = [holder for address, holder in held if overlap(want.address, address)]
        return owner if owner in holders else min(holders, default=None)

    def taken(self) -> set[tuple[str, int, int, str, str]]:
        """All that is taken: protocol, number, place, address, holder."""
        return {
            (protocol, host, place, address, holder)
            for (protocol, host), at in self._taken.items()
            for place, held in at.items()
            for address, holder in held
        }

    def in_use(self, place: int, protocol: str, host: int) -> bool:
        """Whether any address of the place uses the number."""
        return place in self._taken.get((protocol, host), NOBODY)

    def shut(self, wants: Iterable[Want]) -> Set[int]:
        """The places where one of the fixed ports is taken; not to be changed by the caller."""
        found = [self._where(want) for want in wants if want.host is not None]
        return found[0] if len(found) == 1 else frozenset[int]().union(*found)

    def _where(self, want: Want) -> Set[int]:
        at = self._taken.get((want.protocol, want.host or 0), NOBODY)
        if not want.address:
            return at.keys()
        return {place for place, held in at.items() if any(overlap(want.address, address) for address, _ in held)}

    def automatic(self, place: int, protocol: str) -> Iterator[int]:
        """Numbers of the range that are free there, lowest first."""
        first, last = self.range_of(place) or (1, 0)
        start = self._floor.get((place, protocol), first)
        while start <= last and self.in_use(place, protocol, start):
            start += 1
        self._floor[place, protocol] = start
        return (host for host in range(start, last + 1) if not self.in_use(place, protocol, host))


def pick(
    ports: Ports,
    place: int,
    wants: Sequence[Want],
    owner: str,
    *,
    drafted: Collection[Port] = (),
    former: Collection[Port] = (),
) -> tuple[Port, ...] | Clash:
    """
    The ports for one more replica of ``owner`` on a place, or the first that cannot be had.

    ``drafted`` are taken there too, by replicas of the same plan. Fixed ports come first, whatever their position.
    An automatic one is, where no address uses it, what the replica had in its ``former`` ports, or the container's own
    number; else the lowest free number of the range.
    """
    chosen: dict[int, Port] = {}
    for at, want in enumerate(wants):
        if want.host is not None:
            holder = _holder(ports, place, want, [*drafted, *chosen.values()], owner)
            if holder is not None:
                return Clash(want.protocol, want.host, holder)
            chosen[at] = Port(want.container, want.protocol, want.host, want.address)
    used = {(port.protocol, port.host) for port in (*drafted, *chosen.values())}
    for at, want in enumerate(wants):
        if want.host is None:
            had = [port.host for port in former if (port.container, port.protocol) == (want.container, want.protocol)]
            host = _automatic(ports, place, want, used, had)
            if host is None:
                return Clash(want.protocol, want.container, None)
            used.add((want.protocol, host))
            chosen[at] = Port(want.container, want.protocol, host, want.address)
    return tuple(chosen[at] for at in range(len(wants)))


def _holder(ports: Ports, place: int, want: Want, drafted: Iterable[Port], owner: str) -> str | None:
    for port in drafted:
        if port.host == want.host and port.protocol == want.protocol and overlap(port.address, want.address):
            return owner
    return ports.holder(place, want, owner)


def _automatic(ports: Ports, place: int, want: Want, used: Set[tuple[str, int]], had: Sequence[int]) -> int | None:
    preferred = had if ports.bounds is None else (*had, want.container)
    for host in preferred:
        if (want.protocol, host) not in used and not ports.in_use(place, want.protocol, host):
            return host
    free = (host for host in ports.automatic(place, want.protocol) if (want.protocol, host) not in used)
    return next(free, None)
