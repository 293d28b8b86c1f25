"""Nodes are labelled, cordoned, drained, balanced and forgotten from the command line."""

from __future__ import annotations

from typing import Any

from tests.fakes.transport import error_answer, json_answer
from tests.unit.cli.harness import Cli

EDGE = "22222222-aaaa-4aaa-8aaa-222222222222"
ONE = f"/api/v1/nodes/{EDGE}"
WISH = {"since": "2026-11-25T10:00:00.000Z", "by": "me"}


def node(**fields: Any) -> dict[str, Any]:
    whole = {"node_id": EDGE, "name": "edge-1", "status": "ready", "availability": "active", "labels": {}}
    return {**whole, "since": WISH["since"], "created_at": WISH["since"], **fields}


def cli(**routes: Any) -> Cli:
    return Cli({"GET /api/v1/nodes/edge-1": json_answer(node()), **routes})


def test_cordon_and_uncordon_say_what_is_so_now() -> None:
    made = cli(**{f"POST {ONE}/cordon": json_answer(node(availability="cordoned"))})
    assert 0 == made.run("nodes", "cordon", "edge-1", "--reason", "new disk")
    assert "edge-1 takes no new replicas\n" == made.said
    made = cli(**{f"POST {ONE}/uncordon": json_answer(node())})
    assert 0 == made.run("nodes", "uncordon", "edge-1")


def test_a_drain_is_waited_for_until_the_node_is_empty() -> None:
    draining, done = node(availability="draining", wish=WISH), {**WISH, "done": WISH["since"]}
    made = cli(
        **{
            f"POST {ONE}/drain": json_answer(draining),
            f"GET {ONE}": [json_answer(draining), json_answer(node(availability="draining", wish=done))],
            "GET /api/v1/deployments": json_answer({"items": [{"name": "web"}], "total": 1, "limit": 500, "offset": 0}),
        }
    )
    assert 0 == made.run("nodes", "drain", "edge-1", "--deadline", "10m")
    assert ["edge-1 is being drained", "edge-1 still has replicas of web", "edge-1 is empty"] == made.said.splitlines()


def test_a_drain_that_is_refused_says_what_holds_it_up_and_how_to_force_it() -> None:
    refusal = error_answer(409, "node edge-1 holds web/0: its data lies there, in /srv/web")
    made = cli(**{f"POST {ONE}/drain": refusal})
    assert 1 == made.run("nodes", "drain", "edge-1")
    assert "web/0: its data lies there" in made.said


def test_labels_are_set_and_taken_away_in_one_go() -> None:
    made = cli(**{f"PATCH {ONE}/labels": json_answer(node(labels={"disk": "ssd", "arm": "1"}))})
    assert 0 == made.run("nodes", "label", "edge-1", "disk=ssd", "zone-", "--json")
    assert '"disk": "ssd"' in made.shown
    assert "edge-1 has the labels arm=1,disk=ssd\n" == made.said


def test_rebalance_tells_each_move_and_why() -> None:
    moves = [
        {
            "deployment_id": "d",
            "deployment": "web",
            "replica_number": 1,
            "from_node": "edge-1",
            "to_node": "edge-2",
            "reason": "edge-1 has 3 other replicas, edge-2 has 0",
        }
    ]
    made = Cli({"POST /api/v1/nodes/rebalance": json_answer({"moves": moves})})
    assert 0 == made.run("rebalance", "--dry-run")
    assert "web/1" in made.shown
    assert "1 move would be worth it\n" == made.said
    made = Cli({"POST /api/v1/nodes/rebalance": json_answer({"moves": []})})
    assert 0 == made.run("nodes", "rebalance")
    assert "nothing was moved\n" == made.said


def test_a_node_is_forgotten_after_a_question() -> None:
    made = cli(**{f"DELETE {ONE}": json_answer({}, 204)})
    assert 0 == made.run("nodes", "delete", "edge-1", "--yes")
    assert "edge-1 deleted\n" == made.said


def test_each_node_gets_another_token() -> None:
    made = cli(**{f"POST {ONE}/token": json_answer(node())})
    assert 0 == made.run("nodes", "rotate-token", "edge-1")
    assert "edge-1 was given another token\n" == made.said
