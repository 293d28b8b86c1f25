"""One replica on each node that suits, whatever becomes of the nodes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fledx.control_plane.scheduler.board import Board
from fledx.control_plane.scheduler.everywhere import Everywhere, everywhere
from fledx.control_plane.scheduler.filters import unsuitable
from fledx.control_plane.scheduler.schedule import schedule
from fledx.control_plane.scheduler.spec import Spec
from tests.unit.scheduler.builders import node, nodes, spec


def done(board: Board, one: Spec) -> Everywhere:
    """Asked and applied."""
    found = everywhere(board, one)
    board.remove(one.deployment, found.surplus)
    board.apply(one, found.placed)
    return found


def places(board: Board, one: Spec) -> dict[int, str]:
    return {number: placed.node.removeprefix("id-") for number, placed in board.of(one.deployment).items()}


def test_each_node_that_suits_gets_one_and_one_that_comes_later_too() -> None:
    board, one = Board(nodes("a", "b")), spec()
    done(board, one)
    board.update(node("0-first"))
    assert done(board, one).surplus == {}
    assert places(board, one) == {0: "a", 1: "b", 2: "0-first"}


def test_a_number_that_became_free_is_used_again() -> None:
    board, one = Board(nodes("a", "b", "c")), spec()
    done(board, one)
    board.forget("id-a")
    board.update(node("d"))
    done(board, one)
    assert places(board, one) == {0: "d", 1: "b", 2: "c"}


def test_a_node_that_is_cordoned_or_silent_keeps_its_replica_and_a_new_one_gets_none() -> None:
    troubles: list[dict[str, Any]] = [
        {"availability": "cordoned"},
        {"availability": "draining"},
        {"status": "unreachable"},
    ]
    for trouble in troubles:
        board, one = Board(nodes("a")), spec()
        done(board, one)
        for name in ("a", "b"):
            board.update(node(name, **trouble))
        assert done(board, one) == Everywhere((), {}, {})
        assert places(board, one) == {0: "a"}


def test_a_label_brings_it_and_takes_it_away() -> None:
    board, one = Board(nodes("a", "b")), spec(rules=("disk=ssd",))
    assert done(board, one).waiting == {0: "2 nodes: label disk=ssd missing (a, b)"}
    board.update(node("b", labels={"disk": "ssd"}))
    done(board, one)
    assert places(board, one) == {0: "b"}
    board.update(node("b"))
    assert done(board, one).surplus == {0: "node b does not suit any more: label disk=ssd missing"}
    assert places(board, one) == {}


def test_a_node_that_suits_and_has_no_room_waits_with_its_reason() -> None:
    board, one, other = Board(nodes("a", "b")), spec(ports=("80:80",)), spec("api", ports=("80:80",))
    board.apply(other, schedule(board, other, [0], bound={0: "id-b"}).placed)
    assert done(board, one).waiting == {1: "node b: port 80 taken by api"}
    board.remove(other.deployment)
    assert done(board, one).waiting == {}
    assert places(board, one) == {0: "a", 1: "b"}


AVAILABILITY = st.sampled_from(["active", "active", "cordoned", "draining"])
STATUS = st.sampled_from(["ready", "ready", "unreachable", "registering"])
EDIT = st.tuples(st.sampled_from("abcdef"), AVAILABILITY, STATUS, st.booleans(), st.sampled_from([1000, 4000]))


@given(edits=st.lists(EDIT, min_size=1, max_size=30), gone=st.sets(st.integers(0, 29), max_size=5))
def test_whatever_becomes_of_nodes_each_that_suits_has_one_or_a_reason_and_to_ask_again_changes_nothing(
    edits: list[tuple[str, str, str, bool, int]], gone: set[int]
) -> None:
    board, one = Board(), spec(rules=("disk=ssd",), cpu=2000, ports=("80:80",))
    for i, (name, availability, status, fast, cpu) in enumerate(edits):
        if i in gone:
            board.forget(f"id-{name}")
        else:
            labels = {"disk": "ssd"} if fast else {}
            board.update(node(name, availability=availability, status=status, labels=labels, cpu=cpu))
        found = done(board, one)
        held = [placed.node for placed in board.of(one.deployment).values()]
        assert len(held) == len(set(held)), "one a node"
        suit = [place.node for place in board.places if unsuitable(one.shape, place.node) is None]
        told = " ".join(found.waiting.values())
        assert all(each.id in held or f"node {each.name}:" in told for each in suit)
        assert not any(board.places[board.index[each]].node.labels.get("disk") != "ssd" for each in held)
        assert found.waiting or held
        again = everywhere(board, one)
        assert (again.placed, again.surplus, again.waiting) == ((), {}, found.waiting)


def test_two_on_one_node_are_one_too_many() -> None:
    board, one = Board(nodes("a")), spec()
    (first,) = done(board, one).placed
    board.apply(one, [first._replace(number=4)])
    assert done(board, one).surplus == {4: "node a has one already"}


def test_a_number_whose_data_lies_on_a_node_is_that_nodes_own() -> None:
    board, one = Board(nodes("a", "c")), spec()
    found = everywhere(board, one, {0: "id-c", 2: "id-gone"})
    assert {placed.number: placed.node for placed in found.placed} == {1: "id-a", 0: "id-c"}
