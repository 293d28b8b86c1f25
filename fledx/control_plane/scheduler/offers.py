"""The best place for the next replica, and the next, without looking at all places."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from heapq import heapify, heappop, heappush, heapreplace

from fledx.control_plane.scheduler.board import NOWHERE
from fledx.control_plane.scheduler.draft import Draft
from fledx.control_plane.scheduler.filters import Refusal, unsuitable
from fledx.control_plane.scheduler.rank import BITS, MASK, domain, liking, sign

#: -preference, spread, own replicas, standing; then the domain, and where the next offer of its group comes from.
Offer = tuple[int, int, int, int, "str | None", "Iterator[int] | None"]
#: Less than any place has left: what a spec that requests nothing needs.
ANYTHING = -(1 << 62)


class Offers:
    """
    Takes the best offer, one replica at a time.

    A heap holds one offer for each group of the order, its best place that has room as the board stands, and one for
    each place that ranks by itself, because the deployment is there already or likes who is there. An offer whose
    domain has filled up since is put back with its new rank: ranks only get worse, so the top one that is still true is
    the best of all.
    """

    def __init__(self, draft: Draft) -> None:
        spec, board = draft.spec, draft.board
        self.draft, self.places = draft, board.places
        self.sign = sign(spec.shape)
        self.by_node = spec.spread is not None and spec.spread.label is None
        self.skew = spec.spread.max_skew if spec.spread else 1
        self.crowd: dict[str | None, int] = defaultdict(int)
        self.over_label = spec.shape.domain is not None
        if self.over_label:
            for i, count in draft.own.items():
                self.crowd[domain(spec.shape, self.places[i].node)] += count
        shut = board.ports.shut(spec.wants) if spec.alone else frozenset()
        self.shut = shut | draft.barred if draft.barred else shut
        self.cpu, self.memory = spec.cpu or ANYTHING, spec.memory or ANYTHING
        self.singles: Set[int] = frozenset()

    def fill(self, wanted: Sequence[int]) -> int:
        """Place as many as possible, in their order; gives how many."""
        draft, spec, heap = self.draft, self.draft.spec, self._opening()
        over_label = self.over_label
        done, most = 0, len(wanted)
        while heap and done < most:
            disliked, spread, _, standing, where, group = heap[0]
            if over_label and spread != (now := self.crowd[where] // self.skew):
                heapreplace(heap, (disliked, now, *heap[0][2:]))
                continue
            following = self._offer(group, disliked, where) if group is not None else None
            if following is not None:
                heapreplace(heap, following)
            else:
                heappop(heap)
            i = standing & MASK
            ports = draft.room(i)
            if isinstance(ports, Refusal):
                continue
            draft.take(i, wanted[done], ports)
            done += 1
            if over_label:
                self.crowd[where] += 1
            if not spec.alone:
                heappush(heap, self._rank(i, -disliked, where))
        return done

    def _opening(self) -> list[Offer]:
        """The first offers: of every group, and of every place that ranks by itself."""
        draft, shape = self.draft, self.draft.spec.shape
        favour = self.favours()
        allowed = self._allowed()
        if allowed is None:
            order = draft.board.order(shape)
            if draft.own or favour:
                self.singles = draft.own.keys() | favour.keys()
            heap = [self.single(i, favour) for i in self.singles if i in order.standings]
            for (liked, where), group in order.groups.items():
                offer = self._offer(iter(group), -liked, where)
                if offer is not None:
                    heap.append(offer)
        else:
            heap = [self.single(i, favour) for i in allowed if unsuitable(shape, self.places[i].node) is None]
        heapify(heap)
        return heap

    def favours(self) -> dict[int, int]:
        """How much places are liked for who is there."""
        favour: dict[int, int] = {}
        for other, weight in self.draft.spec.favours:
            for i in self.draft.board.running.get(other, NOWHERE):
                favour[i] = favour.get(i, 0) + weight
        return favour

    def _allowed(self) -> set[int] | None:
        """The only places allowed, where the spec must be near others (or itself, once it is anywhere)."""
        draft = self.draft
        running = [
            draft.board.running.get(peer.id, NOWHERE) for peer in draft.spec.near if peer.id != draft.spec.deployment
        ]
        if draft.own and len(running) < len(draft.spec.near):
            running.append(draft.own)
        return set(running[0]).intersection(*running[1:]) if running else None

    def _offer(self, group: Iterator[int], disliked: int, where: str | None) -> Offer | None:
        """The next of a sorted group that has room as the board stands; the draft has nothing there yet."""
        places, singles, shut, cpu, memory = self.places, self.singles, self.shut, self.cpu, self.memory
        for standing in group:
            i = standing & MASK
            place = places[i]
            if place.cpu >= cpu and place.memory >= memory and i not in singles and i not in shut:
                return disliked, self.crowd[where] // self.skew, 0, standing, where, group
        return None

    def single(self, i: int, favour: Mapping[int, int]) -> Offer:
        """What a place that ranks by itself has to offer."""
        shape, node = self.draft.spec.shape, self.places[i].node
        return self._rank(i, liking(shape, node) + favour.get(i, 0), domain(shape, node))

    def _rank(self, i: int, liked: int, where: str | None) -> Offer:
        """A place by itself, with what the draft has put there."""
        draft, place = self.draft, self.places[i]
        here, load = draft.own.get(i, 0), place.load
        if i in draft.drafted:
            count = len(draft.drafted[i])
            load = place.load_with(count * draft.spec.counted_cpu, count * draft.spec.counted_memory)
        spread, own = here // self.skew, 0
        if not self.by_node:
            spread, own = self.crowd[where] // self.skew, here if self.over_label and self.sign > 0 else 0
        return -liked, spread, own, (self.sign * load << BITS) + i, where, None
