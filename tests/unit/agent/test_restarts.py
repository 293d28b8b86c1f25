"""Crashes, policies, waits, and people who meddle."""

from __future__ import annotations

import anyio
import pytest

from fledx.agent.runtime.containers import LogEntry, PullFailed
from fledx.models.health import HealthStatus
from tests.unit.agent.stage import Stage, replica, running

pytestmark = pytest.mark.anyio


async def _crash(stage: Stage, code: int = 1) -> None:
    stage.runtime.exit(stage.runtime.running()[0].id, code)
    await stage.settle()


async def _restarted_without_an_answer(stage: Stage) -> anyio.Event:
    """A replica of `app:1` that crashed once and runs again; the engine says so when this event is set."""
    await stage.want(replica(image="app:1"))
    await stage.wait(40)
    stage.runtime.start_gates["app:1"] = answered = anyio.Event()
    stage.runtime.exit(stage.runtime.running()[0].id, 1)
    await stage.wait(40)
    return answered


async def test_a_crash_is_reported_with_its_code_and_last_lines_and_restarted_after_a_second() -> None:
    async with running() as stage:
        await stage.want(replica())
        (first,) = stage.runtime.running()
        stage.runtime.written[first.id] = [
            LogEntry(stream="stderr", time="2026-11-25T12:00:00Z", line="cannot open database")
        ]
        await stage.wait(2.5)
        await _crash(stage, 3)
        shown = stage.instance()
        assert (shown.state, shown.exit_code, shown.restart_count) == ("pending", 3, 0)
        assert shown.message == "exited with code 3 after 2.5 s; tried again after 1 s\ncannot open database"
        await stage.wait(1.25)
        shown = stage.instance()
        assert (shown.state, shown.exit_code, shown.restart_count) == ("running", 3, 1)
        assert shown.message == "restarted after: exited with code 3 after 2.5 s\ncannot open database"
        assert stage.runtime.running()[0].labels["fledx.restarts"] == "1"
        assert stage.kinds() == ["start", "crash", "restart"]


async def test_what_has_crashed_and_is_not_ready_yet_says_first_how_it_crashed() -> None:
    async with running() as stage:
        await stage.want(replica())
        (first,) = stage.runtime.running()
        stage.runtime.written[first.id] = [LogEntry(stream="stderr", time="2026-11-25T12:00:00Z", line="no database")]
        await stage.wait(2.5)
        await _crash(stage, 9)
        await stage.wait(1.25)
        stage.health[stage.runtime.running()[0].id] = HealthStatus(healthy=True, ready=False)
        told = "restarted after: exited with code 9 after 2.5 s; not ready: its readiness probe has not answered yet"
        assert f"{told}\nno database" == stage.instance().message


async def test_the_last_crashed_container_is_kept_until_the_next_is_stable() -> None:
    async with running() as stage:
        await stage.want(replica())
        crashed = stage.runtime.running()[0].id
        await _crash(stage)
        await stage.wait(1.25)
        assert crashed in [each.id for each in stage.runtime.all()]
        await stage.wait(31)
        assert [each.id for each in stage.runtime.all()] == [each.id for each in stage.runtime.running()]
        assert stage.instance().message is None


async def test_only_one_crashed_container_is_kept() -> None:
    async with running() as stage:
        stage.runtime.exits["app:1"] = 1
        await stage.want(replica())
        await stage.wait(20)
        assert len(stage.runtime.all()) == 1


async def test_a_crash_loop_is_slowed_down_and_then_tried_every_five_minutes() -> None:
    async with running() as stage:
        stage.runtime.exits["app:1"] = 1
        await stage.want(replica())
        starts = []
        for _ in range(400):
            before = stage.instance().restart_count
            await stage.wait(1)
            if stage.instance().restart_count != before:
                starts.append(round(stage.clock.now - 1000))
        assert starts == [1, 3, 7, 15, 31, 331]
        assert stage.instance().state == "failed"
        assert "failed 7 times in a row, tried again after 300 s" in (stage.instance().message or "")


async def test_a_new_revision_is_tried_at_once_after_a_crash_loop() -> None:
    async with running() as stage:
        stage.runtime.exits["app:1"] = 1
        await stage.want(replica())
        await stage.wait(60)
        await stage.want(replica(image="app:2", revision=2))
        shown = stage.instance()
        assert (shown.state, shown.restart_count, shown.message) == ("running", 0, None)


async def test_a_stable_run_forgives_what_went_before() -> None:
    async with running() as stage:
        await stage.want(replica())
        for _ in range(3):
            await _crash(stage)
            await stage.wait(10)
        await stage.wait(31)
        await _crash(stage)
        await stage.wait(1.25)
        assert stage.instance().state == "running"
        assert stage.instance().restart_count == 4


@pytest.mark.parametrize(
    ("policy", "code", "state", "restarts"),
    [
        ("always", 0, "running", 1),
        ("always", 1, "running", 1),
        ("on_failure", 0, "stopped", 0),
        ("on_failure", 1, "running", 1),
        ("never", 0, "stopped", 0),
        ("never", 1, "failed", 0),
    ],
)
async def test_the_restart_policy_decides_what_an_exit_means(policy: str, code: int, state: str, restarts: int) -> None:
    async with running() as stage:
        await stage.want(replica(restart=policy))
        await _crash(stage, code)
        await stage.wait(60)
        shown = stage.instance()
        assert (shown.state, shown.restart_count, shown.exit_code) == (state, restarts, code)


async def test_a_finished_job_is_not_run_again_by_a_new_agent() -> None:
    stage = Stage()
    await stage.made(replica(restart="on_failure"), state="exited")
    async with running(stage):
        await stage.want(replica(restart="on_failure"))
        await stage.wait(60)
        assert stage.runtime.done == []
        assert stage.instance().state == "stopped"


async def test_memory_and_signals_are_told_in_words() -> None:
    async with running() as stage:
        await stage.want(replica(restart="never"))
        stage.runtime.exit(stage.runtime.running()[0].id, 137, oom=True)
        await stage.settle()
        assert stage.instance().message == "killed for using more memory than its limit (exit code 137) after 0.0 s"


async def test_a_container_removed_by_hand_is_back_at_once_with_the_reason() -> None:
    """Fault 16."""
    async with running() as stage:
        await stage.want(replica())
        await stage.wait(40)
        before = stage.clock.now
        stage.runtime.remove_by_hand(stage.runtime.running()[0].id)
        await stage.settle()
        assert stage.clock.now == before
        assert stage.instance().state == "running"
        assert stage.instance().restart_count == 1
        assert stage.reasons("drift") == ["its container was removed from outside fledx"]


async def test_a_young_container_removed_by_hand_is_back_within_two_seconds() -> None:
    async with running() as stage:
        await stage.want(replica())
        stage.runtime.remove_by_hand(stage.runtime.running()[0].id)
        await stage.wait(2)
        assert stage.instance().state == "running"


async def test_a_container_stopped_by_hand_is_started_again_and_not_called_a_crash() -> None:
    async with running() as stage:
        await stage.want(replica())
        await stage.wait(40)
        container_id = stage.runtime.running()[0].id
        stage.runtime.stop_by_hand(container_id)
        await stage.settle()
        assert [each.id for each in stage.runtime.running()] == [container_id]
        assert stage.reasons("drift") == ["its container was stopped from outside fledx (exit code 143)"]
        assert stage.reasons("crash") == []


async def test_a_paused_container_goes_on_without_counting_as_a_restart() -> None:
    async with running() as stage:
        await stage.want(replica())
        stage.runtime.pause_by_hand(stage.runtime.running()[0].id)
        await stage.settle()
        shown = stage.instance()
        assert (shown.state, shown.restart_count) == ("running", 0)
        assert stage.reasons("drift") == ["its container was paused from outside fledx"]


async def test_repairs_are_damped_when_somebody_insists() -> None:
    """Fault 16, again and again."""
    async with running() as stage:
        await stage.want(replica())
        removals = 0
        for _ in range(240):
            for container in stage.runtime.running():
                stage.runtime.remove_by_hand(container.id)
                removals += 1
            await stage.wait(0.5)
        assert removals <= 8


async def test_what_ended_while_docker_was_away_is_started_again_and_not_counted() -> None:
    async with running() as stage:
        await stage.want(replica(0), replica(1))
        ids = {each.id for each in stage.runtime.running()}
        stage.runtime.go_away()
        await stage.wait(5)
        assert stage.instance().state == "unknown"
        assert stage.instance().message == "Docker at fake does not answer"
        stage.runtime.come_back()
        await stage.wait(3)
        assert {each.id for each in stage.runtime.running()} == ids
        assert stage.reasons("crash") == []
        assert stage.reasons("runtime") == ["Docker at fake does not answer", "fake 1.0 answers again"]


async def test_containers_that_outlive_docker_are_left_alone() -> None:
    """Fault 15, live-restore."""
    async with running() as stage:
        await stage.want(replica())
        stage.runtime.go_away(ending=False)
        await stage.wait(60)
        stage.runtime.done.clear()
        stage.runtime.come_back()
        await stage.wait(5)
        assert stage.runtime.done == []
        assert (stage.instance().state, stage.instance().restart_count) == ("running", 0)


async def test_an_unhealthy_container_is_ended_and_followed_by_another() -> None:
    async with running() as stage:
        await stage.want(replica())
        sick = stage.runtime.running()[0].id
        stage.loop.unhealthy(("d-web", 0), sick, "liveness: http 503, 3 times in a row")
        await stage.wait(2)
        assert sick not in [each.id for each in stage.runtime.running()]
        assert stage.instance().restart_count == 1
        assert stage.reasons("unhealthy") == ["liveness: http 503, 3 times in a row"]
        assert stage.reasons("restart") == ["liveness: http 503, 3 times in a row"]


async def test_a_job_that_may_not_restart_is_ended_when_unhealthy_and_stays_failed() -> None:
    async with running() as stage:
        await stage.want(replica(restart="never"))
        stage.loop.unhealthy(("d-web", 0), stage.runtime.running()[0].id, "liveness: tcp refused")
        await stage.wait(10)
        assert stage.runtime.running() == []
        assert (stage.instance().state, stage.instance().message) == ("failed", "liveness: tcp refused")


async def test_a_rate_limited_registry_is_left_in_peace() -> None:
    async with running() as stage:
        stage.runtime.registry["big:1"] = PullFailed("rate_limited", "image big:1: rate limit")
        await stage.want(replica(image="big:1"))
        await stage.wait(290)
        assert stage.runtime.done.count("pull big:1") == 1


async def test_failed_pulls_do_not_become_a_storm() -> None:
    async with running() as stage:
        stage.runtime.registry["big:1"] = PullFailed("unreachable", "image big:1: the registry cannot be reached")
        await stage.want(*(replica(number, image="big:1") for number in range(10)))
        await stage.wait(600)
        assert stage.runtime.done.count("pull big:1") <= 10


async def test_stopping_the_agent_leaves_everything_running() -> None:
    stage = Stage()
    async with running(stage):
        await stage.want(replica(0), replica(1))
    assert len(stage.runtime.running()) == 2
    with anyio.fail_after(1):
        assert not any(each.startswith("stop") for each in stage.runtime.done)


async def test_a_revision_that_comes_back_begins_its_count_anew_though_its_old_container_still_lies_there() -> None:
    """Or the count would rise when the way back is noted as done, and the rollout take a healthy replica for dead."""
    async with running() as stage:
        await stage.want(replica(image="app:1"))
        await stage.want(replica(image="app:2", revision=2))
        assert ["exited", "running"] == sorted(each.state for each in stage.runtime.all())
        await stage.want(replica(image="app:1", revision=3))
        assert ["app:1"] == [each.image for each in stage.runtime.running()]
        assert 0 == stage.instance().restart_count


async def test_a_count_goes_on_when_another_revision_was_wanted_only_for_a_moment() -> None:
    async with running() as stage:
        await stage.want(replica(image="app:1"))
        stage.runtime.exit(stage.runtime.running()[0].id, 1)
        await stage.wait(2)
        assert 1 == stage.instance().restart_count
        stage.runtime.gates["big:1"] = anyio.Event()
        stage.runtime.registry["big:1"] = None
        await stage.want(replica(image="big:1", revision=2))
        await stage.want(replica(image="app:1", revision=3))
        assert ("running", 1) == (stage.instance().state, stage.instance().restart_count)


async def test_a_run_counts_from_when_it_is_seen_however_late_the_engine_says_that_it_began() -> None:
    async with running() as stage:
        answered = await _restarted_without_an_answer(stage)
        assert ("running", 1) == (stage.instance().state, stage.instance().restart_count)
        answered.set()
        await stage.wait(40)
        assert ("running", 1) == (stage.instance().state, stage.instance().restart_count)


async def test_a_run_that_ends_before_the_engine_has_answered_takes_nothing_from_the_count() -> None:
    async with running() as stage:
        answered = await _restarted_without_an_answer(stage)
        stage.runtime.exit(stage.runtime.running()[0].id, 1)
        await stage.settle()
        assert 1 == stage.instance().restart_count
        answered.set()
        del stage.runtime.start_gates["app:1"]
        await stage.wait(40)
        assert ("running", 2) == (stage.instance().state, stage.instance().restart_count)


async def test_a_run_counts_though_the_engine_could_not_say_what_it_had_started() -> None:
    async with running() as stage:
        answered = await _restarted_without_an_answer(stage)
        stage.runtime.down = True
        answered.set()
        await stage.settle()
        stage.runtime.down = False
        await stage.wait(40)
        assert ("running", 1) == (stage.instance().state, stage.instance().restart_count)
        assert "adopt" in stage.kinds()


async def test_a_paused_container_that_goes_on_has_not_run_once_more() -> None:
    stage = Stage()
    await stage.made(replica(), state="paused")
    async with running(stage):
        stage.runtime.resume_gate = resumed = anyio.Event()
        await stage.want(replica())
        assert ("running", 0) == (stage.instance().state, stage.instance().restart_count)
        resumed.set()
        await stage.settle()
        assert ("running", 0) == (stage.instance().state, stage.instance().restart_count)


async def test_a_crash_loop_that_is_come_back_to_goes_on_where_it_was_for_a_new_agent_as_well() -> None:
    stage = Stage()
    await stage.made(replica(image="app:1"), state="exited", restarts=3)
    async with running(stage):
        stage.runtime.registry["big:1"] = None
        stage.runtime.gates["big:1"] = anyio.Event()
        await stage.want(replica(image="big:1", revision=2))
        await stage.want(replica(image="app:1", revision=3))
        assert ("running", 4) == (stage.instance().state, stage.instance().restart_count)


async def test_a_code_that_is_no_signals_is_told_as_the_code_that_it_is() -> None:
    async with running() as stage:
        await stage.want(replica(restart="never"))
        stage.runtime.exit(stage.runtime.running()[0].id, 255)
        await stage.settle()
        assert "exited with code 255" in (stage.instance().message or "")
