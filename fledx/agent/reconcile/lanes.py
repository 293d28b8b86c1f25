"""One lane a replica: its actions run one after the other, and never wait for another replica's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from anyio.abc import TaskGroup

from fledx.agent.backoff import Pace, delay
from fledx.agent.clock import Clock
from fledx.agent.reconcile.actions import Action, Examine, Remove, Replace, Resume, Start, Stop
from fledx.agent.reconcile.execute import Attempt, Executor, GivenUp, Outcome
from fledx.agent.reconcile.history import (
    History,
    Moment,
    attempt_failed,
    pull_again,
    put_down,
    resumed,
    started,
    stopped,
)
from fledx.agent.runtime.containers import Container, PortTaken, PullFailed
from fledx.agent.spec import Key
from fledx.errors import FledxError, Unavailable
from fledx.models.desired import ReplicaDesired

logger = logging.getLogger(__name__)

Tell = Callable[[str, "Key | None", str], None]
"""Takes the kind, the replica and the reason of something that happened."""
OURS_MEMORY = 30.0
QUIET = (Examine, Remove)


@dataclass(kw_only=True)
class _Lane:
    """A replica's lane while it is busy."""

    attempt: Attempt
    replica: ReplicaDesired | None


@dataclass(frozen=True, kw_only=True)
class _Rest:
    """A lane in which something failed that no history counts: not again before `until`."""

    failures: int
    until: float


class Lanes:
    """
    Runs actions, and keeps what came of them in the histories.

    `settled` hears after each action which containers are gone and which one came, `changed` that something looks
    different.
    """

    def __init__(
        self,
        executor: Executor,
        clock: Clock,
        pace: Pace,
        *,
        spread: Callable[[], float],
        tell: Tell,
        changed: Callable[[], None],
        settled: Callable[[Key, Iterable[str], Container | None], None],
    ) -> None:
        self.histories: dict[Key, History] = {}
        self._executor = executor
        self._clock = clock
        self._pace = pace
        self._spread = spread
        self._tell = tell
        self._changed = changed
        self._settled = settled
        self._lanes: dict[Key, _Lane] = {}
        self._rests: dict[Key, _Rest] = {}
        self._ours: dict[str, float] = {}

    def busy(self) -> set[Key]:
        """Replicas for which something is being done."""
        return set(self._lanes)

    def doing(self, key: Key) -> str:
        """What is being done for one, in words."""
        lane = self._lanes.get(key)
        return lane.attempt.doing if lane else ""

    def resting(self, key: Key, now: float) -> bool:
        """Whether a replica must not be touched yet, as the last action failed."""
        rest = self._rests.get(key)
        return rest is not None and now < rest.until

    def due(self) -> Iterator[float]:
        """The moments at which something may be due again."""
        yield from (rest.until for rest in self._rests.values())
        for key, history in self.histories.items():
            if key not in self._lanes and history.retry_at is not None:
                yield history.retry_at
            if history.serving is not None:
                yield history.since + self._pace.stable

    def ended_by_us(self, container_id: str) -> bool:
        """Whether one of our own actions has just asked for this container's end."""
        return container_id in self._ours

    def mark_sick(self, key: Key, container_id: str, reason: str) -> None:
        """Note what a liveness probe found."""
        if key in self.histories:
            self.histories[key] = replace(self.histories[key], sick=(container_id, reason))

    def pull_again(self, kind: str, keys: Collection[Key]) -> None:
        """Pulls of these that failed for a reason of this kind need not wait: it is gone."""
        now = self._clock.monotonic()
        for key, history in self.histories.items():
            if key in keys and history.pull == kind:
                self.histories[key] = pull_again(history, now)

    def forget(self, key: Key) -> None:
        """Begin anew with a replica."""
        self.histories.pop(key, None)

    def interrupt_outdated(self, wanted: Mapping[Key, ReplicaDesired]) -> None:
        """Give up pulls for what is no longer wanted."""
        for key, lane in self._lanes.items():
            if lane.replica is not None and _essence(lane.replica) != _essence(wanted.get(key)):
                lane.attempt.interrupt()

    def launch(self, tasks: TaskGroup, key: Key, replica: ReplicaDesired | None, actions: Sequence[Action]) -> None:
        """Begin to carry the actions out."""
        now = self._clock.monotonic()
        self._ours = {name: at for name, at in self._ours.items() if now - at < OURS_MEMORY}
        self._ours.update((name, now) for action in actions for name in _ends(action))
        self._lanes[key] = lane = _Lane(attempt=Attempt(self._changed), replica=replica)
        tasks.start_soon(self._run, key, lane, actions)

    async def _run(self, key: Key, lane: _Lane, actions: Sequence[Action]) -> None:
        """What does not matter to the rest may fail; anything else ends the list, and the next look makes a new one."""
        clean = True
        try:
            for action in actions:
                done = await self._done(action, lane)
                clean = clean and done
                if not done and not isinstance(action, QUIET):
                    break
            if clean:
                self._rests.pop(key, None)
        finally:
            del self._lanes[key]
            self._settled(key, (), None)

    async def _done(self, action: Action, lane: _Lane) -> bool:
        """Carry one action out and note what came of it; whether it succeeded."""
        try:
            outcome = await self._executor.carry_out(action, lane.attempt)
        except GivenUp:
            return False
        except FledxError as problem:
            self._failed(action, problem)
            return False
        except Exception:
            logger.exception("an action failed unexpectedly", extra={"kind": action.kind, "replica": action.key})
            self._failed(action, FledxError("an internal error; the agent's log has the details"))
            return False
        self._succeeded(action, outcome)
        return True

    def _moment(self) -> Moment:
        return Moment(now=self._clock.monotonic(), spread=self._spread())

    def _failed(self, action: Action, problem: FledxError) -> None:
        text = f"{problem.text} ({problem.hint})" if problem.hint else problem.text
        if isinstance(problem, Unavailable) or not isinstance(action, Start | Resume | Replace):
            self._rest(action.key)
        elif action.key in self.histories:
            self.histories[action.key] = attempt_failed(
                self.histories[action.key],
                text,
                self._moment(),
                self._pace,
                spoiled=action.copy.container.id if isinstance(action, Resume) else None,
                pull=problem.kind if isinstance(problem, PullFailed) else None,
                retry_after=problem.retry_after if isinstance(problem, PullFailed) else None,
            )
        if not isinstance(action, Examine):
            kind = "port_taken" if isinstance(problem, PortTaken) else "failed"
            self._tell(kind, action.key, f"{action.kind}: {text}")
        self._changed()

    def _rest(self, key: Key) -> None:
        failures = self._rests[key].failures + 1 if key in self._rests else 1
        until = self._clock.monotonic() + delay(self._pace, failures, self._spread())
        self._rests[key] = _Rest(failures=failures, until=until)

    def _succeeded(self, action: Action, outcome: Outcome) -> None:
        history = self.histories.get(action.key)
        if history is not None:
            self.histories[action.key] = self._after(history, action, outcome)
        gone = [name for name in _ends(action) if not isinstance(action, Examine)]
        self._settled(action.key, gone, outcome.container)
        if not isinstance(action, QUIET):
            self._tell(action.kind, action.key, action.reason)

    def _after(self, history: History, action: Action, outcome: Outcome) -> History:
        now = self._clock.monotonic()
        match action:
            case Start() | Replace() if outcome.container is not None:
                return started(history, outcome.container.id, now)
            case Resume(copy=copy, replica=replica):
                new_run = copy.fits(replica) and copy.container.state != "paused"
                return (started if new_run else resumed)(history, copy.container.id, now)
            case Stop(copy=copy, kind="unhealthy", reason=reason):
                lane = self._lanes[action.key]
                if lane.replica is not None:
                    return put_down(history, lane.replica, copy.container.id, reason, self._moment(), self._pace)
                return stopped(history, copy.container.id)
            case Stop(copy=copy):
                return stopped(history, copy.container.id)
            case Examine(copy=copy):
                return replace(history, examined=copy.container.id, lines=outcome.lines)
        return history


def _ends(action: Action) -> tuple[str, ...]:
    """The containers that an action ends or removes."""
    match action:
        case Replace(old=copy) | Stop(copy=copy) | Remove(copy=copy):
            return (copy.container.id,)
    return ()


def _essence(replica: ReplicaDesired | None) -> tuple[str, int, str] | None:
    return None if replica is None else (replica.template, replica.fence, replica.desired_state)
