"""The one sentence an operator reads: grouped, named while they are few, bounded whatever the fleet."""

from __future__ import annotations

from fledx.control_plane.scheduler.board import Board
from fledx.control_plane.scheduler.explain import MOST_CHARACTERS
from fledx.control_plane.scheduler.schedule import schedule
from tests.unit.scheduler.builders import node, nodes, spec


def reason(board: Board, **asked: object) -> str:
    return schedule(board, spec("asked", **asked), [0]).reasons[0]  # type: ignore[arg-type]


def test_nodes_of_one_reason_are_told_together_the_most_first() -> None:
    board = Board([node("a", labels={"disk": "ssd"}), *nodes("b", "c")])
    api = spec("api", ports=("80:80",), rules=("disk",))
    board.apply(api, schedule(board, api, [0]).placed)
    text = reason(board, rules=("disk=ssd",), ports=("80:80",))
    assert text == "2 nodes: label disk=ssd missing (b, c); 1 node: port 80 taken by api (a)"


def test_every_form_of_a_label_rule_says_what_is_wrong() -> None:
    board = Board([node("a", labels={"disk": "hdd", "old": "1"})])
    told = {rule: reason(board, rules=(rule,)) for rule in ("disk=ssd", "disk!=hdd", "disk in (x,y)", "gpu", "!old")}
    assert told == {
        "disk=ssd": "1 node: label disk=ssd missing (a)",
        "disk!=hdd": "1 node: label disk=hdd present (a)",
        "disk in (x,y)": "1 node: label disk in (x, y) missing (a)",
        "gpu": "1 node: label gpu missing (a)",
        "!old": "1 node: label old present (a)",
    }


def test_the_state_of_a_node_comes_before_all_else() -> None:
    states = ("unreachable", "error", "registering")
    board = Board([*(node(f"n-{state}", status=state) for state in states), node("x", availability="draining")])
    text = reason(board, rules=("gpu",))
    assert "1 node: is error (n-error); 1 node: is registering (n-registering); " in text
    assert text.endswith("1 node: draining (x)")


def test_names_are_left_out_when_they_are_many() -> None:
    assert reason(Board(nodes("a", "b", "c", "d")), rules=("gpu",)) == "4 nodes: label gpu missing"


def test_a_sentence_is_bounded_however_many_reasons_there_are() -> None:
    board = Board([node("n" * 60 + f"{i:03}", labels={"arch": str(i)}, arch=f"a{i}" * 20) for i in range(300)])
    text = reason(board, arch="amd64")
    assert len(text) <= MOST_CHARACTERS
    assert text.endswith("; 295 nodes: 295 other reasons")
    long = reason(Board(nodes("a")), rules=("k" * 200 + "=" + "v" * 200,))
    assert len(long) < 200


def test_replicas_left_over_for_one_reason_share_the_sentence() -> None:
    plan = schedule(Board(nodes("a")), spec(rules=("gpu",)), range(1000))
    assert 1000 == len(plan.left) == len(plan.reasons)
    assert len(set(map(id, plan.reasons.values()))) == 1
