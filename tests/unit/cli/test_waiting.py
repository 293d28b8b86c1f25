"""Waiting for a change to arrive: when it has, when it cannot, when time is up."""

from __future__ import annotations

from typing import Any

import pytest

from fledx.cli.goal import Goal
from fledx.errors import Unavailable
from fledx.models.deployment import UpdatePolicy
from tests.fakes.transport import Answer, error_answer, events_answer, json_answer, lines_answer
from tests.unit.cli.harness import EDGE2, WEB, Cli, assignment, deployment, instance, page

WATCH = f"GET /api/v1/deployments/{WEB}/watch"
LOGS = f"GET /api/v1/deployments/{WEB}/logs"
CREATE = ("deployments", "create", "--name", "web", "--image", "nginx")
NEW = deployment(status="pending", ready_replicas=0, assignments=[assignment(0)], instances=[])
PULLING = deployment(status="deploying", ready_replicas=0, instances=[instance(0, "pending", message="pulling nginx")])
PLACED_NOWHERE = deployment(
    status="pending",
    ready_replicas=0,
    unplaced_replicas=1,
    assignments=[],
    instances=[],
    pending=[{"replica_number": 0, "reason": "no node is ready"}],
)


def crashed(times: int, **fields: Any) -> dict[str, Any]:
    dead = instance(0, "failed", restart_count=times, exit_code=127, message="exit code 127: not found")
    return deployment(status="failed", ready_replicas=0, reason="replica 0", instances=[dead], **fields)


def creating(*watched: Any, **more: Any) -> Cli:
    return Cli({"POST /api/v1/deployments": json_answer(NEW, 201), WATCH: events_answer(*watched, 1000.0), **more})


def test_a_create_ends_when_it_runs_and_tells_what_happened_on_the_way() -> None:
    cli = creating(NEW, 3.0, PULLING, 40.0, PULLING, deployment())

    assert 0 == cli.run(*CREATE)
    assert [
        "web created",
        "web/0  edge-1  assigned  the node has not reported it yet",
        "web/0  edge-1  pending  pulling nginx",
        "web/0  edge-1  running",
    ] == cli.said.splitlines()
    assert cli.shown.startswith("web  running  1/1 ready\n")


def test_a_detached_create_does_not_wait() -> None:
    cli = creating()

    assert 0 == cli.run(*CREATE, "--detach")
    assert cli.shown.startswith("web  pending  0/1 ready\n")
    assert [] == cli.asked("GET")


def test_a_program_gets_the_deployment_as_it_runs_and_nothing_else_on_stdout() -> None:
    cli = creating(NEW, deployment())

    assert 0 == cli.run(*CREATE, "--json")
    assert '"status": "running"' in cli.shown
    assert cli.shown.startswith("{")


def test_quiet_prints_the_name_alone() -> None:
    cli = creating(NEW, deployment())

    assert 0 == cli.run(*CREATE, "--quiet")
    assert ("web\n", "") == (cli.shown, cli.said)


def test_what_cannot_be_placed_ends_with_3_and_the_reasons() -> None:
    cli = creating(PLACED_NOWHERE, 1000.0)

    assert 3 == cli.run(*CREATE, "--wait-timeout", "2m")
    assert [
        "web created",
        "web/0  pending  no node is ready",
        "fledx: web is not running after 2m",
        "  replica 0 pending: no node is ready",
        "it is tried further; look again with `fledx deployments show web`",
    ] == cli.said.splitlines()
    assert 120.0 == cli.clock.at


def rolling_out(*watched: Any) -> Cli:
    """An update to revision 2; what is watched follows."""
    before = deployment(generation=2, revision=2, rollout=ROLLING, update=POLICY, ready_replicas=0)
    routes = {"GET /api/v1/deployments/web": json_answer(deployment())}
    routes[f"PATCH /api/v1/deployments/{WEB}"] = json_answer(before)
    return Cli({**routes, WATCH: events_answer(before, *watched, 9000.0)})


ROLLING = {"state": "progressing", "revision": 2, "updated": 0, "wanted": 1}
POLICY = {"progress_deadline_seconds": 300.0}
BACK = deployment(
    generation=3, rollout={"state": "rolled_back", "revision": 1, "reason": "has not been ready for 300 s"}
)


def test_the_end_of_a_rollout_that_the_control_plane_gives_up_is_waited_for() -> None:
    cli = rolling_out(302.0, BACK)

    assert 1 == cli.run("deployments", "update", "web", "--image", "nginx:nope")
    assert "it went back to revision 1: has not been ready for 300 s" in cli.said


def test_what_gets_on_is_waited_for_and_what_stands_still_is_not() -> None:
    far = {**deployment(generation=2, revision=2, rollout={**ROLLING, "updated": 1}, update=POLICY), "status": "x"}
    cli = rolling_out(200.0, far)

    assert 3 == cli.run("deployments", "update", "web", "--image", "nginx:1")
    assert 200.0 + 330.0 == cli.clock.at
    assert "web is not running after 8m" in cli.said


def test_who_says_how_long_is_taken_at_their_word() -> None:
    cli = rolling_out(302.0, BACK)

    assert 3 == cli.run("deployments", "update", "web", "--image", "nginx:nope", "--wait-timeout", "10s")


def test_an_update_that_is_still_watched_is_not_said_not_to_run() -> None:
    watched = {**ROLLING, "updated": 1, "waits_for": "watched until one has been ready for 35 s"}
    new = instance(0, revision=2)
    cli = rolling_out(1.0, deployment(generation=2, revision=2, rollout=watched, instances=[new]))

    assert 3 == cli.run("deployments", "update", "web", "--image", "nginx:1", "--wait-timeout", "10s")
    assert [
        "fledx: web has not finished its update after 10s",
        "  watched until one has been ready for 35 s",
    ] == cli.said.splitlines()[-3:-1]


def test_an_image_that_arrives_slowly_is_waited_for() -> None:
    arriving = [
        {**PULLING, "instances": [instance(0, "pending", message=f"pulling nginx: {part} % of 900 MB")]}
        for part in (10, 40, 80)
    ]
    cli = creating(NEW, 200.0, arriving[0], 200.0, arriving[1], 200.0, arriving[2], 200.0, deployment())

    assert 0 == cli.run(*CREATE)


def test_a_container_that_ends_again_and_again_has_failed_with_its_last_lines() -> None:
    lines = lines_answer({"deployment": "web", "replica_number": 0, "time": "t", "line": "sh: \x1b[31mnot found"})
    cli = creating(crashed(0), 1.0, crashed(1), 2.0, crashed(2), **{LOGS: lines})

    assert 1 == cli.run(*CREATE)
    assert [
        "fledx: web failed: replica 0: exit code 127: not found",
        "last lines of web/0:",
        "  sh: not found",
    ] == cli.said.splitlines()[-3:]
    assert [f"{LOGS}?replica=0&tail=10"] == cli.asked(LOGS)


def test_a_failure_is_told_even_where_its_logs_cannot_be_had() -> None:
    cli = creating(crashed(2), **{LOGS: Unavailable("gone")})

    assert 1 == cli.run(*CREATE)
    assert cli.said.endswith("fledx: web failed: replica 0: exit code 127: not found\n")


def test_ctrl_c_only_ends_the_waiting() -> None:
    cli = creating(NEW, KeyboardInterrupt())

    assert 130 == cli.run(*CREATE)
    assert cli.said.endswith("detached; web goes on: look again with `fledx deployments watch web`\n")
    assert "" == cli.shown


def test_a_control_plane_that_restarts_meanwhile_is_waited_for() -> None:
    cli = creating()
    cli.routes[WATCH] = [events_answer(NEW), Unavailable("no control plane"), events_answer(PULLING, deployment(), 9.0)]

    assert 0 == cli.run(*CREATE)
    assert 1 == cli.said.count("no control plane; trying again")


def test_a_control_plane_that_stays_away_ends_with_3() -> None:
    cli = creating()
    cli.routes[WATCH] = Unavailable("no control plane")

    assert 3 == cli.run(*CREATE, "--wait-timeout", "10s")
    assert 1 == cli.said.count("no control plane; trying again")


def test_a_deployment_deleted_meanwhile_is_a_failure() -> None:
    cli = creating(NEW, ("gone", {}))

    assert 1 == cli.run(*CREATE)
    assert "fledx: web was deleted meanwhile" in cli.said


def test_a_refused_create_waits_for_nothing() -> None:
    cli = Cli({"POST /": error_answer(409, "the name web is taken")})

    assert 1 == cli.run(*CREATE)
    assert [] == cli.asked("GET")


def test_progress_is_redrawn_in_place_on_a_terminal() -> None:
    cli = creating(NEW, 3.0, PULLING, deployment())

    assert 0 == cli.run(*CREATE, tty=True)
    assert "web: 0/1 ready, 0s\n    0  edge-1  assigned  the node has not reported it yet\n" in cli.said
    assert "\x1b[2F\x1b[Jweb: 1/1 ready, 3s\n    0  edge-1  running\n" in cli.said


def judged(seen: dict[str, Any], before: dict[str, Any] = NEW, *, lasting: float = 10.0) -> str:
    """What is made of a deployment that was seen so and stayed so for some seconds."""
    goal = Goal(before)
    first = goal.judge(seen, 100.0)[0]
    return first if first != "waiting" else goal.judge(seen, 100.0 + lasting)[0]


def test_what_was_seen_before_the_change_counts_for_nothing() -> None:
    changed = deployment(generation=5, revision=3)

    assert ["waiting", "reached"] == [judged(seen, changed) for seen in (deployment(generation=4), changed)]


@pytest.mark.parametrize(
    "seen",
    [
        deployment(status="deploying"),
        deployment(replicas=2),
        deployment(unplaced_replicas=1),
        deployment(
            status="failed",
            ready_replicas=0,
            revision=2,
            generation=2,
            instances=[instance(0, "failed", revision=1, restart_count=9, exit_code=1)],
        ),
    ],
)
def test_one_that_may_still_get_there_is_waited_for(seen: dict[str, Any]) -> None:
    assert "waiting" == judged(seen)


@pytest.mark.parametrize(
    "seen",
    [
        deployment(),
        deployment(rollout={"state": "progressing", "revision": 1}),
        deployment(rollout={"state": "complete", "revision": 1}),
        deployment(
            status="deploying", restart="never", ready_replicas=0, instances=[instance(0, "stopped", exit_code=0)]
        ),
    ],
)
def test_one_that_runs_as_it_is_wanted_has_arrived(seen: dict[str, Any]) -> None:
    assert "reached" == judged(seen)


@pytest.mark.parametrize(
    "seen",
    [
        crashed(2),
        crashed(0, restart="never"),
        deployment(status="failed", ready_replicas=0, instances=[instance(0, "failed", message="no such image")]),
        deployment(revision=3, rollout={"state": "rolled_back", "revision": 3, "reason": "not ready in time"}),
        deployment(desired_state="stopped"),
    ],
)
def test_one_that_will_never_get_there_has_failed(seen: dict[str, Any]) -> None:
    assert "failed" == judged(seen)


def test_what_fails_for_a_moment_may_pass_and_what_fails_on_has_failed() -> None:
    unstarted = deployment(ready_replicas=0, instances=[instance(0, "failed", revision=0, message="no such image")])

    assert ["waiting", "failed"] == [judged(unstarted, lasting=seconds) for seconds in (4.0, 5.0)]
    assert ["waiting", "failed"] == [judged(crashed(0), lasting=seconds) for seconds in (4.0, 5.0)]


def test_what_has_just_started_must_stay_for_a_moment() -> None:
    probed = {"health": {"readiness": {"type": "tcp", "port": 80}}}

    assert ["waiting", "reached"] == [judged(deployment(), lasting=seconds) for seconds in (0.9, 1.0)]
    assert "reached" == judged(deployment(**probed), deployment(**{**NEW, **probed}), lasting=0.0)
    assert "reached" == judged(deployment(generation=2), deployment(generation=2), lasting=0.0)


def test_who_demands_another_time_than_the_usual_gets_it_before_a_create_is_called_running() -> None:
    def arrives(after: float, **seen: Any) -> list[str]:
        before = {**NEW, **seen}
        return [judged(deployment(**seen), before, lasting=seconds) for seconds in (after - 0.1, after)]

    usual = {"update": {"min_healthy_seconds": UpdatePolicy().min_healthy_seconds, "max_unavailable": 2}}
    assert ["waiting", "reached"] == arrives(1.0, **usual)
    assert ["waiting", "reached"] == arrives(20.0, update={"min_healthy_seconds": 20.0})
    assert "reached" == judged(deployment(), {**NEW, "update": {"min_healthy_seconds": 0.0}}, lasting=0.0)
    probed = {"health": {"readiness": {"type": "tcp", "port": 80}}, "update": {"min_healthy_seconds": 20.0}}
    assert "reached" == judged(deployment(**probed), {**NEW, **probed}, lasting=0.0)


def test_what_a_rollout_has_held_for_its_time_is_not_held_again() -> None:
    demanding = {"update": {"min_healthy_seconds": 20.0}, "revision": 2, "generation": 2}
    rolling = deployment(**demanding, rollout={"state": "progressing", "revision": 2})
    goal = Goal({**NEW, **demanding})

    assert "waiting" == goal.judge(rolling, 0.0)[0]
    done = deployment(**demanding, rollout={"state": "complete", "revision": 2})
    assert ["waiting", "waiting", "reached"] == [goal.judge(done, at)[0] for at in (20.0, 20.9, 21.0)]


def test_a_time_longer_than_the_usual_patience_is_waited_for() -> None:
    demanding = {"update": {"min_healthy_seconds": 900.0}}
    new = deployment(**{**NEW, **demanding})
    cli = creating(new, deployment(**demanding), 2000.0, **{"POST /api/v1/deployments": json_answer(new, 201)})

    assert 0 == cli.run(*CREATE, "--min-healthy", "15m")
    assert 900.0 <= cli.clock.at < 905.0


def test_a_container_that_runs_and_dies_in_turn_never_counts_as_running() -> None:
    goal = Goal(NEW)
    seen = [deployment(), crashed(0), deployment(), crashed(1), deployment(), crashed(2)]

    assert ["waiting"] * 5 + ["failed"] == [goal.judge(each, number * 0.9)[0] for number, each in enumerate(seen)]


def test_an_update_that_goes_back_by_itself_has_failed() -> None:
    goal = Goal(deployment(generation=7, revision=3))
    reason = {"state": "progressing", "revision": 2, "reason": "revision 3 failed: replica 0 on edge-1 crashed 3 times"}
    back = deployment(generation=8, revision=2, rollout=reason)

    assert (
        "failed",
        "it went back to revision 2: revision 3 failed: replica 0 on edge-1 crashed 3 times",
    ) == goal.judge(back, 0.0)


def test_whether_an_update_fails_is_left_to_its_rollout() -> None:
    rolling = {"state": "progressing", "revision": 2}
    before = deployment(generation=2, revision=2, rollout=rolling, ready_replicas=0)
    dead = {**before, "instances": [instance(0, "failed", revision=2, restart_count=9, exit_code=1)]}
    paused = {**dead, "rollout": {**rolling, "state": "paused", "reason": "revision 2 failed: it crashed"}}

    assert ["waiting", "failed"] == [judged(seen, before, lasting=100.0) for seen in (dead, paused)]


def test_a_rollout_that_had_failed_before_the_change_is_old_news() -> None:
    old = {"state": "paused", "revision": 3, "reason": "not ready in time"}
    before = deployment(generation=7, revision=3, rollout=old)

    assert "reached" == judged(deployment(generation=7, revision=3, rollout=old), before)
    assert "failed" == judged(deployment(generation=8, revision=4, rollout={**old, "revision": 4}), before)


def stopping(*watched: Any) -> Cli:
    stopped = deployment(desired_state="stopped", status="deploying", generation=2)
    return Cli(
        {
            "GET /api/v1/deployments/web": json_answer(deployment()),
            f"PATCH /api/v1/deployments/{WEB}": json_answer(stopped),
            WATCH: events_answer(*watched),
        }
    )


def test_a_stop_waits_until_it_is_stopped() -> None:
    cli = stopping(
        deployment(),
        5.0,
        deployment(desired_state="stopped", status="deploying", generation=2),
        deployment(desired_state="stopped", status="stopped", generation=2, instances=[], ready_replicas=0),
    )

    assert 0 == cli.run("deployments", "stop", "web")
    assert {"desired_state": "stopped"} == cli.body("PATCH")
    assert cli.shown.startswith("web  stopped  0/1 ready\n")


def test_a_stop_asks_the_person_at_the_terminal_and_nobody_else() -> None:
    cli = stopping()
    cli.typed = "no\n"

    assert 1 == cli.run("deployments", "stop", "web", tty=True)
    assert "Stop web? [y/N] nothing was stopped\n" == cli.said
    assert [] == cli.asked("PATCH")


def test_several_are_scaled_at_once_and_waited_for_in_turn() -> None:
    api = deployment(deployment_id=EDGE2, name="api")
    cli = Cli(
        {
            "GET /api/v1/deployments/web": json_answer(deployment()),
            "GET /api/v1/deployments/api": json_answer(api),
            f"PATCH /api/v1/deployments/{WEB}": json_answer(deployment(replicas=3, generation=2, ready_replicas=1)),
            f"PATCH /api/v1/deployments/{EDGE2}": json_answer({**api, "generation": 2}),
            WATCH: events_answer(deployment(replicas=3, generation=2, ready_replicas=3)),
            f"GET /api/v1/deployments/{EDGE2}/watch": events_answer({**api, "generation": 2}),
        }
    )

    assert 0 == cli.run("scale", "web=3", "api", "--replicas", "1")
    assert "web scaled from 1 to 3\napi scaled from 1 to 1\n" in cli.said
    assert ["web  running  3/3 ready", "api  running  1/1 ready"] == [
        line for line in cli.shown.splitlines() if line.endswith("ready")
    ]


@pytest.mark.parametrize("words", [["scale"], ["scale", "web"], ["scale", "web=zero"]])
def test_scaling_needs_names_and_numbers(words: list[str]) -> None:
    cli = Cli()

    assert 2 == cli.run(*words)
    assert [] == cli.asked()


def updating(answer: Answer, current: dict[str, Any]) -> Cli:
    return Cli(
        {
            "GET /api/v1/deployments/web": json_answer(current),
            f"PATCH /api/v1/deployments/{WEB}": answer,
            WATCH: events_answer(deployment(generation=6)),
        }
    )


def test_an_update_sends_what_was_given_and_nothing_else() -> None:
    cli = updating(json_answer(deployment(generation=6)), deployment(generation=5))

    assert 0 == cli.run("deployments", "update", "--id", "web", "--image", "nginx:2", "--name", "site", "--clear-env")
    assert {"image": "nginx:2", "name": "site", "env": {}} == cli.body("PATCH")
    assert "if-match" not in cli.transport.requests[1].headers


def test_a_new_probe_asks_the_only_port_that_the_deployment_has() -> None:
    cli = updating(json_answer(deployment(generation=6)), deployment(generation=5))

    assert 0 == cli.run("deployments", "update", "web", "--readiness-http", "/ready")
    assert {"readiness": {"type": "http", "path": "/ready", "port": 80}} == cli.body("PATCH")["health"]

    two = updating(json_answer(deployment()), deployment(ports=[{"container_port": port} for port in (80, 81)]))
    assert 2 == two.run("deployments", "update", "web", "--readiness-http", "/ready")
    assert "--readiness-http needs --readiness-port, as there is not exactly one --port" in two.said


def test_an_update_of_a_nested_field_is_refused_if_the_deployment_has_moved_on() -> None:
    cli = updating(error_answer(409, "it is at generation 6 now"), deployment(generation=5, limits={"pids": 9}))

    assert 1 == cli.run("deployments", "update", "web", "--limit-cpu", "1")
    assert {"limits": {"pids": 9, "cpu_millis": 1000}} == cli.body("PATCH")
    assert '"5"' == cli.transport.requests[1].headers["if-match"]


def test_an_update_without_a_change_asks_nobody() -> None:
    cli = Cli()

    assert 2 == cli.run("deployments", "update", "web")
    assert "nothing to change" in cli.said
    assert [] == cli.asked()


def test_a_dry_run_shows_what_would_come_and_does_nothing() -> None:
    cli = Cli({"POST /api/v1/deployments?dry_run=true": json_answer(PLACED_NOWHERE)})

    assert 0 == cli.run(*CREATE, "--dry-run")
    assert "no node is ready" in cli.shown


def test_a_create_without_an_image_is_a_matter_of_usage() -> None:
    cli = Cli({"POST /": page()})

    assert 2 == cli.run("deployments", "create", "--name", "web")
    assert "fledx: which image? Give --image, such as --image nginx:1.27\n" == cli.said
    assert [] == cli.asked()


def test_a_way_back_that_was_asked_for_has_arrived_when_it_is_rolled_back() -> None:
    going = {"state": "progressing", "revision": 2, "reason": "me went back from revision 3"}
    before = deployment(generation=7, revision=2, rollout=going)
    assert "waiting" == judged(before, before)
    assert "reached" == judged(deployment(generation=7, revision=2, rollout={**going, "state": "rolled_back"}), before)


def test_an_update_has_arrived_when_its_rollout_is_complete_and_not_before() -> None:
    watched = {"state": "progressing", "revision": 2, "waits_for": "watched until one has been ready for 35 s"}
    before = deployment(generation=2, revision=2, rollout=watched, ready_replicas=0)
    assert "waiting" == judged(deployment(generation=2, revision=2, rollout=watched), before)
    assert "reached" == judged(deployment(generation=2, revision=2, rollout={**watched, "state": "complete"}), before)
