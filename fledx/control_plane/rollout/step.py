"""What happens to a deployment that is rolled out, now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fledx.control_plane.rollout.decisions import Complete, Pause, RollBack, Step, Wait, advance_of, move_of
from fledx.control_plane.rollout.look import Look
from fledx.control_plane.rollout.replica import Replica
from fledx.control_plane.rollout.state import COMPLETE, FAILED, PAUSED, PROGRESSING, ROLLED_BACK, RolloutState, begin
from fledx.models.deployment import UpdatePolicy


def next_step(
    state: RolloutState,
    policy: UpdatePolicy,
    replicas: Sequence[Replica],
    now: float,
    *,
    wanted: int,
    running: bool = True,
    restart: str = "always",
) -> Step:
    """
    Decide what happens to a deployment of `wanted` replicas now.

    Gates, in this order: no replica fails; no more than ``max_unavailable`` are down by our doing; each has been ready
    for ``min_healthy_seconds`` before it counts. Replicas on nodes that are away are neither moved nor waited for; they
    follow when their node is back. `running` is False for a deployment that is to be stopped; `restart` is the
    template's policy.
    """
    if not running and state.phase not in (PAUSED, FAILED):
        return at_once(state, replicas, now, why="the deployment is stopped")
    look = Look(state, policy, replicas, now, restart=restart)
    if state.phase in (PAUSED, FAILED):
        return Step(state=state, decisions=look.leaving() or (Wait(reason=state.reason or state.phase),))
    if (fault := look.fault()) is not None:
        return _failed(look.state, policy, fault, now)
    moves = look.advances()
    if moves:
        return Step(state=look.moving(moves), decisions=moves)
    if look.arrived():
        # whoever went away in the middle of it is still down by our doing: `unready` keeps its share of the budget
        done = replace(look.state, phase=ROLLED_BACK if state.rolling_back else COMPLETE, waits_for=None)
        over = state.phase != PROGRESSING
        return Step(state=done, decisions=() if over else (Complete(reason=look.told(wanted)),))
    told = look.told(wanted)
    waiting = replace(look.state, waits_for=told if state.phase == PROGRESSING else None)
    return Step(state=waiting, decisions=(Wait(reason=told),))


def at_once(state: RolloutState, replicas: Sequence[Replica], now: float, *, why: str) -> Step:
    """Nothing that serves can become unavailable, so that all follow together."""
    ordered = sorted(replicas, key=lambda one: one.number)
    behind = [one for one in ordered if one.revision != state.revision]
    leaving = [move_of(one) for one in ordered if one.leave and one.revision == state.revision]
    phase = ROLLED_BACK if state.rolling_back else COMPLETE
    moves, over = [advance_of(one, state.revision, why) for one in behind], state.phase != PROGRESSING
    progressed = state.progressed_at if over and not moves else now
    done = replace(state, phase=phase, progressed_at=progressed, unready=(), waits_for=None)
    return Step(state=done, decisions=(*moves, *leaving, *([] if over else [Complete(reason=why)])))


def _failed(state: RolloutState, policy: UpdatePolicy, fault: str, now: float) -> Step:
    """What a fault leads to: back once, and never from one broken revision to another."""
    if state.rolling_back:
        reason = f"revision {state.revision}, which was gone back to, fails as well: {fault}"
        return Step(state=replace(state, phase=FAILED, reason=reason), decisions=(Pause(reason=reason),))
    reason = f"revision {state.revision} failed: {fault}"
    if policy.on_failure == "rollback" and state.previous is not None:
        back = replace(begin(None, state.previous, now), rolling_back=True, reason=reason)
        return Step(state=back, decisions=(RollBack(to_revision=state.previous, reason=reason),))
    return Step(state=replace(state, phase=PAUSED, reason=reason), decisions=(Pause(reason=reason),))
