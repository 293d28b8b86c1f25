"""Each trap that a scheduler of this design can fall into, once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fledx.control_plane.scheduler.board import Board, Memory
from fledx.control_plane.scheduler.place import FULL
from fledx.control_plane.scheduler.schedule import schedule
from fledx.control_plane.scheduler.spec import Peer, Preference, Spec, Spread
from fledx.models.placement import PACK
from tests.unit.scheduler.builders import GIB, MIB, hosts, node, nodes, spec, where

KEEP_ALL = Memory(tiny=0)


def put(board: Board, one: Spec, *numbers: int) -> dict[int, str]:
    """Plan and book."""
    plan = schedule(board, one, numbers)
    board.apply(one, plan.placed)
    return where(plan)


def test_load_does_not_drift_however_often_replicas_come_and_go() -> None:
    board = Board(nodes("a"))
    for turn in range(300):
        put(board, spec("web", cpu=333, memory=77 * MIB), 0, 1)
        put(board, spec("api", cpu=1 + turn), 0)
        board.remove("id-web")
    fresh = Board(nodes("a"))
    fresh.apply(spec("api", cpu=300), board.of("id-api").values())
    assert fresh.places[0].load == board.places[0].load
    assert isinstance(board.places[0].load, int)


def test_replicas_that_request_nothing_are_shared_out_all_the_same() -> None:
    board = Board(nodes("a", "b", "c"), memory=KEEP_ALL)
    for i in range(9):
        put(board, spec(f"app-{i}"), 0)
    assert [len(place.held) for place in board.places] == [3, 3, 3]


def test_a_request_of_nothing_still_fits_a_node_that_is_promised_to_the_last_byte() -> None:
    board = Board([node("a", cpu=1000)])
    put(board, spec("full", cpu=1000), 0)
    assert put(board, spec("small"), 0) == {0: "a"}


def test_ranking_counts_a_least_size_but_fitting_counts_the_truth() -> None:
    board = Board([node("a", cpu=100, memory=GIB)])
    assert len(put(board, spec("tiny", cpu=10), *range(10))) == 10
    assert board.places[0].load > FULL
    assert schedule(board, spec("more", cpu=10), [0]).reasons[0] == "1 node: 10m CPU requested, 0m left (a)"


def test_within_the_allowed_skew_domains_count_as_equal() -> None:
    board = Board([node("a", labels={"zone": "1"}), node("b", labels={"zone": "2"})])
    even = spec("even", spread=Spread("zone", 1))
    assert put(board, even, 0, 1, 2, 3) == {0: "a", 1: "b", 2: "a", 3: "b"}
    board = Board([node("a", labels={"zone": "1"}, cpu=64_000, memory=512 * GIB), node("b", labels={"zone": "2"})])
    skewed = spec("skewed", spread=Spread("zone", 2), cpu=1000, strategy=PACK)
    assert put(board, skewed, 0, 1, 2, 3) == {0: "a", 1: "a", 2: "b", 3: "b"}


def test_an_offer_whose_domain_has_filled_up_is_ranked_anew() -> None:
    fleet = [node(f"n{i}", labels={"zone": str(i // 4)}) for i in range(8)]
    board = Board(fleet, memory=KEEP_ALL)
    put(board, spec("heavy", rules=("zone=1",), cpu=500, spread=None), 0, 1, 2, 3)
    placed = put(board, spec(spread=Spread("zone")), *range(6))
    assert sum(int(name[1:]) < 4 for name in placed.values()) == 3


def test_an_order_finds_a_place_under_the_load_it_last_stood_at() -> None:
    """Several changes between two questions: the first decides where the place is found, the last where it goes."""
    board = Board([node(f"n{i:02}") for i in range(40)])
    one = spec("one")
    assert put(board, one, 0) == {0: "n00"}
    for other in ("x", "y", "z"):
        put(board, spec(other, rules=(), preferences=(Preference(weight=1, nodes=frozenset({"n01"})),), cpu=900), 0)
    board.remove("id-y")
    assert put(board, spec("two"), 0) == {0: "n02"}


def test_full_places_at_the_head_of_a_packed_order_are_passed_over() -> None:
    board = Board([node(f"n{i}", cpu=1000) for i in range(5)], memory=KEEP_ALL)
    put(board, spec("big", strategy=PACK, spread=None, cpu=500), *range(8))
    assert put(board, spec("rest", strategy=PACK, spread=None, cpu=700), 0) == {0: "n4"}


def test_a_fixed_port_goes_where_it_is_free_even_on_the_last_node() -> None:
    board = Board(nodes("a", "b", "c"), memory=KEEP_ALL)
    assert put(board, spec("one", ports=("80:8080",)), 0, 1) == {0: "a", 1: "b"}
    assert put(board, spec("two", ports=("80:8080",)), 0) == {0: "c"}
    plan = schedule(board, spec("three", ports=("80:8080",)), [0])
    assert plan.reasons == {0: "2 nodes: port 80 taken by one (a, b); 1 node: port 80 taken by two (c)"}


def test_fixed_ports_of_a_spec_come_before_its_automatic_ones() -> None:
    plan = schedule(Board(nodes("a")), spec(ports=("80", "80:8080")), [0])
    assert hosts(plan) == {0: [30000, 80]}


def test_an_automatic_port_is_the_containers_own_where_no_address_uses_it() -> None:
    board = Board(nodes("a"))
    assert hosts(schedule(board, spec(ports=("80",)), [0])) == {0: [80]}
    local = spec(ports=("80:80",)).wants[0]._replace(address="127.0.0.1")
    put(board, Spec(deployment="id-local", name="local", wants=(local,)), 0)
    assert hosts(schedule(board, spec(ports=("80",)), [0])) == {0: [30000]}
    assert hosts(schedule(board, spec(ports=("80/udp",)), [0])) == {0: [80]}


def test_replicas_of_one_plan_see_each_others_ports() -> None:
    board = Board(nodes("a"), ports=(30000, 30001))
    plan = schedule(board, spec(ports=("80",)), range(4))
    assert hosts(plan) == {0: [80], 1: [30000], 2: [30001]}
    assert plan.reasons == {3: "1 node: no host port free for 80, from 30000 to 30001 (a)"}


def test_a_reason_speaks_of_the_nodes_as_the_plan_leaves_them() -> None:
    plan = schedule(Board(nodes("a")), spec(ports=("80:80",)), [0, 1])
    assert plan.reasons == {1: "1 node: port 80 taken by its own replica (a)"}
    plan = schedule(Board([node("a", cpu=1000)]), spec(cpu=600), [0, 1])
    assert plan.reasons == {1: "1 node: 600m CPU requested, 400m left (a)"}


def test_the_first_filter_in_their_fixed_order_gives_the_reason() -> None:
    hopeless = node("a", status="unreachable", availability="cordoned", arch="arm64", cpu=100)
    one = spec(arch="amd64", rules=("disk=ssd",), cpu=500)
    texts = []
    repairs: tuple[dict[str, Any], ...] = (
        {},
        {"status": "ready"},
        {"availability": "active"},
        {"arch": "amd64"},
        {"labels": {"disk": "ssd"}},
    )
    for repair in repairs:
        hopeless = replace(hopeless, **repair)
        texts.append(schedule(Board([hopeless]), one, [0]).reasons[0])
    assert texts == [
        "1 node: unreachable (a)",
        "1 node: cordoned (a)",
        "1 node: architecture is arm64, not amd64 (a)",
        "1 node: label disk=ssd missing (a)",
        "1 node: 500m CPU requested, 100m left (a)",
    ]


def test_being_apart_binds_the_other_side_too() -> None:
    board = Board(nodes("a", "b"))
    put(board, spec("loner", apart=(Peer("id-web", "web"),)), 0)
    assert put(board, spec("web"), 0, 1) == {0: "b", 1: "b"}
    plan = schedule(board, spec("web", rules=()), [2, 3])
    assert where(plan) == {2: "b", 3: "b"}
    board.update(replace(board.places[1].node, availability="cordoned"))
    reason = schedule(board, spec("web"), [2]).reasons[2]
    assert reason == "1 node: cordoned (b); 1 node: loner is there and keeps apart (a)"


def test_whoever_kept_apart_is_forgotten_when_it_is_gone_or_minds_no_more() -> None:
    board = Board(nodes("a"))
    put(board, spec("loner", apart=(Peer("id-web", "web"),)), 0)
    assert schedule(board, spec("web"), [0]).left
    board.revise(spec("loner"))
    assert not schedule(board, spec("web"), [0]).left
    board.revise(spec("loner", apart=(Peer("id-web", "web"),)))
    board.remove("id-loner")
    assert not schedule(board, spec("web"), [0]).left


def test_one_that_must_be_near_itself_can_begin_and_then_stays_together() -> None:
    board = Board([node("a", cpu=1000), node("b", cpu=2000)])
    near = spec(near=(Peer("id-web", "web"),), cpu=1000)
    plan = schedule(board, near, [0, 1])
    assert where(plan) == {0: "a"}
    assert plan.reasons[1] == "1 node: 1000m CPU requested, 0m left (a); 1 node: other replicas are elsewhere (b)"


def test_one_that_must_be_apart_from_itself_has_one_replica_a_node() -> None:
    plan = schedule(Board(nodes("a", "b")), spec(apart=(Peer("id-web", "web"),)), [0, 1, 2])
    assert where(plan) == {0: "a", 1: "b"}
    assert plan.reasons == {2: "2 nodes: has a replica of it already (a, b)"}


def test_a_kept_order_hears_of_a_node_that_changes() -> None:
    board = Board([node(f"n{i}", labels={"disk": "ssd"}) for i in range(3)], memory=KEEP_ALL)
    one = spec("one", rules=("disk=ssd",))
    assert put(board, one, 0) == {0: "n0"}
    board.update(replace(board.places[1].node, status="unreachable"))
    board.update(replace(board.places[2].node, labels={}))
    assert where(schedule(board, spec("two", rules=("disk=ssd",)), [0])) == {0: "n0"}
    board.update(replace(board.places[2].node, labels={"disk": "ssd"}))
    assert where(schedule(board, spec("two", rules=("disk=ssd",)), [0])) == {0: "n2"}


def test_a_node_that_joins_or_is_renamed_takes_its_place_by_name() -> None:
    board = Board(nodes("b", "c"), memory=KEEP_ALL)
    assert put(board, spec("one"), 0) == {0: "b"}
    board.update(node("a"))
    assert put(board, spec("two"), 0, 1) == {0: "a", 1: "c"}
    board.update(replace(board.places[2].node, name="0"))
    board.remove("id-two")
    assert where(schedule(board, spec("three"), [0])) == {0: "c"}


def test_telling_the_board_what_it_knows_changes_nothing() -> None:
    board = Board(nodes("a"))
    before = board.version
    board.update(node("a"))
    assert before == board.version
    board.update(node("a", cpu=1))
    assert before < board.version


def test_a_node_that_goes_takes_its_replicas_off_the_board() -> None:
    board = Board(nodes("a", "b"))
    put(board, spec(ports=("80:80",)), 0, 1)
    assert [lost[:2] for lost in board.forget("id-a")] == [("id-web", 0)]
    assert list(board.of("id-web")) == [1]
    assert board.forget("id-a") == ()


@pytest.mark.parametrize("memory", [Memory(tiny=0, standings=60), Memory(tiny=0, changes=10), Memory(tiny=1000)])
def test_what_the_board_remembers_never_changes_what_it_decides(memory: Memory) -> None:
    fleet = [node(f"n{i:02}", labels={"zone": str(i % 3)}) for i in range(40)]
    board, other = Board(fleet), Board(fleet, memory=memory)
    for i in range(60):
        one = spec(
            f"app-{i}", rules=(f"zone!={i % 4}",), cpu=10 * (i % 7), strategy=("least", PACK)[i % 2], spread=None
        )
        plan = schedule(board, one, range(3))
        assert plan == schedule(other, one, range(3))
        board.apply(one, plan.placed)
        other.apply(one, plan.placed)


def test_a_replica_is_never_booked_twice() -> None:
    board = Board(nodes("a", "b"))
    one = spec(cpu=100, ports=("80:80",))
    plan = schedule(board, one, [0])
    board.apply(one, plan.placed)
    board.apply(one, plan.placed)
    board.apply(one, [plan.placed[0]._replace(node="id-b")])
    assert [place.cpu for place in board.places] == [4000, 3900]
    assert where(schedule(board, spec("api", ports=("80:80",)), [0])) == {0: "a"}


def test_what_stood_on_a_node_that_is_unknown_is_not_booked() -> None:
    board = Board(nodes("a"))
    one = spec()
    board.apply(one, [schedule(board, one, [0]).placed[0]._replace(node="id-gone")])
    assert board.of("id-web") == {}
