"""Jobs at the control plane: their ends are kept, and what has ended runs nowhere again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.fleet import Drain, Fleet
from fledx.control_plane.loops.reachability import Reachability
from fledx.control_plane.loops.rollouts import Rollouts
from fledx.control_plane.nodes import change_status
from fledx.control_plane.revisions import Revisions
from fledx.control_plane.store import snapshot
from fledx.errors import InvalidSpec
from fledx.models.instance import Instance
from fledx.models.job import JobRun, JobStatus
from fledx.models.node import Capacity
from fledx.models.placement import Constraints
from fledx.settings.control_plane import ControlPlaneSettings
from tests.builders import running, spec
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio
DONE = JobRun(outcome="succeeded", exit_code=0, reason="exited with code 0 after 2.0 s")
BROKEN = JobRun(outcome="failed", exit_code=3, failures=4, reason="4 attempts failed, the last: exited with code 3\nno")


def told(stage: Stage, node_id: str, run: JobRun | None, state: str, **changes: Any) -> list[Instance]:
    """What the agent of a node reports of every job it has."""
    return [
        running(
            each,
            state=state,
            ready=state == "running",
            message=run.reason if run else None,
            job=JobStatus(run=run, **changes),
        )
        for each in stage.desired(node_id).replicas
        if each.job is not None
    ]


async def ended(stage: Stage, node_id: str, run: JobRun = DONE) -> None:
    state = "stopped" if run.outcome == "succeeded" else "failed"
    await stage.report(node_id, *told(stage, node_id, run, state))


def owner(stage: Stage, name: str = "web") -> list[str]:
    return [str(given.node) for given in stage.deployments.get(name).assignments]


async def test_a_job_runs_succeeds_and_is_told_to_be_done(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(mode="job", retries=1), by=ME)
    await stage.report(node, *told(stage, node, JobRun(), "running"))
    shown = stage.deployments.get("web")
    assert (shown.status, shown.outcome, shown.ready_replicas) == ("running", None, 1)

    await ended(stage, node)
    shown = stage.deployments.get("web")
    assert (shown.status, shown.outcome, shown.ready_replicas) == ("stopped", "succeeded", 1)
    (replica,) = stage.desired(node).replicas
    assert replica.job is not None
    assert (replica.job.done, replica.job.retries) == ("succeeded", 1)
    assert [each.kind for each in stage.happened("job")] == ["job.succeeded"]
    await ended(stage, node)
    assert len(stage.happened("job")) == 1


async def test_one_replica_that_fails_is_the_failure_of_all_with_its_reason(stage: Stage) -> None:
    nodes = [await stage.node(name) for name in ("edge-1", "edge-2")]
    await stage.deployments.create(spec(mode="job", replicas=2), by=ME)
    await ended(stage, nodes[0])
    assert stage.deployments.get("web").outcome is None
    await ended(stage, nodes[1], BROKEN)
    shown = stage.deployments.get("web")
    assert (shown.status, shown.outcome) == ("failed", "failed")
    assert shown.reason == f"replica 1: {BROKEN.reason}"


async def test_a_job_that_is_stopped_is_stopped_whatever_its_outcome_was(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(mode="job"), by=ME)
    await stage.report(node, *told(stage, node, JobRun(), "running"))
    await stage.deployments.patch("web", {"desired_state": "stopped"}, by=ME)
    assert stage.deployments.get("web").status == "deploying"
    await stage.report(node, *told(stage, node, JobRun(), "stopped"))
    assert (stage.deployments.get("web").status, stage.deployments.get("web").outcome) == ("stopped", None)
    await stage.deployments.patch("web", {"desired_state": "running"}, by=ME)
    await ended(stage, node, BROKEN)
    await stage.deployments.patch("web", {"desired_state": "stopped"}, by=ME)
    assert (stage.deployments.get("web").status, stage.deployments.get("web").outcome) == ("stopped", "failed")


async def test_what_has_ended_gives_its_room_to_others_and_the_board_agrees_with_its_rows(stage: Stage) -> None:
    node = await stage.node("edge-1")
    whole = Constraints(capacity=Capacity(cpu_millis=4000))
    await stage.deployments.create(spec(mode="job", constraints=whole), by=ME)
    await stage.deployments.create(spec(name="next", constraints=whole), by=ME)
    assert owner(stage, "next") == []
    await ended(stage, node)
    assert owner(stage, "next") == ["edge-1"]
    kept = await stage.act(lambda tx: tx.board)
    fresh = stage.store.read(lambda sql: snapshot.board(sql, (30000, 30002)))
    assert [(place.cpu, sorted(place.held)) for place in kept.places] == [
        (place.cpu, sorted(place.held)) for place in fresh.places
    ]


async def test_only_the_present_owner_with_the_present_template_can_end_a_job(stage: Stage) -> None:
    node, other = await stage.node("edge-1"), await stage.node("edge-2")
    await stage.deployments.create(spec(mode="job"), by=ME)
    (each,) = told(stage, node, DONE, "stopped")
    await stage.report(other, each)
    await stage.report(node, replace(each, fence=each.fence + 1))
    await stage.report(node, replace(each, template="another"))
    assert stage.deployments.get("web").outcome is None
    await stage.report(node, each)
    assert stage.deployments.get("web").outcome == "succeeded"


async def test_a_node_that_dies_midway_loses_the_job_and_one_that_dies_after_the_end_does_not(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(mode="job"), by=ME)
    other = await stage.node("edge-2")

    await stage.act(lambda tx: change_status(tx, node, "unreachable", "silent"))
    await stage.lose(node, why="silent")
    assert owner(stage) == ["edge-2"]
    await ended(stage, node)
    assert stage.deployments.get("web").outcome is None, "the old owner has nothing to say any more"
    await ended(stage, other)
    assert stage.deployments.get("web").outcome == "succeeded"
    await stage.act(lambda tx: change_status(tx, node, "ready", None))
    dispatch, clock = Dispatch(stage.store, stage.seal), [0.0]
    loop = Reachability(stage.store, stage.changes, dispatch, ControlPlaneSettings(), monotonic=lambda: clock[0])
    while clock[0] < 120:
        clock[0] += 2
        await loop.sweep(clock[0])
    assert stage.nodes.get("edge-2").status == "unreachable"
    assert owner(stage) == ["edge-2"]


async def test_a_drain_lets_a_run_end_and_takes_away_what_has_ended(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(mode="job"), by=ME)
    await stage.node("edge-2")
    fleet = Fleet(stage.store, stage.changes, stage.tokens, Dispatch(stage.store, stage.seal))
    loop = Rollouts(stage.store, stage.changes)
    await stage.report(node, *told(stage, node, JobRun(), "running"))
    await fleet.drain("edge-1", Drain(), by=ME)
    await loop.look()
    assert owner(stage) == ["edge-1"]
    await ended(stage, node)
    await loop.look()
    assert owner(stage) == []
    shown = stage.deployments.get("web")
    assert (shown.status, shown.outcome, shown.unplaced_replicas) == ("stopped", "succeeded", 0)
    await stage.node("edge-3")
    assert owner(stage) == []


async def test_a_drain_whose_deadline_is_over_waits_for_no_run(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(mode="job"), by=ME)
    await stage.node("edge-2")
    fleet = Fleet(stage.store, stage.changes, stage.tokens, Dispatch(stage.store, stage.seal))
    await stage.report(node, *told(stage, node, JobRun(), "running"))
    await fleet.drain("edge-1", Drain(deadline_seconds=10), by=ME)
    stage.now += 11
    await Rollouts(stage.store, stage.changes).look()
    assert owner(stage) == ["edge-2"]


async def test_another_image_or_a_restart_or_a_rollback_runs_it_anew_and_another_label_does_not(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(mode="job"), by=ME)
    revisions, loop = Revisions(stage.store, stage.changes, stage.deployments), Rollouts(stage.store, stage.changes)
    await ended(stage, node)
    await stage.deployments.patch("web", {"labels": {"a": "b"}, "retries": 7}, by=ME)
    assert stage.deployments.get("web").outcome == "succeeded"
    fences = [stage.deployments.get("web").assignments[0].fence]
    await stage.deployments.patch("web", {"image": "web:2"}, by=ME)
    await loop.look()
    for again in (revisions.restart("web", by=ME), revisions.rollback("web", by=ME, to=1)):
        shown = stage.deployments.get("web")
        assert (shown.outcome, [given.node for given in shown.assignments]) == (None, ["edge-1"])
        fences.append(shown.assignments[0].fence)
        await ended(stage, node)
        assert stage.deployments.get("web").outcome == "succeeded"
        await again
        await loop.look()
    assert stage.deployments.get("web").outcome is None
    assert fences == sorted(set(fences))


async def test_more_replicas_run_more_and_fewer_forget_the_rest(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(mode="job"), by=ME)
    await ended(stage, node)
    await stage.deployments.patch("web", {"replicas": 2}, by=ME)
    assert (stage.deployments.get("web").outcome, len(owner(stage))) == (None, 2)
    await ended(stage, node)
    await stage.deployments.patch("web", {"replicas": 1}, by=ME)
    shown = stage.deployments.get("web")
    assert (shown.outcome, shown.ready_replicas, len(shown.assignments)) == ("succeeded", 1, 1)


async def test_a_schedule_shows_its_last_and_next_run_and_a_failed_run_is_told(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(mode="job", schedule="*/5 * * * *", timezone="UTC"), by=ME)
    await stage.report(node, *told(stage, node, None, "stopped", next_run="2026-11-25T12:05:00Z"))
    shown = stage.deployments.get("web")
    assert (shown.status, shown.outcome, shown.next_run) == ("running", None, "2026-11-25T12:05:00Z")

    failed = replace(BROKEN, due="2026-11-25T12:05:00Z")
    await stage.report(node, *told(stage, node, failed, "stopped", next_run="2026-11-25T12:10:00Z"))
    shown = stage.deployments.get("web")
    assert (shown.status, shown.outcome, shown.last_run) == ("running", "failed", "2026-11-25T12:05:00Z")
    assert str(shown.reason).startswith("the last run failed: 4 attempts failed")
    (replica,) = stage.desired(node).replicas
    assert replica.job is not None
    assert replica.job.done is None


async def test_a_schedule_that_no_agent_has_taken_up_is_not_running(stage: Stage) -> None:
    await stage.deployments.create(spec(mode="job", schedule="@daily"), by=ME)
    shown = stage.deployments.get("web")
    assert (shown.status, shown.reason) == ("pending", "1 replica without a place: there are no nodes")
    node = await stage.node("edge-1")
    assert stage.deployments.get("web").status == "deploying"
    await stage.report(node, *told(stage, node, None, "failed"))
    assert stage.deployments.get("web").status == "failed"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schedule": "61 * * * *"}, "schedule"),
        ({"schedule": "@reboot"}, "schedule"),
        ({"schedule": "0 0 30 2 *"}, "schedule"),
        ({"schedule": "@daily", "timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": "UTC"}, "timezone"),
        ({"retries": -1}, "retries"),
        ({"restart": "on_failure"}, "restart"),
    ],
)
async def test_nonsense_is_refused_naming_the_field(stage: Stage, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        await stage.deployments.create(spec(mode="job", **changes), by=ME)
    assert [path for path, _ in refused.value.problems] == [field]
