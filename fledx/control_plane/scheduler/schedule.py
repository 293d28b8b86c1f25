"""From a board and a spec to a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fledx.control_plane.scheduler.board import Board
from fledx.control_plane.scheduler.draft import Draft
from fledx.control_plane.scheduler.explain import explain, sentence
from fledx.control_plane.scheduler.filters import Refusal
from fledx.control_plane.scheduler.offers import Offers
from fledx.control_plane.scheduler.place import Placed
from fledx.control_plane.scheduler.spec import Spec
from fledx.models.deployment import Pending

UNBOUND: Mapping[int, str] = {}


class Plan(NamedTuple):
    """Where replicas go, and why each of those ``left`` goes nowhere; ``reasons`` has one for each number left."""

    placed: tuple[Placed, ...]
    left: tuple[int, ...]
    reasons: Mapping[int, str]

    @property
    def pending(self) -> tuple[Pending, ...]:
        """What is left, as it is stored and shown."""
        return tuple(Pending(replica_number=number, reason=self.reasons[number]) for number in self.left)


def schedule(board: Board, spec: Spec, wanted: Sequence[int], *, bound: Mapping[int, str] = UNBOUND) -> Plan:
    """
    Place the replicas numbered ``wanted``, best place first; the board is only read.

    ``wanted`` are replicas that have no place (one that has stays there, see `fits`). ``bound`` gives the node id to
    which a replica is tied, as by data in a local volume; these come first and go there or nowhere.
    """
    draft = Draft(board, spec)
    reasons = _place_bound(draft, wanted, bound) if bound else {}
    free = [number for number in wanted if number not in bound] if bound else wanted
    done = Offers(draft).fill(free) if free else 0
    if done < len(free):
        reasons |= dict.fromkeys(free[done:], explain(draft))
    left = tuple(number for number in wanted if number in reasons) if reasons else ()
    return Plan(tuple(draft.placed), left, reasons)


def _place_bound(draft: Draft, wanted: Sequence[int], bound: Mapping[int, str]) -> dict[int, str]:
    reasons: dict[int, str] = {}
    for number in wanted:
        node_id = bound.get(number)
        if node_id is None:
            continue
        i = draft.board.index.get(node_id)
        if i is None:
            reasons[number] = f"its volume data lies on node {node_id}, which is gone"
            continue
        found = draft.whole(i)
        if isinstance(found, Refusal):
            name = draft.board.places[i].node.name
            reasons[number] = f"its volume data lies on node {name}: {sentence(found)}"
        else:
            draft.take(i, number, found)
    return reasons
