"""A simulated fleet for rollouts: replicas whose containers behave as their revision does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fledx.control_plane.rollout.decisions import Advance, Decision, Step
from fledx.control_plane.rollout.replica import Replica
from fledx.control_plane.rollout.state import PROGRESSING, RolloutState
from fledx.control_plane.rollout.step import next_step
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
    told_at: float = 0.0
    message: str | None = None
    present_since: float | None = -1000.0


@dataclass
class Fleet:
    """
    Replicas whose containers behave as their revision does; the second is the unit of time.

    An agent needs ``lag`` seconds to replace a container; until then the old one serves.
    """

    kinds: Mapping[int, str]
    policy: UpdatePolicy
    slots: list[Slot]
    now: float = 0.0
    took: set[int] = field(default_factory=set)
    seen: list[Decision] = field(default_factory=list)
    lows: int = 0
    lag: int = 1

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
            told = self.now - slot.told_at >= self.lag
            if slot.runs != slot.revision and slot.present_since is not None and told:
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
                slot.revision, slot.told_at = decision.to_revision, self.now
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
