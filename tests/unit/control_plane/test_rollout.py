"""Rollouts: one revision after the other, never more down than allowed, one way back and no second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fledx.control_plane.rollout.decisions import Advance, Complete, Pause, RollBack, Wait
from fledx.control_plane.rollout.state import COMPLETE, FAILED, PAUSED, PROGRESSING, ROLLED_BACK, RolloutState, begin
from fledx.control_plane.rollout.step import next_step
from fledx.models.codec import decode_lenient, encode
from fledx.models.deployment import UpdatePolicy
from tests.unit.control_plane.rollout_fleet import CRASHES, DIES, GOOD, NEVER_READY, Fleet


def after(revision: int) -> RolloutState:
    """That revision was complete."""
    return RolloutState(revision=revision, previous=None, phase=COMPLETE, started_at=0, progressed_at=0)


def update(fleet: Fleet, revision: int = 2) -> RolloutState:
    """Roll out the next revision, after the first was complete."""
    return fleet.run(begin(after(1), revision, fleet.now))


def test_a_good_revision_replaces_the_old_one_replica_by_replica() -> None:
    fleet = Fleet.of(6, {})
    state = update(fleet)
    assert (COMPLETE, [2] * 6) == (state.phase, fleet.revisions())
    assert 1 == fleet.lows
    assert list(range(6)) == [one.replica_number for one in fleet.seen if isinstance(one, Advance)]
    assert ["6 of 6 replicas run revision 2"] == fleet.told(Complete)


def test_the_state_can_be_stored_and_read_at_any_moment() -> None:
    fleet = Fleet.of(2, {2: DIES})
    state = begin(after(1), 2, 0)
    for _ in range(100):
        fleet.tick()
        state = fleet.step(state)
        assert state == decode_lenient(RolloutState, encode(state))
    assert ROLLED_BACK == state.phase


def test_each_replica_is_ready_for_the_least_time_before_the_next_follows() -> None:
    fleet = Fleet.of(2, {}, UpdatePolicy(min_healthy_seconds=30))
    state, moved = begin(after(1), 2, 0), []
    for _ in range(100):
        fleet.tick()
        before = fleet.revisions()
        state = fleet.step(state)
        moved += [fleet.now] if fleet.revisions() != before else []
    assert moved[1] - moved[0] >= 30


def test_a_replica_that_is_ready_but_not_for_long_is_told_as_what_is_waited_for() -> None:
    fleet = Fleet.of(1, {}, UpdatePolicy(min_healthy_seconds=30))
    update(fleet)
    assert "waiting for replica 0 on edge-0, ready for less than 30 s" in " ".join(fleet.told(Wait))


def test_an_old_container_that_still_serves_does_not_count_as_the_new_one() -> None:
    fleet = Fleet.of(3, {})
    fleet.lag = 10
    assert COMPLETE == update(fleet).phase
    assert 1 == fleet.lows


def test_as_many_at_once_as_may_be_unavailable() -> None:
    fleet = Fleet.of(10, {}, UpdatePolicy(max_unavailable=4))
    assert COMPLETE == update(fleet).phase
    assert 4 == fleet.lows


def test_a_revision_is_watched_before_it_is_trusted() -> None:
    fleet = Fleet.of(1, {})
    state = update(fleet)
    assert (COMPLETE, True) == (state.phase, fleet.now >= 35)
    assert "watched until one has been ready for 35 s" in " ".join(fleet.told(Wait))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (CRASHES, "crashed 3 times: exited with code 1\nlast line of revision 2"),
        (DIES, "died after it had been ready: exited with code 1\nlast line of revision 2"),
        (NEVER_READY, "has not been ready for 300 s"),
    ],
)
def test_a_bad_revision_is_rolled_back_by_itself_and_says_why(kind: str, words: str) -> None:
    fleet = Fleet.of(6, {2: kind})
    state = update(fleet)
    assert (ROLLED_BACK, [1] * 6) == (state.phase, fleet.revisions())
    assert all(slot.ready_since is not None for slot in fleet.slots)
    (reason,) = fleet.told(RollBack)
    assert f"revision 2 failed: replica 0 on edge-0 {words}" == reason == state.reason
    assert 1 == fleet.lows


def test_a_revision_that_never_comes_up_touches_no_more_than_the_first_batch() -> None:
    for kind in (CRASHES, NEVER_READY):
        fleet = Fleet.of(6, {2: kind}, UpdatePolicy(max_unavailable=2))
        update(fleet)
        moved = {one.replica_number for one in fleet.seen if isinstance(one, Advance) and one.to_revision == 2}
        assert {0, 1} == moved


def test_a_single_replica_that_dies_after_twenty_seconds_is_found_out() -> None:
    fleet = Fleet.of(1, {2: DIES})
    assert ROLLED_BACK == update(fleet).phase


def pulled(fleet: Fleet, percent: Callable[[float], int]) -> RolloutState:
    """Roll revision 2 out to nodes whose image takes 1,000 s to arrive."""
    fleet.lag, state = 1000, begin(None, 2, fleet.now, served=1)
    while state.phase == PROGRESSING and fleet.now < 5000:
        fleet.tick()
        for slot in fleet.slots:
            text = f"pulling shop:2: {percent(fleet.now)} % of 900 MB, 1 of 3 layers"
            slot.message = text if slot.runs != slot.revision else None
        state = fleet.step(state)
    return state


def test_an_image_that_arrives_slowly_is_no_fault_of_its_revision_but_one_that_stands_still_is() -> None:
    slow, stuck, again = (Fleet.of(1, {}) for _ in range(3))

    assert pulled(slow, lambda now: int(now / 10)).phase == COMPLETE
    assert pulled(stuck, lambda now: min(30, int(now))).phase == ROLLED_BACK
    assert pulled(again, lambda now: int(now) % 3).phase == ROLLED_BACK
    assert "pulling shop:2: 30 % of 900 MB" in stuck.told(RollBack)[0]


def test_who_asked_for_a_pause_gets_one() -> None:
    fleet = Fleet.of(3, {2: CRASHES}, UpdatePolicy(on_failure="pause"))
    state = update(fleet)
    assert (PAUSED, [2, 1, 1]) == (state.phase, fleet.revisions())
    assert state.reason == fleet.told(Pause)[0]
    again = next_step(state, fleet.policy, fleet.replicas(), fleet.now, wanted=3)
    assert (state, (Wait(reason=state.reason or ""),)) == (again.state, again.decisions)


def test_fault_33_a_way_back_that_is_broken_too_stops_and_keeps_what_serves() -> None:
    fleet = Fleet.of(3, {2: CRASHES})
    fleet.kinds = {1: CRASHES, 2: CRASHES}
    for slot in fleet.slots[1:]:
        slot.made_at = 1e9  # these two live on
    state = update(fleet)
    assert FAILED == state.phase
    assert 1 == len(fleet.told(RollBack))
    assert state.reason
    assert state.reason.startswith("revision 1, which was gone back to, fails as well: replica 0 on edge-0 crashed")
    assert [False, True, True] == [slot.ready_since is not None for slot in fleet.slots]


def test_a_first_revision_has_no_way_back_and_is_waited_for() -> None:
    fleet = Fleet.of(2, {1: NEVER_READY})
    for slot in fleet.slots:
        slot.runs = 0
    state = fleet.run(begin(None, 1, 0), seconds=1000)
    assert PROGRESSING == state.phase
    assert {Wait} == {type(one) for one in fleet.seen}
    fleet.kinds = {}
    assert COMPLETE == fleet.run(state).phase


def test_a_second_revision_after_a_first_that_never_worked_pauses_when_it_fails() -> None:
    fleet = Fleet.of(2, {1: CRASHES, 2: CRASHES})
    state = fleet.run(begin(begin(None, 1, 0), 2, 0))
    assert (PAUSED, None) == (state.phase, state.previous)


def test_a_repair_reaches_replicas_that_do_not_serve_first() -> None:
    fleet = Fleet.of(4, {1: CRASHES})
    fleet.slots[0].made_at = fleet.slots[1].made_at = 1e9
    for _ in range(5):
        fleet.tick()
    assert COMPLETE == update(fleet).phase
    moved = [one for one in fleet.seen if isinstance(one, Advance)]
    assert [2, 3, 0, 1] == [one.replica_number for one in moved]
    assert "it does not serve as it is" == moved[0].reason


def test_a_repair_is_tried_with_a_few_before_it_is_given_to_all() -> None:
    fleet = Fleet.of(6, {1: CRASHES, 2: NEVER_READY}, UpdatePolicy(max_unavailable=2))
    for _ in range(5):
        fleet.tick()
    fleet.run(begin(after(1), 2, fleet.now), seconds=200)
    assert [2, 2, 1, 1, 1, 1] == fleet.revisions()


def test_fault_36_replicas_on_nodes_that_are_away_are_counted_apart_and_follow() -> None:
    fleet = Fleet.of(4, {})
    fleet.slots[1].present_since = None
    state = update(fleet)
    assert (COMPLETE, [2, 1, 2, 2]) == (state.phase, fleet.revisions())
    assert ["3 of 4 replicas run revision 2; 1 on nodes that are away"] == fleet.told(Complete)
    fleet.slots[1].present_since = fleet.now
    for _ in range(20):
        fleet.tick()
        state = fleet.step(state)
    assert (COMPLETE, [2] * 4) == (state.phase, fleet.revisions())
    assert 1 == len(fleet.told(Complete))


def test_while_every_node_is_away_nothing_happens_and_no_time_runs_out() -> None:
    fleet = Fleet.of(2, {})
    for slot in fleet.slots:
        slot.present_since = None
    state = fleet.run(begin(after(1), 2, 0), seconds=1000)
    assert (PROGRESSING, [1, 1]) == (state.phase, fleet.revisions())
    for slot in fleet.slots:
        slot.present_since = fleet.now
    assert COMPLETE == fleet.run(state).phase


def test_fault_36_a_node_that_goes_away_in_the_middle_keeps_its_share_of_the_budget_until_the_deadline() -> None:
    fleet = Fleet.of(3, {}, UpdatePolicy(progress_deadline_seconds=60))
    state = begin(after(1), 2, 0)
    fleet.tick()
    state = fleet.step(state)
    assert [2, 1, 1] == fleet.revisions()
    fleet.slots[0].present_since = None
    for _ in range(59):
        fleet.tick()
        state = fleet.step(state)
    assert [2, 1, 1] == fleet.revisions()
    assert COMPLETE == fleet.run(state).phase
    assert not fleet.told(RollBack)


def test_a_replica_that_went_away_in_the_middle_keeps_its_share_when_the_rest_is_complete() -> None:
    fleet = Fleet.of(3, {}, UpdatePolicy(progress_deadline_seconds=60))
    fleet.slots[2].present_since = None
    state = begin(after(1), 2, 0)
    while fleet.revisions() != [2, 2, 1]:
        fleet.tick()
        state = fleet.step(state)
    fleet.slots[1].present_since = None
    state = fleet.run(state)
    assert (COMPLETE, [2, 2, 1]) == (state.phase, fleet.revisions())
    fleet.slots[2].present_since = fleet.now
    fleet.tick()
    state = fleet.step(state)
    assert [2, 2, 1] == fleet.revisions()
    assert [1] == [one.number for one in state.unready]


def test_a_control_plane_that_was_away_lets_no_deadline_run_out() -> None:
    fleet = Fleet.of(3, {})
    state = begin(after(1), 2, 0)
    for _ in range(3):
        fleet.tick()
        state = fleet.step(state)
    fleet.now += 10_000
    for slot in fleet.slots:
        slot.present_since = fleet.now
    assert COMPLETE == fleet.run(state).phase


def test_a_crash_or_two_while_starting_is_forgiven() -> None:
    fleet = Fleet.of(2, {2: CRASHES})
    state = begin(after(1), 2, 0)
    for _ in range(4):
        fleet.tick()
        state = fleet.step(state)
    assert fleet.slots[0].restarts in (1, 2)
    fleet.kinds = {}
    assert COMPLETE == fleet.run(state).phase


def test_restarts_from_before_the_rollout_are_not_held_against_it() -> None:
    """The container may stay the same, as when only the health check changes."""
    fleet = Fleet.of(2, {})
    for slot in fleet.slots:
        slot.restarts = 50
    state = begin(after(1), 2, 0)
    first = next_step(state, fleet.policy, fleet.replicas(), 0, wanted=2)
    assert isinstance(first.decisions[0], Advance)
    kept = [replace(one, revision=2, template="t1") if one.number == 0 else one for one in fleet.replicas()]
    second = next_step(first.state, fleet.policy, kept, 1, wanted=2)
    assert isinstance(second.decisions[0], Wait)
    third = next_step(second.state, fleet.policy, kept, 4, wanted=2)
    assert [1] == [one.replica_number for one in third.decisions if isinstance(one, Advance)]


def test_a_container_that_ends_for_good_has_failed_at_once() -> None:
    fleet = Fleet.of(1, {2: CRASHES})
    state = begin(after(1), 2, 0)
    for _ in range(3):
        fleet.tick()
        step = next_step(state, fleet.policy, fleet.replicas(), fleet.now, wanted=1, restart="never")
        fleet.do(step)
        state = step.state
    assert [
        "revision 2 failed: replica 0 on edge-0 has ended and is not started again: exited with code 1\n"
        "last line of revision 2"
    ] == fleet.told(RollBack)


def test_replicas_that_are_never_ready_for_long_are_not_a_success() -> None:
    fleet = Fleet.of(1, {}, UpdatePolicy(progress_deadline_seconds=20))
    state = begin(after(1), 2, 0)
    for _ in range(200):
        fleet.tick()
        if fleet.slots[0].revision == 2 and fleet.now % 10 == 0:
            fleet.slots[0].ready_since = None
        state = fleet.step(state)
        if fleet.told(RollBack):
            break
    assert ["revision 2 failed: no replica has stayed ready for 35 s"] == fleet.told(RollBack)


def test_a_stopped_deployment_takes_the_new_revision_without_ceremony() -> None:
    fleet = Fleet.of(3, {})
    fleet.slots[2].present_since = None
    step = next_step(begin(after(1), 2, 0), fleet.policy, fleet.replicas(), 1, wanted=3, running=False)
    assert [Advance, Advance, Advance, Complete] == [type(one) for one in step.decisions]
    assert COMPLETE == step.state.phase


def test_an_update_in_the_middle_of_an_update_goes_back_to_the_last_that_was_complete() -> None:
    fleet = Fleet.of(3, {3: CRASHES})
    state = begin(after(1), 2, 0)
    fleet.tick()
    state = begin(fleet.step(state), 3, fleet.now)
    assert 1 == state.previous
    assert (ROLLED_BACK, [1] * 3) == (fleet.run(state).phase, fleet.revisions())
    assert 1 == begin(fleet.run(state), 4, 0).previous
    assert None is begin(replace(state, phase=FAILED), 4, 0).previous


def test_replicas_without_a_node_are_told_but_not_waited_for() -> None:
    fleet = Fleet.of(2, {}, revision=1)
    step = next_step(after(1), fleet.policy, fleet.replicas(), 0, wanted=3)
    assert () == step.decisions
    fresh = next_step(begin(None, 1, 0), fleet.policy, fleet.replicas(), 10, wanted=3)
    assert (Complete(reason="2 of 3 replicas run revision 1; 1 without a node"),) == fresh.decisions
    nobody = next_step(begin(None, 1, 0), fleet.policy, [], 10, wanted=3)
    assert (Wait(reason="0 of 3 replicas run revision 1; 3 without a node"),) == nobody.decisions


def test_long_messages_are_cut_in_the_middle() -> None:
    fleet = Fleet.of(1, {2: CRASHES})
    state = begin(after(1), 2, 0)
    for _ in range(20):
        fleet.tick()
        fleet.slots[0].message = "exited with code 1 " + "x" * 1900 + " the last line"
        state = fleet.step(state)
    reason = fleet.told(RollBack)[0]
    assert len(reason) < 1200
    assert "exited with code 1 x" in reason
    assert reason.endswith("the last line")


KINDS = st.sampled_from([GOOD, GOOD, CRASHES, NEVER_READY, DIES])


@settings(max_examples=100, deadline=None)
@given(
    count=st.integers(1, 7),
    first=st.sampled_from([GOOD, GOOD, GOOD, CRASHES]),
    second=KINDS,
    most=st.integers(1, 3),
    healthy=st.sampled_from([0.0, 3.0, 12.0]),
    on_failure=st.sampled_from(["rollback", "pause"]),
    seed=st.integers(0, 10_000),
    lag=st.integers(0, 8),
)
@example(count=6, first=GOOD, second=GOOD, most=1, healthy=12.0, on_failure="rollback", seed=1, lag=6)
def test_whatever_happens_the_budget_is_kept_and_the_end_is_reached(
    count: int, first: str, second: str, most: int, healthy: float, on_failure: str, seed: int, lag: int
) -> None:
    """Nodes go away and come back for a while; then every replica must agree with what was decided."""
    dice = Random(seed)
    policy = UpdatePolicy(max_unavailable=most, min_healthy_seconds=healthy, on_failure=on_failure)
    fleet = Fleet.of(count, {1: GOOD, 2: second}, policy)
    fleet.lag = lag
    state = begin(after(1), 2, 0)
    if first != GOOD:
        fleet.kinds = {1: first, 2: second}
    while fleet.now < 200 or (state.phase == PROGRESSING and fleet.now < 2500):
        for slot in fleet.slots:
            away = slot.present_since is None
            if fleet.now < 100 and dice.random() < (0.1 if away else 0.01):
                slot.present_since = fleet.now if away else None
            elif fleet.now == 100 and away:
                slot.present_since = fleet.now
        fleet.tick()
        state = fleet.step(state)
        assert len(fleet.took) <= most, "more down by our doing than allowed"
    backs = fleet.told(RollBack)
    assert len(backs) <= 1
    assert state.phase != PROGRESSING, fleet.seen[-1]
    if state.phase in (COMPLETE, ROLLED_BACK):
        assert {state.revision} == set(fleet.revisions())
        assert bool(backs) is (state.phase == ROLLED_BACK)
    if second == GOOD:
        assert COMPLETE == state.phase
    elif first == GOOD and on_failure == "rollback" and second != GOOD:
        assert state.phase in (ROLLED_BACK, COMPLETE)
        assert state.phase == ROLLED_BACK or state.revision == 2


def test_a_replica_that_serves_only_just_is_missed_when_it_leaves_its_node() -> None:
    fleet = Fleet.of(2, {}, UpdatePolicy(min_healthy_seconds=30))
    fleet.slots[0].ready_since = 90.0
    marked = [replace(one, leave="drained") for one in fleet.replicas()]
    early = next_step(after(1), fleet.policy, marked, 100, wanted=2)
    assert [] == [one for one in early.decisions if not isinstance(one, Wait)]
    later = next_step(after(1), fleet.policy, marked, 130, wanted=2)
    assert ["Move"] == [type(one).__name__ for one in later.decisions]
