"""One replica on each node that suits: who is missing, who has lost the right to be there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fledx.control_plane.scheduler.board import Board
from fledx.control_plane.scheduler.draft import Draft
from fledx.control_plane.scheduler.explain import explain, sentence
from fledx.control_plane.scheduler.filters import Refusal, unfitting, unsuitable
from fledx.control_plane.scheduler.place import Placed
from fledx.control_plane.scheduler.spec import Spec

NOWHERE: Mapping[int, str] = {}


class Everywhere(NamedTuple):
    """
    What is missing for one replica on each node that suits.

    ``placed`` are the new ones, ``waiting`` the numbers of nodes that suit and have no room, each with its reason,
    ``surplus`` the numbers of those that are to go, each with its reason. Where no node suits at all, one number waits
    for the first that does.
    """

    placed: tuple[Placed, ...]
    waiting: Mapping[int, str]
    surplus: Mapping[int, str]


def everywhere(board: Board, spec: Spec, homes: Mapping[int, str] = NOWHERE) -> Everywhere:
    """
    Compare what the board has of a deployment with the nodes; it is only read.

    A node that is cordoned or does not answer keeps what it has and gets nothing new; one that is drained keeps it,
    too, until whoever drains it takes it. A new replica gets the lowest number that is free, in the order of the nodes'
    names; ``homes`` are numbers whose data lies on a node, by id: it gets that one again, and nobody else does.
    """
    surplus = _surplus(board, spec)
    kept = {number: one.node for number, one in board.of(spec.deployment).items() if number not in surplus}
    known = {node: number for number, node in homes.items() if number not in kept}
    most = len(board.places) + len(kept) + len(homes) + 1
    numbers = iter(number for number in range(most) if number not in kept and number not in homes)
    draft, waiting, has = Draft(board, spec), dict[int, str](), set(kept.values())
    for i, place in enumerate(board.places):
        if place.node.id in has or unsuitable(spec.shape, place.node) is not None:
            continue
        found = draft.room(i)
        number = known[place.node.id] if place.node.id in known else next(numbers)
        if isinstance(found, Refusal):
            waiting[number] = f"node {place.node.name}: {sentence(found)}"
        else:
            draft.take(i, number, found)
    if not (kept or draft.placed or waiting):
        waiting[next(numbers)] = explain(draft)
    return Everywhere(tuple(draft.placed), waiting, surplus)


def _surplus(board: Board, spec: Spec) -> dict[int, str]:
    """Those on nodes that do not suit any more, and all but the first on one node."""
    found: dict[int, str] = {}
    seen: set[str] = set()
    for number, one in board.of(spec.deployment).items():
        node = board.places[board.index[one.node]].node
        refusal = unfitting(spec.shape, node)
        if refusal is not None:
            found[number] = f"node {node.name} does not suit any more: {refusal.text}"
        elif one.node in seen:
            found[number] = f"node {node.name} has one already"
        seen.add(one.node)
    return found
