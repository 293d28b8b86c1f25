"""Start-first: extra replicas make room, who serves is withdrawn before it goes, and in the end nobody is left over."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from fledx.control_plane.rollout.decisions import Advance, Rejoin, Release, Step, Surge, Withdraw
from fledx.control_plane.rollout.replica import serves
from fledx.control_plane.rollout.state import COMPLETE, PAUSED, PROGRESSING, ROLLED_BACK, RolloutState, begin
from fledx.control_plane.rollout.surge import LEAVING_SECONDS, surging_step
from fledx.models.deployment import UpdatePolicy
from tests.unit.control_plane.rollout_fleet import CRASHES, DIES, GOOD, NEVER_READY, Fleet, Slot
from tests.unit.control_plane.test_rollout import after

START_FIRST = UpdatePolicy(max_unavailable=0, max_surge=1)


class Surging:
    """The simulated fleet, with extra replicas; `room` is how many of them find a place."""

    def __init__(self, count: int, kinds: dict[int, str], policy: UpdatePolicy = START_FIRST, room: int = 9) -> None:
        self.fleet = Fleet.of(count, kinds, policy)
        self.count, self.room = count, room
        self.leaving: dict[int, float] = {}
        self.least = count
        self.most = count
        self.seen: list[object] = []

    def offered(self) -> int:
        """How many serve and are not withdrawn."""
        return sum(serves(one) and one.number not in self.leaving for one in self.fleet.replicas())

    def step(self, state: RolloutState) -> RolloutState:
        self.fleet.tick()
        replicas = [
            type(one)(**{**vars(one), "leaving_since": self.leaving.get(one.number)}) for one in self.fleet.replicas()
        ]
        step = surging_step(state, self.fleet.policy, replicas, self.fleet.now, wanted=self.count)
        state = self._do(step)
        self.least = min(self.least, self.offered())
        self.most = max(self.most, len(self.fleet.slots))
        return state

    def _do(self, step: Step) -> RolloutState:
        state = step.state
        self.seen += step.decisions
        for each in step.decisions:
            assert each.reason
            slots = {slot.number: slot for slot in self.fleet.slots}
            if isinstance(each, Surge):
                assert each.replica_number not in slots
                if len(slots) - self.count >= self.room:
                    state = type(state)(**{**vars(state), "no_surge": "no room"})
                else:
                    number, now = each.replica_number, self.fleet.now
                    self.fleet.slots.append(Slot(number, state.revision, f"edge-{number}", 0, told_at=now))
            elif isinstance(each, Withdraw):
                self.leaving[each.replica_number] = self.fleet.now
            elif isinstance(each, Rejoin):
                del self.leaving[each.replica_number]
            elif isinstance(each, Release):
                self.fleet.slots.remove(slots[each.replica_number])
                self.leaving.pop(each.replica_number, None)
            elif isinstance(each, Advance):
                slot = slots[each.replica_number]
                if slot.ready_since is not None and slot.runs == slot.revision:
                    assert self.fleet.now - self.leaving[slot.number] >= LEAVING_SECONDS, "taken down unannounced"
                slot.revision, slot.told_at = each.to_revision, self.fleet.now
        return state

    def run(self, state: RolloutState, seconds: int = 3000) -> RolloutState:
        for _ in range(seconds):
            state = self.step(state)
            left = len(self.fleet.slots) > self.count or bool(self.leaving)
            if state.phase != PROGRESSING and not left:
                return state
        return state


def test_six_replicas_are_updated_and_never_fewer_than_six_are_offered() -> None:
    site = Surging(6, {})
    state = site.run(begin(after(1), 2, 0))
    assert (COMPLETE, [2] * 6) == (state.phase, site.fleet.revisions())
    assert (6, 7) == (site.least, site.most)


def test_as_many_extras_as_are_allowed() -> None:
    site = Surging(6, {}, UpdatePolicy(max_unavailable=0, max_surge=3))
    site.run(begin(after(1), 2, 0))
    assert (6, 9) == (site.least, site.most)


def test_a_bad_revision_is_tried_on_the_extra_replica_alone() -> None:
    for kind in (CRASHES, NEVER_READY, DIES):
        site = Surging(3, {2: kind}, UpdatePolicy(max_unavailable=0, max_surge=1, min_healthy_seconds=30))
        state = site.run(begin(after(1), 2, 0))
        assert (ROLLED_BACK, [1] * 3) == (state.phase, site.fleet.revisions())
        assert not [each for each in site.seen if isinstance(each, Advance)]
        assert 3 == site.least


def test_where_there_is_no_room_for_an_extra_the_rollout_goes_on_one_at_a_time() -> None:
    site = Surging(3, {}, room=0)
    state = site.run(begin(after(1), 2, 0))
    assert (COMPLETE, [2] * 3, 2) == (state.phase, site.fleet.revisions(), site.least)


def test_an_update_in_the_middle_of_an_update_keeps_the_number() -> None:
    site = Surging(4, {})
    state = begin(after(1), 2, 0)
    for _ in range(12):
        state = site.step(state)
    state = site.run(begin(state, 3, site.fleet.now))
    assert (COMPLETE, [3] * 4) == (state.phase, site.fleet.revisions())
    assert site.least >= 3


def test_a_drain_with_no_replica_to_spare_makes_one_first() -> None:
    site = Surging(2, {})
    replicas = site.fleet.replicas()
    marked = [type(one)(**{**vars(one), "leave": "drained"}) if one.number == 0 else one for one in replicas]
    step = surging_step(after(1), START_FIRST, marked, 1, wanted=2)
    assert [Surge] == [type(each) for each in step.decisions]


@settings(max_examples=100, deadline=None)
@given(
    count=st.integers(1, 6),
    kind=st.sampled_from([GOOD, GOOD, CRASHES, NEVER_READY, DIES]),
    policy=st.builds(
        UpdatePolicy,
        max_unavailable=st.integers(0, 2),
        max_surge=st.integers(1, 3),
        on_failure=st.sampled_from(["rollback", "pause"]),
    ),
    room=st.integers(0, 3),
    lag=st.integers(0, 6),
    seed=st.integers(0, 10_000),
)
def test_whatever_happens_enough_are_offered_and_no_extra_is_left(
    count: int, kind: str, policy: UpdatePolicy, room: int, lag: int, seed: int
) -> None:
    site, dice = Surging(count, {2: kind}, policy, room), Random(seed)
    site.fleet.lag = lag
    state = begin(after(1), 2, 0)
    if dice.random() < 0.3 and kind == GOOD:
        for _ in range(dice.randrange(30)):
            state = site.step(state)
        state = begin(state, 3, site.fleet.now)
    state = site.run(state)
    assert state.phase in (COMPLETE, ROLLED_BACK, PAUSED)
    assert (len(site.fleet.slots), site.leaving) == (count, {})
    if kind == GOOD:
        assert {state.revision} == set(site.fleet.revisions())
        least = count - max(policy.max_unavailable, 1 if room < policy.max_surge else 0)
        assert site.least >= least - (1 if state.revision == 3 else 0)


def test_an_extra_on_a_node_that_stays_away_makes_no_room() -> None:
    site = Surging(2, {}, UpdatePolicy(max_unavailable=0, max_surge=1, progress_deadline_seconds=10))
    state = begin(after(1), 2, 0)
    for _ in range(40):
        state = site.step(state)
        for slot in site.fleet.slots[2:]:
            slot.present_since = None
    assert (2, [1, 1, 2]) == (site.least, site.fleet.revisions())
