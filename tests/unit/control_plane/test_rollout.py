"""Rollouts: one revision after the other, never more down than allowed, one way back and no second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fledx.control_plane.rollout import (
    COMPLETE,
    FAILED,
    PAUSED,
    PROGRESSING,
    ROLLED_BACK,
    Advance,
    Complete,
    Decision,
    Pause,
    Replica,
    RollBack,
    RolloutState,
    Step,
    Wait,
    begin,
    next_step,
    shown,
)
from fledx.models.codec import decode_lenient, encode
from fledx.models.deployment import UpdatePolicy
from fledx.models.instance import Instance

GOOD, CRASHES, NEVER_READY, DIES = "good", "crashes", "never ready", "dies after 20 s"
OLD_STAMP = "2026-01-01T00:00:00.000Z"


@dataclass
class Slot:
    """One replica in the simulated fleet: what it was told to run, and the container that its agent runs for it."""

    number: int
    revision: int
    node: str = ""
    runs: int = 0
    made_at: float = -1000.0
    restarts: int = 0
    back_at: float | None = None
    ready_since: float | None = None
    message: str | None = None
    present_since: float | None = -1000.0


@dataclass
class Fleet:
    """Replicas whose containers behave as their revision does; the second is the unit of time."""

    kinds: Mapping[int, str]
    policy: UpdatePolicy
    slots: list[Slot]
    now: float = 0.0
    took: set[int] = field(default_factory=set)
    seen: list[Decision] = field(default_factory=list)
    lows: int = 0

    @classmethod
    def of(cls, count: int, kinds: Mapping[int, str], policy: UpdatePolicy | None = None, revision: int = 1) -> Fleet:
        """So many replicas that have long run a revision."""
        slots = [Slot(i, revision, f"edge-{i}", revision, ready_since=-1000.0) for i in range(count)]
        return cls(kinds, policy or UpdatePolicy(), slots)

    def replicas(self) -> list[Replica]:
        """As the control plane sees them."""
        return [self._replica(slot) for slot in self.slots]

    def _replica(self, slot: Slot) -> Replica:
        ready = slot.ready_since is not None
        seen = Instance(
            deployment_id="d",
            replica_number=slot.number,
            node_id=slot.node,
            state="failed" if slot.back_at is not None else "running",
            ready=ready,
            message=slot.message,
            restart_count=slot.restarts,
            template=f"t{slot.runs}",
            fence=1,
            last_updated=OLD_STAMP,
        )
        return Replica(
            number=slot.number,
            node=slot.node,
            revision=slot.revision,
            fence=1,
            template=f"t{slot.revision}",
            present_since=slot.present_since,
            seen=seen,
            ready_since=slot.ready_since,
        )

    def tick(self) -> None:
        """A second passes."""
        self.now += 1
        for slot in self.slots:
            if slot.runs != slot.revision and slot.present_since is not None:
                slot.runs, slot.made_at, slot.restarts = slot.revision, self.now, 0
                slot.back_at = slot.ready_since = slot.message = None
            self._live(slot)
        self.took -= {slot.number for slot in self.slots if slot.runs == slot.revision and slot.ready_since is not None}

    def _live(self, slot: Slot) -> None:
        kind, age = self.kinds.get(slot.runs, GOOD), self.now - slot.made_at
        if slot.back_at is not None:
            if self.now >= slot.back_at:
                slot.back_at, slot.made_at, slot.restarts = None, self.now, slot.restarts + 1
            return
        if (kind == CRASHES and age >= 1) or (kind == DIES and age >= 20):
            slot.back_at, slot.ready_since = self.now + 2 ** min(slot.restarts, 5), None
            slot.message = f"exited with code 1\nlast line of revision {slot.runs}"
        elif kind in (GOOD, DIES) and age >= 2 and slot.ready_since is None:
            slot.ready_since = self.now

    def do(self, step: Step) -> None:
        """Carry out what was decided, and check that it was allowed."""
        assert all(decision.reason for decision in step.decisions)
        self.seen += step.decisions
        for decision in step.decisions:
            if isinstance(decision, Advance):
                slot = self.slots[decision.replica_number]
                assert slot.present_since is not None, "moved although its node is away"
                assert slot.revision != decision.to_revision
                if slot.ready_since is not None and slot.runs == slot.revision:
                    self.took.add(slot.number)
                slot.revision = decision.to_revision
        self.lows = max(self.lows, len(self.took))

    def run(self, state: RolloutState, *, seconds: int = 2000) -> RolloutState:
        """Until the rollout is over."""
        for _ in range(seconds):
            self.tick()
            state = self.step(state)
            if state.phase != PROGRESSING:
                break
        return state

    def step(self, state: RolloutState) -> RolloutState:
        """One look, and what follows from it."""
        step = next_step(state, self.policy, self.replicas(), self.now, wanted=len(self.slots))
        self.do(step)
        return step.state

    def told(self, kind: type[Decision]) -> list[str]:
        """The reasons of all decisions of a kind."""
        return [decision.reason for decision in self.seen if isinstance(decision, kind)]

    def revisions(self) -> list[int]:
        return [slot.revision for slot in self.slots]


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
    while state.phase == PROGRESSING:
        fleet.tick()
        state = fleet.step(state)
        assert state == decode_lenient(RolloutState, encode(state))
    assert ROLLED_BACK == state.phase


def test_each_replica_is_ready_for_the_least_time_before_the_next_follows() -> None:
    fleet = Fleet.of(2, {}, UpdatePolicy(min_healthy_seconds=30))
    state, moved = begin(after(1), 2, 0), []
    while state.phase == PROGRESSING:
        fleet.tick()
        before = fleet.revisions()
        state = fleet.step(state)
        moved += [fleet.now] if fleet.revisions() != before else []
    assert moved[1] - moved[0] >= 30


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


def test_who_asked_for_a_pause_gets_one() -> None:
    fleet = Fleet.of(3, {2: CRASHES}, UpdatePolicy(on_failure="pause"))
    state = update(fleet)
    assert (PAUSED, [2, 1, 1]) == (state.phase, fleet.revisions())
    assert state.reason == fleet.told(Pause)[0]
    again = next_step(state, fleet.policy, fleet.replicas(), fleet.now, wanted=3)
    assert (state, (Wait(reason=state.reason or ""),)) == (again.state, again.decisions)


def test_a_way_back_that_is_broken_too_stops_and_keeps_what_serves() -> None:
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


def test_replicas_on_nodes_that_are_away_are_counted_apart_and_follow() -> None:
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


def test_a_node_that_goes_away_in_the_middle_keeps_its_share_of_the_budget_until_the_deadline() -> None:
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
    while state.phase == PROGRESSING and not fleet.told(RollBack):
        fleet.tick()
        fleet.slots[0].message = "exited with code 1 " + "x" * 1900 + " the last line"
        state = fleet.step(state)
    reason = fleet.told(RollBack)[0]
    assert len(reason) < 1200
    assert "exited with code 1 x" in reason
    assert reason.endswith("the last line")


def test_a_rollout_is_shown_as_the_api_shows_it() -> None:
    found = shown(replace(after(2), reason="revision 3 failed"), 4)
    assert (COMPLETE, 2, 0, 4, "revision 3 failed") == (
        found.state,
        found.revision,
        found.updated,
        found.wanted,
        found.reason,
    )


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
)
def test_whatever_happens_the_budget_is_kept_and_the_end_is_reached(
    count: int, first: str, second: str, most: int, healthy: float, on_failure: str, seed: int
) -> None:
    """Nodes go away and come back for a while; then every replica must agree with what was decided."""
    dice = Random(seed)
    policy = UpdatePolicy(max_unavailable=most, min_healthy_seconds=healthy, on_failure=on_failure)
    fleet = Fleet.of(count, {1: GOOD, 2: second}, policy)
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
