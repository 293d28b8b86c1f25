"""
How a deployment gets from one revision to the next: look at its replicas, decide what happens now.

The caller keeps a `RolloutState` for each deployment, asks `next_step` whenever something has changed and once a second
while it is progressing, carries out the decisions and stores the new state, both in one transaction. All times are Unix
seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fledx.models.deployment import Rollout, UpdatePolicy
from fledx.models.instance import Instance
from fledx.models.moment import stamp

PROGRESSING, COMPLETE, PAUSED, ROLLED_BACK, FAILED = "progressing", "complete", "paused", "rolled_back", "failed"
#: So many restarts of a container that was never ready for long enough are a crash loop.
CRASHES = 3
MOST_OF_A_MESSAGE = 1000


@dataclass(frozen=True, kw_only=True)
class Replica:
    """
    One replica that has an owner.

    ``revision`` and ``fence`` are its assignment's, ``template`` is the hash that its container has when it runs that
    revision. ``present_since`` says since when its node has been in touch without a break; None while that is away. A
    control plane that was itself away, or whose clock has jumped, begins it anew: no deadline runs out in such a gap.
    ``seen`` is what its owner last reported, ``ready_since`` since when that has been ready without a break. ``leave``
    says why it must go to another node, ``leave_now`` that nothing else is waited for any more. ``leaving_since`` is
    since when it has been withdrawn.
    """

    number: int
    node: str
    revision: int
    fence: int
    template: str
    present_since: float | None
    seen: Instance | None = None
    ready_since: float | None = None
    leave: str | None = None
    leave_now: bool = False
    leaving_since: float | None = None


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A replica has taken over at the new revision: it was ready for long enough, after so many restarts."""

    number: int
    fence: int
    restarts: int
    since: float


@dataclass(frozen=True, kw_only=True)
class Unready:
    """
    A replica at the new revision is not ready (yet, or again) on this node, since then.

    ``restarts`` is what its container counted when it was first seen, for it may be older than the rollout. ``arrived``
    is how far its image had got when that last put off the deadline: a slow link is no fault.
    """

    number: int
    node: str
    since: float
    restarts: int | None = None
    arrived: int | None = None


@dataclass(frozen=True, kw_only=True)
class RolloutState:
    """
    What is remembered of a rollout between two steps.

    ``previous`` is the revision to go back to: the last one that was complete, None if none was. ``rolling_back`` marks
    a rollout that is itself the way back: it has no further way back. ``waits_for`` says what it waited for when it was
    last looked at, ``no_surge`` why an extra replica could not be placed.
    """

    revision: int
    previous: int | None = None
    phase: str = PROGRESSING
    rolling_back: bool = False
    started_at: float
    progressed_at: float
    taken: tuple[Taken, ...] = ()
    unready: tuple[Unready, ...] = ()
    reason: str | None = None
    waits_for: str | None = None
    no_surge: str | None = None


@dataclass(frozen=True, kw_only=True)
class Advance:
    """Give a replica the template of this revision."""

    replica_number: int
    to_revision: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Move:
    """Give a replica to another node, at the revision it has."""

    replica_number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Complete:
    """The revision is in place, and is from now on the one to go back to."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class RollBack:
    """Make this revision the deployment's own again."""

    to_revision: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Stop here; what serves is left as it is until an operator decides."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Nothing can be done now, for this reason."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Surge:
    """Place an extra replica at the present revision, beyond the wanted number."""

    replica_number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Withdraw:
    """Show a replica that serves as leaving."""

    replica_number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Rejoin:
    """It does not leave after all."""

    replica_number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Release:
    """Take an extra replica away."""

    replica_number: int
    reason: str


Decision = Advance | Move | Complete | RollBack | Pause | Wait | Surge | Withdraw | Rejoin | Release


@dataclass(frozen=True, kw_only=True)
class Step:
    """What to do now, and the state once it is done; no decisions when a rollout is over and nobody is left behind."""

    state: RolloutState
    decisions: tuple[Decision, ...]


def begin(before: RolloutState | None, revision: int, now: float, *, served: int | None = None) -> RolloutState:
    """
    A new revision is to be rolled out; `before` is the state of whatever was rolled out until now.

    Where no revision has been complete so far, `served` is one that did serve, with all its replicas.
    """
    previous = last_good(before) or (None if before and before.phase == FAILED else served)
    return RolloutState(revision=revision, previous=previous, started_at=now, progressed_at=now)


def begin_back(before: RolloutState | None, revision: int, now: float, reason: str) -> RolloutState:
    """An operator wants an earlier revision; to the last good one there is no way back that is better."""
    if last_good(before) in (None, revision):
        return replace(begin(None, revision, now), rolling_back=True, reason=reason)
    return begin(before, revision, now)


def last_good(state: RolloutState | None) -> int | None:
    if state is None or state.phase == FAILED:
        return None
    return state.revision if state.rolling_back or state.phase in (COMPLETE, ROLLED_BACK) else state.previous


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
    look = _Look(state, policy, replicas, now, restart=restart)
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


def shown(state: RolloutState, wanted: int, *, reason: str | None = None) -> Rollout:
    """The rollout as the API shows it."""
    return Rollout(
        state=state.phase,
        revision=state.revision,
        updated=len(state.taken),
        wanted=wanted,
        reason=state.reason or reason,
        since=stamp(state.started_at),
        waits_for=state.waits_for,
    )


def at_once(state: RolloutState, replicas: Sequence[Replica], now: float, *, why: str) -> Step:
    """Nothing that serves can become unavailable, so that all follow together."""
    ordered = sorted(replicas, key=lambda one: one.number)
    behind = [one for one in ordered if one.revision != state.revision]
    leaving = [_move(one) for one in ordered if one.leave and one.revision == state.revision]
    phase = ROLLED_BACK if state.rolling_back else COMPLETE
    moves, over = [_advance(one, state.revision, why) for one in behind], state.phase != PROGRESSING
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


def _advance(one: Replica, revision: int, reason: str) -> Advance:
    return Advance(replica_number=one.number, to_revision=revision, reason=reason)


def _move(one: Replica) -> Move:
    return Move(replica_number=one.number, reason=one.leave or "")


class _Look:
    """One look at all replicas: who is here, who has the new revision, who of them is well."""

    def __init__(
        self,
        state: RolloutState,
        policy: UpdatePolicy,
        replicas: Iterable[Replica],
        now: float,
        *,
        restart: str,
    ) -> None:
        self.policy, self.now, self.restart = policy, now, restart
        self.all = sorted(replicas, key=lambda one: one.number)
        self.here = [one for one in self.all if one.present_since is not None]
        self.new = [one for one in self.here if one.revision == state.revision]
        begun = {(one.number, one.node): one for one in state.unready}
        self.well = {one.number for one in self.new if self._well(one, begun.get((one.number, one.node)))}
        self.state = self._noted(state)
        self._taken = {one.number: one for one in self.state.taken}
        self._unready = {one.number: one for one in self.state.unready}

    def _well(self, one: Replica, begun: Unready | None) -> bool:
        """Ready for long enough, counted from when it was given the revision: a container may stay the same."""
        if not serves(one) or one.ready_since is None:
            return False
        since = one.ready_since if begun is None else max(one.ready_since, begun.since)
        return self.now - since >= self.policy.min_healthy_seconds

    def _noted(self, state: RolloutState) -> RolloutState:
        """The state with what this look has shown; whoever is away is left as it was."""
        taken = {(one.number, one.fence): one for one in state.taken}
        waiting = {(one.number, one.node): one for one in state.unready}
        known, unready, progressed = [], [], state.progressed_at
        for one in (one for one in self.all if one.revision == state.revision):
            had, waits = taken.get((one.number, one.fence)), waiting.get((one.number, one.node))
            if one.present_since is None:
                unready += [waits] if waits else []
            elif had is not None and had.since < one.present_since:
                had = None
            if one.number in self.well:
                progressed = progressed if had else self.now
                had = had or _take(one, self.now)
            elif one.present_since is not None:
                unready.append(self._waits(one, waits, one.present_since))
            known += [had] if had else []
        return replace(state, taken=tuple(known), unready=tuple(unready), progressed_at=progressed)

    def _waits(self, one: Replica, before: Unready | None, present_since: float) -> Unready:
        """Its clock starts anew when its node comes back."""
        since, restarts = (before.since, before.restarts) if before else (self.now, None)
        if one.seen is not None and _has_new_container(one):
            restarts = min(one.seen.restart_count, one.seen.restart_count if restarts is None else restarts)
        since, arrived = self._arriving(one, max(since, present_since), before.arrived if before else None)
        return Unready(number=one.number, node=one.node, since=since, restarts=restarts, arrived=arrived)

    def _arriving(self, one: Replica, since: float, before: int | None) -> tuple[float, int | None]:
        """Noted a few times within the deadline only, as each note is a write."""
        now = one.seen.arriving if one.seen else None
        if now is None or now <= (before or 0) or self.now - since < self.policy.progress_deadline_seconds / 4:
            return since, before
        return self.now, now

    def fault(self) -> str | None:
        """Why the revision is no good, if that is known by now; of a deployment's first one that is never said."""
        if self.state.phase != PROGRESSING or self._is_first():
            return None
        for one in self.new:
            fault = self._crash(one) or self._late(one)
            if fault is not None:
                return f"replica {one.number} on {one.node} {fault}"
        return self._restless()

    def _crash(self, one: Replica) -> str | None:
        seen, known = one.seen, self._taken.get(one.number)
        if seen is None or not _has_new_container(one):
            return None
        ended = seen.state in ("failed", "stopped")
        if known is not None and (ended or seen.restart_count > known.restarts):
            return f"died after it had been ready{_message(seen)}"
        waits = self._unready.get(one.number)
        crashes = seen.restart_count - (waits.restarts or 0) if waits else 0
        if known is None and crashes >= CRASHES:
            return f"crashed {crashes} times{_message(seen)}"
        if ended and (self.restart == "never" or (self.restart == "on_failure" and seen.exit_code == 0)):
            return f"has ended and is not started again{_message(seen)}"
        return None

    def _late(self, one: Replica) -> str | None:
        limit, waiting = self.policy.progress_deadline_seconds, self._unready.get(one.number)
        if waiting is None or self.now - waiting.since <= limit:
            return None
        return f"has not been ready for {limit:g} s{_message(one.seen)}"

    def _restless(self) -> str | None:
        """All are well whenever one looks, but none for long."""
        if not self.here or len(self.well) < len(self.here) or self.arrived():
            return None
        since = max(self.state.progressed_at, *(one.present_since or 0 for one in self.here))
        if self.now - since <= self.policy.progress_deadline_seconds + self.policy.watch_seconds:
            return None
        return f"no replica has stayed ready for {self.policy.watch_seconds:g} s"

    def _is_first(self) -> bool:
        return self.state.revision == 1 and self.state.previous is None and not self.state.rolling_back

    def leaving(self) -> tuple[Move, ...]:
        """
        The replicas that may leave their nodes now; one that does not serve takes nothing away.

        One that serves, but not for long enough, is counted as down and waits: it would be missed all the same.
        """
        found = [one for one in self.here if one.leave]
        serving = [one for one in found if serves(one) and not one.leave_now]
        chosen = [one for one in serving if self._serves(one)][: self._free()]
        return tuple(_move(one) for one in found if one not in serving or one in chosen)

    def _free(self) -> int:
        """How many that serve may be taken down now."""
        down = [one for one in self.here if one.revision != self.state.revision and not serves(one)]
        return max(0, self.policy.max_unavailable - self._moving() - len(down))

    def _serves(self, one: Replica) -> bool:
        return one.number in self.well if one.revision == self.state.revision else serves(one)

    def advances(self) -> tuple[Advance | Move, ...]:
        """
        The replicas that may have the new revision now, and before them those that must leave their nodes.

        One that does not serve anyway goes first and takes nothing away, but the new revision is still tried with a few
        at a time, unless it is the one that is known to be good.
        """
        revision, most, moving = self.state.revision, self.policy.max_unavailable, self._moving()
        leaving = self.leaving()
        behind = [one for one in self.here if one.revision != revision and not one.leave]
        down = [one for one in behind if not serves(one)]
        tried = down if self.state.rolling_back else down[: max(0, most - moving)]
        taken = {one.replica_number for one in leaving}
        free = self._free() - sum(one.number in taken and self._serves(one) for one in self.here)
        serving = [one for one in behind if serves(one)][: max(0, free)]
        return (
            *leaving,
            *(_advance(one, revision, "it does not serve as it is") for one in tried),
            *(_advance(one, revision, "next in turn") for one in serving),
        )

    def _moving(self) -> int:
        """Replicas that are down at the new revision; one whose node went away meanwhile counts until the deadline."""
        limit = self.policy.progress_deadline_seconds
        here = {one.number for one in self.here}
        gone = [one for one in self.state.unready if one.number not in here and self.now - one.since <= limit]
        return len(self.new) - len(self.well) + len(gone)

    def moving(self, moves: Iterable[Advance | Move]) -> RolloutState:
        """The state once these have been advanced."""
        numbers = {move.replica_number for move in moves if isinstance(move, Advance)}
        begun = [
            Unready(number=one.number, node=one.node, since=self.now) for one in self.here if one.number in numbers
        ]
        return replace(self.state, unready=(*self.state.unready, *begun), progressed_at=self.now)

    def arrived(self) -> bool:
        """Whether all who are here have taken over, and one has done so for long enough to be trusted."""
        if not self.here or len(self.well) < len(self.here):
            return False
        if self.state.phase != PROGRESSING or self.state.rolling_back or self._is_first():
            return True
        return any(self.now - (one.ready_since or self.now) >= self.policy.watch_seconds for one in self.new)

    def told(self, wanted: int) -> str:
        """How far it has got, and what it waits for."""
        texts = [f"{min(wanted, len(self.well))} of {wanted} replicas run revision {self.state.revision}"]
        waiting = [one for one in self.new if one.number not in self.well]
        if waiting:
            one = waiting[0]
            texts.append(f"waiting for replica {one.number} on {one.node}{_message(one.seen, most=200)}")
        elif self.new and not self.arrived():
            texts.append(f"watched until one has been ready for {self.policy.watch_seconds:g} s")
        away = sum(one.present_since is None for one in self.all)
        texts += [f"{away} on nodes that are away"] if away else []
        texts += [f"{wanted - len(self.all)} without a node"] if wanted > len(self.all) else []
        return "; ".join(texts)


def _take(one: Replica, now: float) -> Taken:
    restarts = one.seen.restart_count if one.seen else 0
    return Taken(number=one.number, fence=one.fence, restarts=restarts, since=now)


def _has_new_container(one: Replica) -> bool:
    return one.seen is not None and one.seen.template == one.template and one.seen.fence == one.fence


def serves(one: Replica) -> bool:
    """Whether the replica serves as its assignment says."""
    return one.seen is not None and one.seen.ready and _has_new_container(one)


def _message(seen: Instance | None, *, most: int = MOST_OF_A_MESSAGE) -> str:
    """What the agent says of it; in the middle cut, as the cause stands first and the last log lines at the end."""
    if seen is None or not seen.message:
        return ""
    text, half = seen.message.strip(), most // 2
    return f": {text if len(text) <= most else text[:half] + ' ... ' + text[-half:]}"
