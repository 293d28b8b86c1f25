"""One look at all replicas of a deployment that is rolled out: what it shows, and what may follow from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fledx.control_plane.rollout.decisions import Advance, Move, advance_of, move_of
from fledx.control_plane.rollout.replica import Replica, has_new_container, serves
from fledx.control_plane.rollout.state import PROGRESSING, RolloutState, Taken, Unready
from fledx.models.deployment import UpdatePolicy
from fledx.models.instance import Instance

CRASHES = 3
"""So many restarts of a container that was never ready for long enough are a crash loop."""
MOST_OF_A_MESSAGE = 1000


class Look:
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
        if one.seen is not None and has_new_container(one):
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
        if seen is None or not has_new_container(one):
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
        return tuple(move_of(one) for one in found if one not in serving or one in chosen)

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
            *(advance_of(one, revision, "it does not serve as it is") for one in tried),
            *(advance_of(one, revision, "next in turn") for one in serving),
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
            young = f", ready for less than {self.policy.min_healthy_seconds:g} s" if serves(one) else ""
            texts.append(f"waiting for replica {one.number} on {one.node}{young or _message(one.seen, most=200)}")
        elif self.new and not self.arrived():
            texts.append(f"watched until one has been ready for {self.policy.watch_seconds:g} s")
        away = sum(one.present_since is None for one in self.all)
        texts += [f"{away} on nodes that are away"] if away else []
        texts += [f"{wanted - len(self.all)} without a node"] if wanted > len(self.all) else []
        return "; ".join(texts)


def _take(one: Replica, now: float) -> Taken:
    restarts = one.seen.restart_count if one.seen else 0
    return Taken(number=one.number, fence=one.fence, restarts=restarts, since=now)


def _message(seen: Instance | None, *, most: int = MOST_OF_A_MESSAGE) -> str:
    """What the agent says of it; in the middle cut, as the cause stands first and the last log lines at the end."""
    if seen is None or not seen.message:
        return ""
    text, half = seen.message.strip(), most // 2
    return f": {text if len(text) <= most else text[:half] + ' ... ' + text[-half:]}"
