"""The places that a shape allows, sorted once and then kept sorted."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Sequence

from fledx.control_plane.scheduler.filters import unsuitable
from fledx.control_plane.scheduler.place import Place
from fledx.control_plane.scheduler.rank import BITS, domain, liking, sign
from fledx.control_plane.scheduler.spec import Shape

Group = list[int]
#: Moving one place costs about as much as sorting so many anew.
RESORT = 12


class Order:
    """
    The places of a shape in groups of equal preference and domain, each group sorted by standing.

    ``seen`` is how much of the board's log of changes it has followed; ``asked`` when it was last of use. ``standings``
    holds the number under which each place stands in its group, which is what finds it again after a change.
    """

    __slots__ = ("_group_of", "_sign", "asked", "groups", "seen", "shape", "standings")

    def __init__(self, shape: Shape, places: Sequence[Place], candidates: Iterable[int], seen: int) -> None:
        self.shape, self.seen, self.asked = shape, seen, 0
        self.groups: dict[tuple[int, str | None], Group] = {}
        self.standings: dict[int, int] = {}
        self._group_of: dict[int, Group] = {}
        self._sign = sign(shape)
        for i in candidates:
            if unsuitable(shape, places[i].node) is None:
                self._group(i, places[i]).append(self._stand(i, places[i]))
        for group in self.groups.values():
            group.sort()

    def _group(self, i: int, place: Place) -> Group:
        which = (liking(self.shape, place.node), domain(self.shape, place.node))
        group = self._group_of[i] = self.groups.setdefault(which, [])
        return group

    def _stand(self, i: int, place: Place) -> int:
        standing = self.standings[i] = (self._sign * place.load << BITS) + i
        return standing

    def follow(self, places: Sequence[Place], log: Sequence[int]) -> None:
        """Move the places whose load has changed since it was last asked for."""
        if self.seen == len(log):
            return
        changed = {i for i in log[self.seen :] if i in self.standings}
        self.seen = len(log)
        if len(changed) * RESORT > len(self.standings):
            self._resort(places, changed)
            return
        for i in changed:
            group = self._group_of[i]
            del group[bisect_left(group, self.standings[i])]
            insort(group, self._stand(i, places[i]))

    def _resort(self, places: Sequence[Place], changed: Collection[int]) -> None:
        for i in changed:
            self._stand(i, places[i])
        for group in self.groups.values():
            group.clear()
        for i, standing in self.standings.items():
            self._group_of[i].append(standing)
        for group in self.groups.values():
            group.sort()

    def review(self, i: int, place: Place) -> None:
        """Look anew at a place whose node has changed."""
        if i in self.standings:
            group = self._group_of.pop(i)
            del group[bisect_left(group, self.standings.pop(i))]
        if unsuitable(self.shape, place.node) is None:
            group = self._group(i, place)
            insort(group, self._stand(i, place))
