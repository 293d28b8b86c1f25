"""Modes and jobs on the command line, and the questions before what takes something away."""

from __future__ import annotations

import pytest

from fledx.cli.views.deployments import deployment_screen, deployment_table
from tests.fakes.transport import events_answer, json_answer
from tests.unit.cli.harness import NOW, Cli, ago, deployment, instance, node

ONE = "/api/v1/deployments/11111111"
CREATE = "POST /api/v1/deployments"


def job(**changes: object) -> dict[str, object]:
    """A job that has been asked for and not begun."""
    fields = {"mode": "job", "status": "deploying", "ready_replicas": 0, "instances": [], "restart": "always"}
    return deployment(**{**fields, **changes})


def created(*seen: object) -> Cli:
    return Cli(
        {CREATE: json_answer(job(), 201), f"GET {ONE}": events_answer(*seen), "GET /api/v1/logs": json_answer({})}
    )


def test_a_job_is_created_with_its_flags_and_waited_for_until_it_has_succeeded() -> None:
    running = job(status="running", ready_replicas=1)
    cli = created(running, 400.0, job(status="stopped", outcome="succeeded", ready_replicas=1), 1.0)
    words = ("deployments", "create", "--image", "app:1", "--mode", "job", "--retries", "2")
    assert 0 == cli.run(*words), cli.said
    assert {"image": "app:1", "mode": "job", "retries": 2}.items() <= cli.body("POST").items()
    assert cli.clock.at >= 400, "a job that runs is waited for as long as it runs"


def test_a_job_that_failed_is_exit_code_1_with_its_reason_and_last_lines() -> None:
    reason = "replica 0: 4 attempts failed, the last: exited with code 3\nno such table"
    cli = created(job(status="failed", outcome="failed", reason=reason), 1.0)
    assert 1 == cli.run("deployments", "create", "--image", "app:1", "--mode", "job")
    assert "4 attempts failed, the last: exited with code 3" in cli.said
    assert "no such table" in cli.said


def test_a_job_that_finds_no_place_is_given_up_waiting_for_after_five_minutes() -> None:
    assert 3 == created(job(status="pending"), 299.0, job(status="pending"), 500.0).run(
        "deployments", "create", "--image", "app:1", "--mode", "job"
    )


def test_a_schedule_is_waited_for_until_a_node_keeps_it() -> None:
    kept = {"schedule": "@daily", "timezone": "Europe/Berlin"}
    cli = Cli(
        {
            CREATE: json_answer(job(**kept), 201),
            f"GET {ONE}": events_answer(job(**kept), 1.0, job(**kept, status="running", next_run=ago(-600)), 1.0),
        }
    )
    flags = ("--mode", "job", "--schedule", "@daily", "--timezone", "Europe/Berlin")
    assert 0 == cli.run("deployments", "create", "--image", "app:1", *flags)
    assert kept.items() <= cli.body("POST").items()
    assert "job at @daily by the clocks of Europe/Berlin, 3 retries" in cli.shown


def test_lists_show_outcome_and_next_run_where_there_is_one() -> None:
    items = [job(outcome="failed", next_run=ago(-120)), deployment(name="web")]
    head, first, second = deployment_table(items, NOW).splitlines()
    assert ["NAME", "READY", "STATUS", "OUTCOME", "NEXT"] == head.split()[:5]
    assert "failed" in first
    assert "in 2m" in first
    assert "failed" not in second
    assert "OUTCOME" not in deployment_table(items[1:], NOW)


def test_the_screen_of_a_schedule_tells_what_came_of_its_runs() -> None:
    run = {"due": ago(300), "outcome": "failed", "failures": 1, "reason": "exited with code 3\nno such table"}
    last = {"due": ago(600), "outcome": "succeeded", "failures": 0, "reason": "exited with code 0"}
    told = instance(0, state="stopped", job={"run": run, "last": last, "skipped": 2})
    shown = deployment_screen(
        job(schedule="*/5 * * * *", outcome="failed", last_run=ago(300), next_run=ago(-1), instances=[told]), NOW
    )
    for text in ("last run", "5m ago", "next run", "in 1s", "failed: exited with code 3", "2 times that were due"):
        assert text in shown


def test_a_global_deployment_shows_the_replicas_there_are() -> None:
    both = [{"replica_number": n, "node_id": f"n{n}", "node": f"edge-{n}", "fence": 1, "revision": 1} for n in (0, 4)]
    shown = deployment_screen(deployment(mode="global", replicas=2, assignments=both, instances=[]), NOW)
    assert "edge-4" in shown
    rows = [line for line in shown.splitlines() if line.strip().startswith(("1 ", "2 ", "3 "))]
    assert rows == []


@pytest.mark.parametrize(
    ("words", "question"),
    [
        (("deployments", "rollback", "web"), "Take web from revision 1 back to the last good revision? [y/N]"),
        (("nodes", "drain", "edge-1"), "Drain edge-1? What runs there is stopped and goes elsewhere [y/N]"),
        (("rebalance",), "Rebalance? What is moved is stopped and started elsewhere"),
    ],
)
def test_what_stops_something_is_asked_about_and_a_no_changes_nothing(words: tuple[str, ...], question: str) -> None:
    routes = {"GET /api/v1/deployments/web": json_answer(deployment()), "GET /api/v1/nodes/edge-1": json_answer(node())}
    cli = Cli({**routes, "POST ": json_answer({"moves": []})})
    cli.typed = "n\n"
    assert 1 == cli.run(*words, tty=True)
    assert question in cli.said
    assert [] == cli.asked("POST")
