"""A replica stays where it is unless its node is gone, is drained or no longer suits it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fledx.control_plane.scheduler.board import Board
from fledx.control_plane.scheduler.fits import fits, settle
from fledx.control_plane.scheduler.place import Placed
from fledx.control_plane.scheduler.schedule import schedule
from fledx.control_plane.scheduler.spec import Peer, Spec
from tests.unit.scheduler.builders import node, nodes, spec


def standing(board: Board, one: Spec) -> Placed:
    """Place one replica and book it."""
    (placed,) = schedule(board, one, [0]).placed
    board.apply(one, [placed])
    return placed


def change(board: Board, **facts: Any) -> None:
    """New facts of the first node."""
    board.update(replace(board.places[0].node, **facts))


def test_a_node_that_fills_up_or_is_cordoned_or_silent_keeps_what_it_has() -> None:
    board = Board([node("a", cpu=1000)])
    one = spec(cpu=1000, ports=("80:80",))
    placed = standing(board, one)
    for facts in ({}, {"availability": "cordoned"}, {"status": "unreachable"}, {"status": "error"}):
        change(board, **facts)
        assert fits(board, one, placed) is None


def test_a_node_that_is_gone_or_drained_does_not() -> None:
    board = Board(nodes("a"))
    placed = standing(board, spec())
    change(board, availability="draining")
    assert fits(board, spec(), placed) == "node a is draining"
    board.forget("id-a")
    assert fits(board, spec(), placed) == "its node is gone"


def test_a_node_that_suits_no_more_does_not() -> None:
    board = Board([node("a", labels={"disk": "ssd"})])
    one = spec(rules=("disk=ssd",))
    placed = standing(board, one)
    change(board, labels={"disk": "hdd"})
    assert fits(board, one, placed) == "no longer fits node a: label disk=ssd missing"


def test_of_too_many_replicas_only_so_many_must_leave() -> None:
    board = Board([node("a", cpu=1000)])
    one = spec(cpu=250)
    board.apply(one, schedule(board, one, range(4)).placed)
    change(board, cpu=600)
    leave = []
    for number, placed in board.of("id-web").items():
        if fits(board, one, placed):
            leave.append(number)
            board.remove("id-web", [number])
    assert leave == [0, 1]


def test_a_spec_that_requests_more_is_weighed_without_what_the_replica_had() -> None:
    board = Board([node("a", cpu=1000)])
    placed = standing(board, spec(cpu=800))
    assert settle(board, spec(cpu=1000), placed) == placed._replace(cpu=1000)
    assert fits(board, spec(cpu=1001), placed) == "no longer fits node a: 1001m CPU requested, 1000m left"


def test_a_port_chosen_automatically_keeps_its_number() -> None:
    board = Board(nodes("a"))
    other = standing(board, spec("other", ports=("80",)))
    one = spec(ports=("80",))
    placed = standing(board, one)
    assert placed.ports[0].host == 30000
    board.remove("id-other", [other.number])
    assert placed == settle(board, one, placed)
    more = settle(board, spec(ports=("80", "9000:90")), placed)
    assert not isinstance(more, str)
    assert [port.host for port in more.ports] == [30000, 9000]


def test_a_port_chosen_once_is_kept_when_none_are_chosen_any_more() -> None:
    board = Board(nodes("a"))
    placed = standing(board, spec(ports=("80",)))
    strict = Board(nodes("a"), ports=None)
    strict.apply(spec(ports=("80",)), [placed])
    assert fits(strict, spec(ports=("80",)), placed) is None


def test_a_new_fixed_port_that_another_has_moves_the_replica() -> None:
    board = Board(nodes("a"))
    standing(board, spec("api", ports=("9000:90",)))
    placed = standing(board, spec())
    assert fits(board, spec(ports=("9000:90",)), placed) == "no longer fits node a: port 9000 taken by api"


def test_company_that_was_forbidden_later_moves_one_of_the_two() -> None:
    board = Board(nodes("a"))
    placed = standing(board, spec())
    standing(board, spec("api"))
    assert fits(board, spec(apart=(Peer("id-api", "api"),)), placed) == "no longer fits node a: api is there"


def test_asking_leaves_the_board_as_it_was() -> None:
    board = Board(nodes("a"))
    placed = standing(board, spec(cpu=100, ports=("80:80",)))
    before = (board.version, board.places[0].cpu, board.places[0].load, board.of("id-web"), board.ports.taken())
    fits(board, spec(cpu=9000), placed)
    assert before == (board.version, board.places[0].cpu, board.places[0].load, board.of("id-web"), board.ports.taken())
