"""Replicas that run to their end: once, and whenever a schedule is due."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledx.agent.jobs import Jobs
from fledx.agent.reconcile.firing import CATCH_UP, Record, fired, stamp
from fledx.agent.runtime.containers import LogEntry
from fledx.models.desired import ReplicaDesired
from fledx.models.job import JobDesired, JobRun
from tests.unit.agent.stage import Stage, replica, running

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 11, 25, 12, 0, tzinfo=timezone.utc)


def once(retries: int = 3, **changes: Any) -> ReplicaDesired:
    """A job that runs once."""
    return replica(**{"job": JobDesired(retries=retries), **changes})


def scheduled(expression: str = "*/5 * * * *", **changes: Any) -> ReplicaDesired:
    """A job on a schedule."""
    return replica(**{"job": JobDesired(schedule=expression, retries=0), **changes})


async def end(stage: Stage, code: int, *, line: str = "") -> None:
    (one,) = stage.runtime.running()
    if line:
        stage.runtime.written[one.id] = [LogEntry(stream="stderr", time="2026-11-25T12:00:00Z", line=line)]
    stage.runtime.exit(one.id, code)
    await stage.settle()


async def until(stage: Stage, condition: Callable[[], bool]) -> None:
    """A disk is written to by a thread, which takes its time."""
    with anyio.fail_after(60):
        while not condition():
            await anyio.sleep(0.005)
            await stage.settle()


def outcome(stage: Stage) -> str | None:
    told = stage.instance().job
    return None if told is None or told.run is None else told.run.outcome


async def test_a_job_that_succeeds_is_not_started_again() -> None:
    async with running() as stage:
        await stage.want(once())
        assert stage.instance().state == "running"
        await stage.wait(3)
        await end(stage, 0)
        await stage.wait(600)

        shown = stage.instance()
        assert (shown.state, shown.exit_code, outcome(stage)) == ("stopped", 0, "succeeded")
        assert shown.message == "exited with code 0 after 3.0 s"
        assert len(stage.runtime.all()) == 1, "it is kept for its logs"
        assert stage.kinds() == ["start", "exit"]


async def test_a_job_that_fails_is_tried_again_so_many_times_and_says_why_it_gave_up() -> None:
    async with running() as stage:
        await stage.want(once(retries=2))
        for _ in range(3):
            await end(stage, 4, line="no such table")
            await stage.wait(10)
        await stage.wait(1000)

        shown = stage.instance()
        assert (shown.state, shown.exit_code, outcome(stage)) == ("failed", 4, "failed")
        assert shown.message is not None
        assert shown.message.startswith("3 attempts failed, the last: exited with code 4")
        assert shown.message.endswith("\nno such table")
        assert stage.kinds() == ["start", "crash", "restart", "crash", "restart", "gave_up"]
        assert not stage.runtime.running()


async def test_between_two_attempts_it_tells_what_happened_and_when_it_goes_on() -> None:
    async with running() as stage:
        await stage.want(once(retries=1))
        await end(stage, 4, line="no such table")
        shown = stage.instance()
        assert (shown.state, outcome(stage)) == ("pending", None)
        text = "attempt 1 of 2 failed, tried again after 1 s: exited with code 4 after 0.0 s\nno such table"
        assert shown.message == text
        await stage.wait(2)
        await end(stage, 0)
        assert outcome(stage) == "succeeded"


async def test_an_agent_that_was_restarted_knows_what_has_ended_whether_or_not_the_container_is_there(
    tmp_path: Path,
) -> None:
    stage = Stage()
    stage.loop.jobs = Jobs(stage.clock, tmp_path / "jobs.json")
    async with running(stage):
        await stage.want(once())
        await until(stage, lambda: bool(stage.runtime.running()))
        await end(stage, 0)
        await until(stage, lambda: "succeeded" in (tmp_path / "jobs.json").read_text())
    assert (tmp_path / "jobs.json").stat().st_mode & 0o777 == 0o600

    for pruned in (False, True):
        again = Stage()
        again.runtime, again.state = stage.runtime, stage.state
        again._build({})
        again.loop.jobs = Jobs(again.clock, tmp_path / "jobs.json")
        again.loop.jobs.load()
        if pruned:
            for each in stage.runtime.all():
                stage.runtime.remove_by_hand(each.id)
        stage.runtime.done.clear()
        async with running(again):
            await again.wait(60)
            assert stage.runtime.done == []
            assert outcome(again) == "succeeded"


async def test_what_the_control_plane_has_stored_as_done_is_not_run_by_a_node_that_has_forgotten() -> None:
    async with running() as stage:
        await stage.want(replica(job=JobDesired(done="failed")))
        await stage.wait(60)
        assert stage.runtime.done == []
        assert outcome(stage) == "failed"


async def test_a_container_that_ended_while_no_agent_was_there_is_counted_by_its_exit_code() -> None:
    stage = Stage()
    async with running(stage):
        await stage.want(once())
        (one,) = stage.runtime.running()
    stage.runtime.exit(one.id, 0)

    again = Stage()
    again.runtime, again.state = stage.runtime, stage.state
    again._build({})
    async with running(again):
        await again.wait(60)
        assert outcome(again) == "succeeded"
        assert not again.runtime.running()


async def test_a_run_that_a_reboot_cut_off_begins_anew_and_loses_no_attempt() -> None:
    stage = Stage()
    stage.loop.jobs = Jobs(stage.clock, boot="first")
    async with running(stage):
        await stage.want(once(retries=0))
        await stage.wait(1)
        (one,) = stage.runtime.running()
    stage.runtime.exit(one.id, 137)

    again = Stage()
    again.runtime, again.state = stage.runtime, stage.state
    again._build({})
    again.loop.jobs = Jobs(again.clock, boot="second")
    again.loop.jobs.records = dict(stage.loop.jobs.records)
    async with running(again):
        assert "interrupted" in again.kinds()
        assert len(again.runtime.running()) == 1
        assert outcome(again) is None


async def test_docker_that_went_away_costs_no_attempt() -> None:
    async with running() as stage:
        await stage.want(once(retries=0))
        await stage.wait(1)
        stage.runtime.go_away()
        await stage.wait(5)
        stage.runtime.come_back()
        await stage.wait(5)
        assert len(stage.runtime.running()) == 1
        assert outcome(stage) is None


async def test_removing_its_container_by_hand_is_a_failed_attempt() -> None:
    async with running() as stage:
        await stage.want(once(retries=1))
        for _ in range(2):
            stage.runtime.remove_by_hand(stage.runtime.running()[0].id)
            await stage.wait(5)
        assert outcome(stage) == "failed"
        assert "removed from outside fledx" in str(stage.instance().message)


async def test_a_job_that_is_changed_runs_anew_and_one_that_is_stopped_goes_on_when_it_is_started() -> None:
    async with running() as stage:
        await stage.want(once())
        await end(stage, 0)
        await stage.want(once(image="app:2"))
        assert [each.image for each in stage.runtime.running()] == ["app:2"]
        await stage.want(once(image="app:2", desired_state="stopped"))
        assert not stage.runtime.running()
        await stage.want(once(image="app:2"))
        await end(stage, 0)
        assert outcome(stage) == "succeeded"
        await stage.want(once(image="app:2", desired_state="stopped"))
        await stage.want(once(image="app:2"))
        await stage.wait(60)
        assert not stage.runtime.running()


async def test_an_image_that_cannot_be_had_costs_no_attempt() -> None:
    async with running() as stage:
        await stage.want(once(retries=0, image="app:9"))
        await stage.wait(30)
        assert (stage.instance().state, outcome(stage)) == ("failed", None)
        stage.runtime.images.add("app:9")
        await stage.wait(400)
        await end(stage, 0)
        assert outcome(stage) == "succeeded"


async def test_a_schedule_fires_when_it_is_due_and_keeps_the_last_run_for_its_logs() -> None:
    async with running() as stage:
        await stage.want(scheduled())
        shown = stage.instance()
        assert (shown.state, shown.message) == ("stopped", "next run at 2026-11-25T12:05:00Z")
        assert not stage.runtime.all()
        await stage.wait(299)
        assert not stage.runtime.all()
        await stage.wait(2)
        assert stage.runtime.running()[0].labels["fledx.run"] == "2026-11-25T12:05:00Z"
        await end(stage, 0)

        told = stage.instance().job
        assert told is not None
        assert told.run is not None
        assert (told.run.due, told.run.outcome) == ("2026-11-25T12:05:00Z", "succeeded")
        assert told.next_run == "2026-11-25T12:10:00Z"
        assert len(stage.runtime.all()) == 1
        await stage.wait(300)
        await end(stage, 1)
        told = stage.instance().job
        assert told is not None
        assert told.run is not None
        assert told.last is not None
        assert (told.run.outcome, told.last.outcome) == ("failed", "succeeded")
        assert len(stage.runtime.all()) == 1


async def test_a_run_that_goes_on_is_not_overlapped_but_the_time_is_skipped_and_told() -> None:
    async with running() as stage:
        await stage.want(scheduled())
        await stage.wait(301)
        (one,) = stage.runtime.running()
        await stage.wait(600)
        assert [each.id for each in stage.runtime.running()] == [one.id]
        reason = "not begun, as the run that was due at 2026-11-25T12:05:00Z goes on"
        assert stage.reasons("skipped") == [reason] * 2
        told = stage.instance().job
        assert told is not None
        assert told.skipped == 2
        await end(stage, 0)
        await stage.wait(300)
        assert stage.runtime.running()[0].labels["fledx.run"] == "2026-11-25T12:20:00Z"


async def test_a_run_on_its_way_is_not_disturbed_by_a_change() -> None:
    async with running() as stage:
        await stage.want(scheduled())
        await stage.wait(301)
        await stage.want(scheduled(image="app:2", revision=2))
        assert [each.image for each in stage.runtime.running()] == ["app:1"]
        await end(stage, 0)
        await stage.wait(300)
        assert [each.image for each in stage.runtime.running()] == ["app:2"]


async def test_a_job_that_is_taken_away_leaves_nothing_and_is_forgotten() -> None:
    async with running() as stage:
        await stage.want(once())
        await stage.want()
        assert stage.runtime.all() == []
        assert stage.loop.jobs.records == {}


async def test_a_time_zone_that_this_node_does_not_know_is_told() -> None:
    async with running() as stage:
        await stage.want(replica(job=JobDesired(schedule="@hourly", timezone="Mars/Olympus")))
        shown = stage.instance()
        assert shown.state == "failed"
        assert "'Mars/Olympus' is not a time zone" in str(shown.message)


def kept(record: Record | None, one: ReplicaDesired, now: datetime) -> Record:
    assert one.job is not None
    return fired(record, one, one.job, now)[0]


def done(record: Record) -> Record:
    """The same with its run ended."""
    return Record(**{**vars(record), "run": JobRun(due=record.id, outcome="succeeded")})


def test_times_before_the_job_was_there_are_not_made_up() -> None:
    record = kept(None, scheduled("0 * * * *"), NOON)
    assert record.run is None
    assert record.next_run == "2026-11-25T13:00:00Z"


@pytest.mark.parametrize(
    ("away", "due", "skipped"),
    [
        (timedelta(minutes=61), "2026-11-25T13:00:00Z", 0),
        (timedelta(hours=5), "2026-11-25T17:00:00Z", 4),
        (timedelta(days=40), "2027-01-04T12:00:00Z", 959),
    ],
)
def test_after_a_time_off_one_run_is_made_up_and_the_others_are_counted(
    away: timedelta, due: str, skipped: int
) -> None:
    record = kept(kept(None, scheduled("0 * * * *"), NOON), scheduled("0 * * * *"), NOON + away)
    assert record.run is not None
    assert (record.run.due, record.skipped) == (due, skipped)
    again = kept(record, scheduled("0 * * * *"), NOON + away + timedelta(minutes=1))
    assert again == record


def test_a_time_too_long_ago_is_missed_and_told() -> None:
    weekly = scheduled("0 13 * * 3")
    assert weekly.job is not None
    record = kept(None, weekly, NOON)
    late = NOON + timedelta(hours=1) + CATCH_UP + timedelta(minutes=1)
    record, notes = fired(record, weekly, weekly.job, late)
    assert (record.run, record.skipped) == (None, 1)
    assert [note.kind for note in notes] == ["missed"]


def test_a_clock_that_goes_back_a_little_fires_nothing_twice_and_one_that_was_years_ahead_stops_no_job() -> None:
    job = scheduled("0 * * * *")
    record = done(kept(kept(None, job, NOON), job, NOON + timedelta(minutes=60, seconds=1)))
    assert kept(record, job, NOON + timedelta(minutes=59)).id == record.id
    assert kept(kept(record, job, NOON + timedelta(minutes=59)), job, NOON + timedelta(minutes=61)) == record
    ahead = kept(record, job, NOON + timedelta(days=3650))
    back = kept(done(ahead), job, NOON + timedelta(minutes=90))
    assert back.next_run == "2026-11-25T14:00:00Z"


def test_a_schedule_that_changes_begins_anew() -> None:
    record = kept(None, scheduled("0 * * * *"), NOON)
    changed = kept(record, scheduled("*/10 * * * *"), NOON + timedelta(minutes=25))
    assert (changed.run, changed.next_run) == (None, "2026-11-25T12:30:00Z")


@given(
    steps=st.lists(st.tuples(st.integers(-120, 7200), st.booleans()), min_size=1, max_size=40),
    expression=st.sampled_from(["* * * * *", "*/7 * * * *", "0 * * * *", "30 2 * * *"]),
)
def test_no_time_fires_twice_no_run_overlaps_and_none_begins_before_it_is_due(
    steps: list[tuple[int, bool]], expression: str
) -> None:
    job, now = scheduled(expression), NOON
    record, begun = kept(None, job, now), list[str]()
    for seconds, ends in steps:
        now += timedelta(seconds=seconds)
        before, record = record, kept(record, job, now)
        if record.id != before.id:
            assert not before.going
            assert record.id <= stamp(now)
            begun.append(record.id)
        if ends and record.going:
            record = done(record)
    assert begun == sorted(set(begun))
