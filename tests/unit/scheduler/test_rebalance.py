"""Rebalancing states each move and why, and moves nothing that is well where it is."""

from __future__ import annotations

from collections.abc import Iterable

from fledx.control_plane.scheduler.board import Board
from fledx.control_plane.scheduler.rebalance import Move, rebalance
from fledx.control_plane.scheduler.schedule import schedule
from fledx.control_plane.scheduler.spec import Preference, Spec, Spread
from fledx.models.placement import PACK
from tests.unit.scheduler.builders import node, spec


def crowded(one: Spec, count: int = 4) -> Board:
    """All replicas on the first node, then a second one joins."""
    board = Board([node("a", labels={"zone": "1"})])
    board.apply(one, schedule(board, one, range(count)).placed)
    board.update(node("b", labels={"zone": "2", "disk": "ssd"}))
    return board


def told(moves: Iterable[Move]) -> list[tuple[int, str, str]]:
    return [(move.now.number, move.then.node.removeprefix("id-"), move.reason) for move in moves]


def test_replicas_of_one_deployment_are_shared_with_a_new_node() -> None:
    one = spec(cpu=100)
    moves = rebalance(crowded(one), {"id-web": one})
    assert told(moves) == [(0, "b", "a has 3 other replicas, b has 0"), (1, "b", "a has 2 other replicas, b has 1")]


def test_a_zone_that_joined_late_gets_its_share() -> None:
    one = spec(spread=Spread("zone"))
    moves = rebalance(crowded(one), {"id-web": one})
    assert moves[0].reason == "zone=1 has 3 other replicas, zone=2 has 0"
    assert len(moves) == 2


def test_a_preferred_node_that_joined_late_gets_all() -> None:
    one = spec(preferences=(Preference(weight=1, labels=(("disk", "ssd"),)),))
    assert [(n, "b", "b is preferred to a") for n in range(4)] == told(rebalance(crowded(one), {"id-web": one}))


def test_the_load_of_many_deployments_is_levelled() -> None:
    board = Board([node("a")])
    specs = {f"id-{i}": spec(f"{i}", cpu=800) for i in range(5)}
    for one in specs.values():
        board.apply(one, schedule(board, one, [0]).placed)
    board.update(node("b"))
    moves = rebalance(board, specs)
    assert len(moves) == 2
    assert moves[0].reason == "a is loaded to 80 %, b to 0 %"


def test_packing_gathers_what_lies_about() -> None:
    board = Board([node("a"), node("b")])
    specs = {f"id-{i}": spec(f"{i}", cpu=1000, strategy=PACK, spread=None) for i in range(4)}
    for i, one in enumerate(specs.values()):
        pinned = spec(f"{i}", preferences=(Preference(weight=1, nodes=frozenset("ab"[i == 0])),))
        board.apply(one, schedule(board, pinned, [0]).placed)
    assert [(move.now.deployment, move.then.node) for move in rebalance(board, specs)] != [("id-0", "id-b")]


def test_what_no_longer_fits_moves_for_that_reason() -> None:
    board = crowded(spec(), 1)
    fussy = spec(rules=("disk=ssd",))
    board.revise(fussy)
    moves = rebalance(board, {"id-web": fussy})
    assert told(moves) == [(0, "b", "no longer fits node a: label disk=ssd missing")]


def test_what_is_not_asked_about_stays_and_no_more_move_than_are_wanted() -> None:
    one = spec(cpu=100)
    board = crowded(one)
    assert rebalance(board, {}) == ()
    assert len(rebalance(board, {"id-web": one}, most=1)) == 1


def test_asking_moves_nothing_by_itself() -> None:
    one = spec(cpu=100)
    board = crowded(one)
    before = board.version
    rebalance(board, {"id-web": one})
    assert before == board.version
    assert {"id-a"} == {placed.node for placed in board.of("id-web").values()}
