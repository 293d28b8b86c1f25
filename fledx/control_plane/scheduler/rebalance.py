"""Which replicas would be better off elsewhere: asked for by an operator, never done by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fledx.control_plane.scheduler.board import Board
from fledx.control_plane.scheduler.draft import Draft
from fledx.control_plane.scheduler.fits import fits
from fledx.control_plane.scheduler.offers import Offers
from fledx.control_plane.scheduler.place import FULL, Placed
from fledx.control_plane.scheduler.rank import sign
from fledx.control_plane.scheduler.schedule import schedule
from fledx.control_plane.scheduler.spec import Spec
from fledx.models.placement import LEAST

#: A replica is worth moving for the load alone if the nodes differ by this much, in 1/10,000.
WORTH = 2_000


class Move(NamedTuple):
    """A replica as it is placed now, as it would be placed, and what is better there."""

    now: Placed
    then: Placed
    reason: str


def rebalance(board: Board, specs: Mapping[str, Spec], *, most: int = 100) -> tuple[Move, ...]:
    """
    At most so many moves, each better than the one place it leaves; the board is only read.

    Replicas on the fullest nodes are asked first (bin-packing: the emptiest). Deployments that ``specs`` does not hold
    stay. The moves can be made in this order, one by one. To ask again afterwards finds what is left, and in the end
    nothing, unless one flees from the other: a deployment that spreads from one that packs, or from one that must be
    near it or likes to be.
    """
    trial = board.copy()
    moves: list[Move] = []
    for placed in _fullest_first(board, specs):
        if len(moves) == most:
            break
        move = _better(trial, specs[placed.deployment], placed)
        moves += [move] if move else []
    return tuple(moves)


def _fullest_first(board: Board, specs: Mapping[str, Spec]) -> list[Placed]:
    ranked = []
    for i, place in enumerate(board.places):
        for key, placed in place.held.items():
            if placed.deployment in specs:
                least = specs[placed.deployment].shape.strategy == LEAST
                ranked.append((-place.load if least else place.load, i, key, placed))
    return [placed for *_, placed in sorted(ranked)]


def _better(trial: Board, spec: Spec, placed: Placed) -> Move | None:
    """The move of one replica, done on the trial board; None, and nothing done, if it is well where it is."""
    unfit = fits(trial, spec, placed)
    trial.remove(spec.deployment, [placed.number])
    plan = schedule(trial, spec, [placed.number])
    then = plan.placed[0] if plan.placed else placed
    reason = None
    if then.node != placed.node:
        reason = unfit or _gain(trial, spec, trial.index[placed.node], trial.index[then.node])
    trial.apply(spec, [then if reason else placed])
    return Move(placed, then, reason) if reason else None


def _gain(trial: Board, spec: Spec, here: int, there: int) -> str | None:
    """What is better there, in the order of the rank; the replica itself is on neither place."""
    offers = Offers(Draft(trial, spec))
    favours = offers.favours()
    disliked, *crowding, _, zone, _ = offers.single(here, favours)
    better, *calmer, _, other, _ = offers.single(there, favours)
    name, to = trial.places[here].node.name, trial.places[there].node.name
    if better != disliked:
        return f"{to} is preferred to {name}" if better < disliked else None
    if calmer != crowding:
        if calmer > crowding:
            return None
        if calmer[0] != crowding[0] and spec.shape.domain is not None:
            counts = offers.crowd[zone], offers.crowd[other]
            name, to = f"{spec.shape.domain}={zone}", f"{spec.shape.domain}={other}"
        else:
            counts = offers.draft.own.get(here, 0), offers.draft.own.get(there, 0)
        return f"{name} has {counts[0]} other replicas, {to} has {counts[1]}"
    load, new = trial.places[here].load, trial.places[there].load
    if (load - new) * sign(spec.shape) < WORTH:
        return None
    return f"{name} is loaded to {load * 100 // FULL} %, {to} to {new * 100 // FULL} %"
