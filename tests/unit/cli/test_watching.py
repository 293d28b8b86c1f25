"""Commands that stay: events, the status and one deployment, as they change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fledx.errors import Unavailable
from tests.fakes.transport import Answer, events_answer, json_answer, lines_answer
from tests.unit.cli.harness import EDGE2, WEB, Cli, ago, deployment, event, instance, node, page

WATCH = f"GET /api/v1/deployments/{WEB}/watch"
SUMMARY = {"summary": {"nodes": {"ready": 1}, "deployments": {"running": 1}}}
FOLLOW = "GET /api/v1/events?follow=true"


def status(**more: Any) -> Cli:
    routes = {"GET /api/v1/status": json_answer(SUMMARY), "GET /api/v1/nodes": page(node())}
    return Cli({**routes, "GET /api/v1/deployments": page(deployment()), **more})


def test_names_alone_say_of_which_kind_they_are_where_there_are_two() -> None:
    both, nodes = status(), status()

    assert [0, 0] == [both.run("status", "-o", "name"), nodes.run("status", "--quiet", "--nodes-only")]
    assert ("nodes/edge-1\ndeployments/web\n", "edge-1\n") == (both.shown, nodes.shown)


def test_the_status_shows_both_halves_or_one() -> None:
    both, nodes, deployments = status(), status(), status()
    assert [0, 0, 0] == [
        both.run("status"),
        nodes.run("status", "--nodes-only"),
        deployments.run("status", "--deploys-only"),
    ]

    assert "Nodes: ready=1" in both.shown
    assert "Deployments:\nNAME" in both.shown
    assert "Deployments" not in nodes.shown
    assert "Nodes" not in deployments.shown
    assert [] == nodes.asked("GET /api/v1/deployments")


def test_the_status_for_programs_has_the_shape_of_fledx_core() -> None:
    cli = status()
    assert 0 == cli.run("status", "--json", "--node-status", "ready", "--deploy-status", "running", "--node-limit", "5")

    shown = json.loads(cli.shown)
    assert ["summary", "nodes", "deployments"] == list(shown)
    assert (5, 0, 1, "edge-1") == (
        shown["nodes"]["limit"],
        shown["nodes"]["offset"],
        shown["nodes"]["total"],
        shown["nodes"]["items"][0]["name"],
    )
    assert "GET /api/v1/nodes?limit=5&offset=0&status=ready" in cli.asked()
    assert "GET /api/v1/deployments?limit=500&offset=0&status=running" in cli.asked()


@pytest.mark.parametrize("words", [["--nodes-only", "--deploys-only"], ["--watch", "--json"]])
def test_flags_that_leave_nothing_to_show_are_refused(words: list[str]) -> None:
    assert 2 == status().run("status", *words)


def test_a_watched_status_without_a_terminal_is_a_line_for_each_thing_that_happens() -> None:
    stream = events_answer(event(8), event(9, "node.ready", subject="edge-1", replica_number=None), KeyboardInterrupt())
    cli = status(**{"GET /api/v1/events?limit=1": json_answer({"items": [event(7)]}), FOLLOW: stream})

    assert 130 == cli.run("status", "--watch", "--deploys-only")
    assert cli.shown.endswith(f"11111111\n{ago(60)}  replica.started  web/0  it was assigned here\n")
    assert "7" == cli.transport.requests[-1].headers["last-event-id"]


def test_past_events_are_a_table() -> None:
    cli = Cli({"GET /api/v1/events": json_answer({"items": [event(1), event(2, "replica.failed")]})})
    assert 0 == cli.run("events", "--deployment", "web", "--kind", "replica", "--limit", "2")

    assert [
        "AGO  EVENT            OF     WHY",
        "60s  replica.started  web/0  it was assigned here",
    ] == cli.shown.splitlines()[:2]
    assert ["GET /api/v1/events?deployment=web&kind=replica&limit=2"] == cli.asked()


def test_all_events_since_a_time_are_read_page_by_page() -> None:
    many = [event(number) for number in range(1, 501)]
    cli = Cli({"GET /api/v1/events": [json_answer({"items": many}), json_answer({"items": [event(501)]})]})
    assert 0 == cli.run("events", "--since", "10m", "--json")

    assert list(range(1, 502)) == [each["id"] for each in json.loads(cli.shown)["items"]]
    first, then = "since=10m&after=0&limit=500", "after=500&limit=500"  # ten minutes ago has moved by then
    assert [f"GET /api/v1/events?{first}", f"GET /api/v1/events?{then}"] == cli.asked()


def test_the_newest_events_since_a_time_can_be_limited_and_followed() -> None:
    cli = Cli({"GET /api/v1/events": json_answer({"items": []})})
    assert 0 == cli.run("events", "--since", "2026-11-25", "--limit", "2")
    assert ["GET /api/v1/events?since=2026-11-25T00%3A00%3A00Z&limit=2"] == cli.asked()
    assert "nothing that matches\n" == cli.said

    cli = Cli({"GET /api/v1/events": events_answer(event(1), KeyboardInterrupt())})
    assert 130 == cli.run("events", "--since", "90", "--after", "7", "-f")
    assert ["GET /api/v1/events?since=90s&after=7&follow=true"] == cli.asked()


def test_a_time_that_is_none_is_refused_before_anybody_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    cli = Cli({})
    assert 2 == cli.run("events", "--since", "yesterday")
    assert "neither a time such as" in capsys.readouterr().err


def test_events_are_followed_over_a_restart_each_once() -> None:
    cli = Cli(
        {
            "GET /api/v1/events": [
                events_answer(event(1)),
                Unavailable("away"),
                events_answer(event(2), KeyboardInterrupt()),
            ]
        }
    )

    assert 130 == cli.run("events", "--follow", "--json")
    assert [1, 2] == [json.loads(line)["id"] for line in cli.shown.splitlines()]
    assert "1" == cli.transport.requests[-1].headers["last-event-id"]


def test_a_follow_that_never_began_is_an_error() -> None:
    cli = Cli({"GET /api/v1/events": Unavailable("no control plane")})

    assert 1 == cli.run("events", "--follow")


def watched(*seen: Any, **more: Answer) -> Cli:
    routes = {"GET /api/v1/deployments/web": json_answer(deployment()), WATCH: events_answer(*seen, 1000.0)}
    return Cli({**routes, **more})


def test_a_watch_prints_each_change_once_and_ends_when_it_runs() -> None:
    deploying = deployment(status="deploying", ready_replicas=0, instances=[instance(0, "pending", message="pulling")])
    cli = watched(deploying, deploying, deployment(), 99.0)

    assert 0 == cli.run("deployments", "watch", "--id", "web")
    assert [
        f"{ago(180)}  generation 1  deploying  0/1 ready  0: edge-1  pending  pulling",
        f"{ago(180)}  generation 1  running  1/1 ready  0: edge-1  running",
    ] == cli.shown.splitlines()


def test_a_watch_that_ends_in_failure_says_so_with_its_code() -> None:
    dead = deployment(status="failed", ready_replicas=0, instances=[instance(0, "failed", message="no such image")])
    cli = watched(dead)

    assert 1 == cli.run("deployments", "watch", "web")
    assert "fledx: web failed: replica 0: no such image\n" == cli.said


def test_a_watch_ends_with_the_deployment_or_when_its_time_is_over() -> None:
    waiting = deployment(status="pending", ready_replicas=0)
    gone, late = watched(waiting, ("gone", {})), watched(waiting, 100.0)

    assert [1, 3] == [
        gone.run("deployments", "watch", "web"),
        late.run("deployments", "watch", "web", "--max-runtime", "9s"),
    ]
    assert "web was deleted\n" == gone.said
    assert "web is still pending; the time is over\n" == late.said


def test_a_watch_with_logs_goes_on_until_it_is_told_to_end() -> None:
    line = {"deployment": "web", "replica_number": 0, "time": "t", "line": "hello"}
    logs = {f"GET /api/v1/deployments/{WEB}/logs": lines_answer(line)}
    cli = watched(deployment(), 3.0, deployment(generation=2), KeyboardInterrupt(), **logs)

    assert 130 == cli.run("deployments", "watch", "web", "--follow-logs")
    assert 2 == cli.shown.count("running  1/1 ready")
    assert [f"GET /api/v1/deployments/{WEB}/logs?follow=true&tail=10"] == cli.asked(
        f"GET /api/v1/deployments/{WEB}/logs"
    )


def test_a_page_of_another_deployment_is_not_mixed_up() -> None:
    cli = Cli({"GET /api/v1/deployments?": page(deployment(), deployment(deployment_id=EDGE2, name="api"))})

    assert 0 == cli.run("ls", "-o", "name")
    assert "web\napi\n" == cli.shown
