"""Look, decide, act, for as long as the agent lives; each replica has a lane in which its actions run one by one."""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

from fledx.agent.backoff import Pace
from fledx.agent.clock import Clock, Wake
from fledx.agent.jobs import Jobs
from fledx.agent.reconcile.actions import Action, Copy, Wait
from fledx.agent.reconcile.execute import Executor
from fledx.agent.reconcile.history import History, Moment, looked_back
from fledx.agent.reconcile.jobs import looked_at
from fledx.agent.reconcile.lanes import Lanes, Tell
from fledx.agent.reconcile.plan import View, plan
from fledx.agent.runtime.base import Runtime
from fledx.agent.runtime.containers import Container, RuntimeEvent
from fledx.agent.spec import Key, Marks
from fledx.errors import Conflict, FledxError
from fledx.models.desired import NodeDesiredState, ReplicaDesired
from fledx.models.job import JobDesired

logger = logging.getLogger(__name__)

TROUBLED_SECS = 2.0
"""Between two questions to an engine that did not answer."""
EVENTS_SECS = 1.0
ASIDE_SECS = 60.0
HALT_MEMORY = 60.0
"""Seconds for which an end that somebody asked for explains that a container ended; longer than any usual stop."""


class Reconciler:
    """
    Keeps the containers of this node as they are desired.

    ``trouble`` is why the engine cannot be asked at the moment, ``engine`` its name and version once it has answered,
    ``asked`` whether it has been asked at all.
    The copies it shows are those of the last look, corrected by what its lanes have done since.
    """

    def __init__(
        self,
        *,
        node_id: str,
        runtime: Runtime,
        executor: Executor,
        desired: Callable[[], NodeDesiredState | None],
        clock: Clock,
        pace: Pace,
        interval: float,
        tell: Tell,
        changed: Callable[[], None],
        spread: Callable[[], float] = random.random,
        jobs: Jobs | None = None,
    ) -> None:
        self.jobs = jobs or Jobs(clock)
        self.trouble: str | None = None
        self.engine: str | None = None
        self.asked = False
        self.rounds = 0
        self.seconds = 0.0
        self._looked = False
        self.pace = pace
        self._node_id = node_id
        self._runtime = runtime
        self._desired = desired
        self._clock = clock
        self._interval = interval
        self._tell = tell
        self._changed = changed
        self._spread = spread
        self._wake = Wake()
        self._away = False
        self._halted: dict[str, float] = {}
        self._starved: dict[str, float] = {}
        self._copies: dict[Key, tuple[Copy, ...]] = {}
        self._holding: NodeDesiredState | None = None
        self._held_until: dict[Key, float] = {}
        self._aside: dict[Key, str] = {}
        self._waiting: dict[Key, str] = {}
        self._lanes = Lanes(executor, clock, pace, spread=spread, tell=tell, changed=changed, settled=self._settled)

    @property
    def copies(self) -> Mapping[Key, Sequence[Copy]]:
        """The containers of each replica."""
        return self._copies

    @property
    def histories(self) -> Mapping[Key, History]:
        """What each replica has been through."""
        return self._lanes.histories

    def doing(self, key: Key) -> str:
        """What is being done for a replica right now, in words; empty if nothing."""
        return self._lanes.doing(key) or self._aside.get(key, "")

    def waiting(self, key: Key) -> str:
        """What a replica waits for before anything can be done; empty if nothing."""
        return self._waiting.get(key, "")

    def wanted(self) -> dict[Key, ReplicaDesired]:
        """All replicas of this node by key."""
        state = self._desired()
        return {replica.key: replica for replica in state.replicas} if state else {}

    def wake(self) -> None:
        """Look again soon: something has changed."""
        self._wake.ring()

    def pull_again(self, kind: str, keys: Collection[Key]) -> None:
        """What stood in the way of these replicas' pulls, of the kind that `PullFailed` says, is gone."""
        self._lanes.pull_again(kind, keys)
        self._wake.ring()

    def unhealthy(self, key: Key, container_id: str, reason: str) -> None:
        """A liveness probe has failed too often."""
        self._lanes.mark_sick(key, container_id, reason)
        self._wake.ring()

    @asynccontextmanager
    async def aside(self, key: Key, why: str) -> AsyncIterator[None]:
        """
        Leave a replica's containers to somebody else, and show why; what is being done for it is waited for.

        Raises Conflict when somebody else has it, or when that takes too long.
        """
        if key in self._aside:
            raise Conflict(f"replica {key[1]} is busy: {self._aside[key]}", hint="try again when that is done")
        self._aside[key] = why
        try:
            deadline = self._clock.monotonic() + ASIDE_SECS
            while key in self._lanes.busy():
                if self._clock.monotonic() > deadline:
                    raise Conflict(f"replica {key[1]} is busy: {self._lanes.doing(key)}", hint="try again later")
                await self._clock.sleep(0.1)
            self._changed()
            yield
        finally:
            del self._aside[key]
            self._wake.ring()

    async def run(self) -> None:
        """Reconcile until cancelled; containers keep running then."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch)
            while True:
                try:
                    await self._round(tasks)
                except Exception:
                    logger.exception("a round of the reconciler failed")
                await self._clock.wait(self._wake, self._patience())

    async def _watch(self) -> None:
        """Docker's events ring the bell; when they stop, the engine was away and what ended meanwhile is no crash."""
        while True:
            try:
                async with self._runtime.events(self._node_id) as events:
                    self._wake.ring()
                    try:
                        async for event in events:
                            self._noticed(event)
                    finally:
                        self._away = True
            except FledxError:
                logger.debug("no events from Docker")
            self._wake.ring()
            await self._clock.sleep(EVENTS_SECS)

    def _noticed(self, event: RuntimeEvent) -> None:
        if event.kind == "halt" and not self._lanes.ended_by_us(event.container_id):
            self._halted[event.container_id] = self._clock.monotonic()
        if event.kind == "oom":  # told here more reliably than by the container's own state
            self._starved[event.container_id] = self._clock.monotonic()
        self._wake.ring()

    async def _round(self, tasks: TaskGroup) -> None:
        began = self._clock.monotonic()
        await self._reconcile(tasks)
        self.rounds += 1
        self.seconds += self._clock.monotonic() - began

    async def _reconcile(self, tasks: TaskGroup) -> None:
        busy = self._lanes.busy()
        try:
            if self.trouble is not None or self.engine is None:
                self.engine = await self._runtime.describe()
            containers = await self._runtime.look(self._node_id)
        except FledxError as problem:
            self._lost(problem)
            return
        self._found(containers, settled=busy - self._lanes.busy())
        wanted = self.wanted()
        self._lanes.interrupt_outdated(wanted)
        if self._desired() is not None:
            for key, note in self.jobs.fire(wanted):
                self._tell(note.kind, key, note.reason)
        idle = [key for key in wanted if key not in busy and key not in self._aside]
        self._look_back(wanted, idle)
        await self.jobs.store()
        self._act(tasks, wanted, busy)
        self._changed()

    def _lost(self, problem: FledxError) -> None:
        if self.trouble is None or not self.asked:
            self._tell("runtime", None, problem.text)
            logger.warning("Docker does not answer", extra={"reason": problem.text})
        self._away, self.asked = True, True
        self.trouble = f"{problem.text} ({problem.hint})" if problem.hint else problem.text
        self._changed()

    def _found(self, containers: Iterable[Container], *, settled: set[Key]) -> None:
        """Take over what was seen, except for replicas whose lane ended during the look: it knows better."""
        if self.trouble is not None and self._looked:
            self._tell("runtime", None, f"{self.engine} answers again")
        self.trouble, self._looked, self.asked = None, True, True
        groups: defaultdict[Key, list[Copy]] = defaultdict(list)
        for container in containers:
            marks = Marks.of(container.labels, self._node_id)
            if marks is not None and container.state != "removing":
                groups[marks.key].append(Copy(container=container, marks=marks))
        kept = {key: self._copies[key] for key in settled if key in self._copies}
        seen = {key: tuple(copies) for key, copies in groups.items() if key not in settled}
        self._copies = seen | kept

    def _look_back(self, wanted: Mapping[Key, ReplicaDesired], idle: Iterable[Key]) -> None:
        now = self._clock.monotonic()
        self._halted = {name: at for name, at in self._halted.items() if now - at < HALT_MEMORY}
        self._starved = {name: at for name, at in self._starved.items() if now - at < HALT_MEMORY}
        halted, starved, away, self._away = frozenset(self._halted), frozenset(self._starved), self._away, False
        for key in idle:
            replica, copies = wanted[key], self._copies.get(key, ())
            moment = Moment(
                now=now, spread=self._spread(), halted=halted, starved=starved, away=away, boot=self.jobs.boot
            )
            if replica.job is not None:
                self._look_at_job(key, replica, replica.job, moment)
                continue
            if replica.desired_state == "stopped":
                self._lanes.histories[key] = History(template=replica.template, fence=replica.fence)
                continue
            history, notes = looked_back(self.histories.get(key), replica, copies, moment, self.pace)
            self._lanes.histories[key] = history
            for note in notes:
                self._tell(note.kind, key, note.reason)
        for key in self.histories.keys() - wanted.keys():
            self._lanes.forget(key)

    def _look_at_job(self, key: Key, replica: ReplicaDesired, job: JobDesired, moment: Moment) -> None:
        record, history, notes = looked_at(
            self.jobs.records[key], self.histories.get(key), replica, job, self._copies.get(key, ()), moment, self.pace
        )
        self.jobs.records[key], self._lanes.histories[key] = record, history
        for note in notes:
            self._tell(note.kind, key, note.reason)

    def _act(self, tasks: TaskGroup, wanted: Mapping[Key, ReplicaDesired], busy: set[Key]) -> None:
        desired = wanted if self._desired() is not None else None
        now = self._clock.monotonic()
        view = View(
            desired=desired,
            copies=self._copies,
            histories=self.histories,
            now=now,
            pace=self.pace,
            held=self._held(now),
            jobs=self.jobs.records,
        )
        due: defaultdict[Key, list[Action]] = defaultdict(list)
        for action in plan(view):
            due[action.key].append(action)
        self._waiting = {
            key: action.reason for key, actions in due.items() for action in actions if isinstance(action, Wait)
        }
        for key, actions in due.items():
            todo = [action for action in actions if not isinstance(action, Wait)]
            if todo and key not in busy and key not in self._aside and not self._lanes.resting(key, now):
                self._lanes.launch(tasks, key, wanted.get(key), todo)

    def _held(self, now: float) -> frozenset[Key]:
        """Replicas to leave alone; how long is reckoned from the first look at the state that says so."""
        state = self._desired()
        if state is not self._holding:
            self._holding = state
            held = state.held if state is not None else ()
            self._held_until = {(each.deployment_id, each.replica_number): now + each.seconds for each in held}
        return frozenset(key for key, until in self._held_until.items() if now < until)

    def _settled(self, key: Key, gone: Iterable[str], came: Container | None) -> None:
        """A lane has done something: show it at once, the next look confirms it."""
        left = [copy for copy in self._copies.get(key, ()) if copy.container.id not in gone]
        if came is not None:
            left = [copy for copy in left if copy.container.id != came.id]
            marks = Marks.of(came.labels, self._node_id)
            left += [Copy(container=came, marks=marks)] if marks else []
        self._copies = {**self._copies, key: tuple(left)}
        self._wake.ring()
        self._changed()

    def _patience(self) -> float:
        """Seconds until something is due without anything happening."""
        if self.trouble is not None:
            return min(self._interval, TROUBLED_SECS)
        now, moments = self._clock.monotonic(), [*self._lanes.due(), *self._held_until.values()]
        waits = [*(moment - now for moment in moments if moment > now), *self.jobs.seconds_to_next()]
        return max(0.0, min([self._interval, *waits]))
