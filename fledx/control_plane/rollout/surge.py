"""
Rollouts that start the new before they stop the old: the steps of `step.py` with replicas beyond the wanted number.

Such an extra replica has a number of its own, from the wanted number on, so that every number still has one owner and
agents see nothing but replicas. While it serves, as many others may be down. Whoever is taken down has been withdrawn
before: it serves on, but is shown as leaving, so that nobody sends it anything new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fledx.control_plane.rollout.decisions import (
    Advance,
    Decision,
    Move,
    Pause,
    Rejoin,
    Release,
    RollBack,
    Step,
    Surge,
    Wait,
    Withdraw,
)
from fledx.control_plane.rollout.replica import Replica, serves
from fledx.control_plane.rollout.state import COMPLETE, FAILED, PAUSED, ROLLED_BACK, RolloutState
from fledx.control_plane.rollout.step import next_step
from fledx.models.deployment import UpdatePolicy

#: Between being shown as leaving and being stopped: a proxy or a client that watches has long heard of it by then.
LEAVING_SECONDS = 2.0


def surging_step(
    state: RolloutState,
    policy: UpdatePolicy,
    replicas: Sequence[Replica],
    now: float,
    *,
    wanted: int,
    running: bool = True,
    restart: str = "always",
) -> Step:
    """As `next_step`, with ``max_surge``; the same where that is 0 and nothing is left of another time."""
    extras = [one for one in replicas if one.number >= wanted]
    if not policy.max_surge and not extras and all(one.leaving_since is None for one in replicas):
        return next_step(state, policy, replicas, now, wanted=wanted, running=running, restart=restart)
    base = [one for one in replicas if one.number < wanted]
    if not running:
        step = next_step(state, policy, base, now, wanted=wanted, running=False, restart=restart)
        back = [Rejoin(replica_number=one.number, reason="all stop") for one in base if one.leaving_since is not None]
        return replace(step, decisions=(*step.decisions, *back, *_released(extras, "the deployment is stopped")))
    return _Surge(state, policy, base, extras, now, wanted=wanted).step(restart)


def _released(extras: Sequence[Replica], reason: str) -> list[Decision]:
    return [Release(replica_number=one.number, reason=reason) for one in extras]


class _Surge:
    """One look at the wanted replicas (`base`) and at the extra ones."""

    def __init__(
        self,
        state: RolloutState,
        policy: UpdatePolicy,
        base: Sequence[Replica],
        extras: Sequence[Replica],
        now: float,
        *,
        wanted: int,
    ) -> None:
        self.state, self.policy, self.base, self.now, self.wanted = state, policy, base, now, wanted
        self.over = state.phase in (PAUSED, FAILED)
        self.extras = [one for one in extras if one.revision == state.revision and not self.over and not one.leave]
        self.stale = [one for one in extras if one not in self.extras]
        here = [one for one in base if one.present_since is not None]
        self.work = [one for one in here if one.leave or (one.revision != state.revision and not self.over)]
        self.whole = all(serves(one) for one in here)

    def step(self, restart: str) -> Step:
        """What happens now."""
        allowed = replace(self.policy, max_unavailable=self._allowance())
        step = next_step(self.state, allowed, [*self.base, *self.extras], self.now, wanted=self.wanted, restart=restart)
        if any(isinstance(each, RollBack | Pause) for each in step.decisions):
            return replace(step, decisions=(*step.decisions, *self._rejoined(())))
        if step.state.phase in (COMPLETE, ROLLED_BACK) and self.extras and not self.work:
            return self._shrunk(replace(step, state=replace(step.state, phase=self.state.phase)))
        return self._gently(step)

    def _allowance(self) -> int:
        """
        How many may be down for `next_step`, which counts an extra that does not serve among them.

        Such a one on a node that went away is counted until the deadline. Where no extra could be placed at all, one
        at least may be down, or nothing would ever move.
        """
        limit = self.policy.progress_deadline_seconds
        counted = {one.number for one in self.state.unready if self.now - one.since <= limit}
        known = [one for one in self.extras if one.present_since is not None or one.number in counted]
        least = 1 if self.state.no_surge else 0
        return max(self.policy.max_unavailable + len(known), least)

    def _gently(self, step: Step) -> Step:
        """Nobody who serves is taken down before it was withdrawn for a while; who is not chosen any more rejoins."""
        chosen = [each.replica_number for each in step.decisions if isinstance(each, Advance | Move)]
        kept: list[Decision] = []
        for each in step.decisions:
            one = self._served(each)
            if one is None or self._has_left(one):
                kept.append(each)
            else:
                kept += self._withdrawn(one, each.reason)
        more = [*self._grown(), *self._rejoined(chosen), *self._stale()]
        early = {one.number for one in self.base if one.number in chosen and not self._has_left(one)}
        unready = tuple(one for one in step.state.unready if one.number not in early)
        decisions = tuple(sorted(kept, key=lambda each: isinstance(each, Wait)))
        if more:
            decisions = (*(each for each in decisions if not isinstance(each, Wait)), *more)
        return Step(state=replace(step.state, unready=unready), decisions=decisions)

    def _served(self, decision: Decision) -> Replica | None:
        """The wanted replica that a decision would take down while it serves."""
        if not isinstance(decision, Advance | Move):
            return None
        one = next((one for one in self.base if one.number == decision.replica_number), None)
        return one if one is not None and serves(one) and not one.leave_now else None

    def _has_left(self, one: Replica) -> bool:
        return one.leaving_since is not None and self.now - one.leaving_since >= LEAVING_SECONDS

    def _withdrawn(self, one: Replica, reason: str) -> list[Decision]:
        return [] if one.leaving_since is not None else [Withdraw(replica_number=one.number, reason=reason)]

    def _rejoined(self, chosen: Sequence[int]) -> list[Decision]:
        """
        Those that stay after all, and those whose new container serves.

        Until then a replica that was advanced is leaving: what is seen of it may still be the old container.
        """
        found = [one for one in self.base if one.leaving_since is not None and one.number not in chosen]
        new = self.state.revision
        back = [one for one in found if self.over or serves(one) or one.revision != new]
        return [Rejoin(replica_number=one.number, reason="it serves as it is") for one in back]

    def _grown(self) -> list[Decision]:
        """An extra replica for each that is to be taken down, as far as is allowed."""
        if self.state.no_surge or not self.work:
            return []
        taken = {one.number for one in (*self.extras, *self.stale)}
        most = min(self.policy.max_surge, len(self.work)) - len(self.extras)
        free = [number for number in range(self.wanted, self.wanted + self.policy.max_surge) if number not in taken]
        return [Surge(replica_number=number, reason="the new is started first") for number in free[: max(0, most)]]

    def _stale(self) -> list[Decision]:
        """
        Extras of an earlier rollout, or one too many: at once if they do not serve, else once all others do.

        One of this rollout that does not serve helps nobody either, once nobody is left whom it could stand in for.
        """
        spare = [one for one in self.stale if self.whole or not serves(one)]
        spare += [] if self.work else [one for one in self.extras if not serves(one)]
        return _released(spare, "not needed any more")

    def _shrunk(self, step: Step) -> Step:
        """All is done but for the extras: withdrawn, then released."""
        reason, decisions = "all others run the new revision", list[Decision]()
        for one in self.extras:
            if self._has_left(one) or not serves(one):
                decisions += _released([one], reason)
            else:
                decisions += self._withdrawn(one, reason)
        waiting = Wait(reason="extra replicas are leaving")
        decisions += [*self._rejoined(()), *self._stale()]
        return Step(state=replace(step.state, no_surge=None), decisions=tuple(decisions) or (waiting,))
