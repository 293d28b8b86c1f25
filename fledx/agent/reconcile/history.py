"""What one replica has been through on this node, as far as the next decision needs it; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fledx.agent.backoff import Pace, delay
from fledx.agent.reconcile.actions import Copy
from fledx.agent.runtime.containers import Container
from fledx.models.desired import ReplicaDesired

LAST_SIGNAL = 64
"""Of Linux; a higher exit code is one that the program chose, such as 255 for -1."""


@dataclass(frozen=True, kw_only=True)
class History:
    """
    The counts belong to one template and fence and begin anew with another; times are the monotonic clock's. ``wait``
    is how long ``retry_at`` was put off.

    ``serving`` is the container last known to run, ``since`` when that was first seen. ``crashed`` is the one whose end
    has been counted, ``examined`` the one whose last lines were read. ``repair`` says why a container that ended or
    went must come back although it did not crash (``outside``: because somebody else did it), ``revive`` names an old
    copy that may serve on while its successor cannot start. ``sick`` is a container and what its liveness probe found,
    ``pull`` the kind of failure for which its image is not here.
    """

    template: str
    fence: int
    runs: int = 0
    failures: int = 0
    retry_at: float | None = None
    wait: float = 0.0
    serving: str | None = None
    since: float = 0.0
    crashed: str | None = None
    examined: str | None = None
    revive: str | None = None
    repair: str | None = None
    outside: bool = False
    sick: tuple[str, str] | None = None
    exit_code: int | None = None
    ending: str | None = None
    lines: str | None = None
    problem: str | None = None
    pull: str | None = None

    def serves(self, container_id: str, *, at_least: float, now: float) -> bool:
        """Whether this container has been running for so many seconds."""
        return self.serving == container_id and now - self.since >= at_least


@dataclass(frozen=True, kw_only=True)
class Moment:
    """
    When the copies were seen, and what else is known then.

    ``spread`` is a number from 0 to 1 for jitter, ``halted`` are containers that somebody else asked to end,
    ``starved`` those that ran out of memory, ``away`` says that the engine was away since the last look, ``boot`` names
    this start of the machine.
    """

    now: float
    spread: float = 0.0
    halted: frozenset[str] = field(default_factory=frozenset)
    starved: frozenset[str] = field(default_factory=frozenset)
    away: bool = False
    boot: str = ""


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something found rather than done: adopt, crash, exit; of jobs also interrupted, gave_up, skipped, missed."""

    kind: str
    reason: str


def in_order(copies: Sequence[Copy], replica: ReplicaDesired) -> list[Copy]:
    """
    The copies of one replica, the one that counts first.

    One that runs and fits beats one that is paused and fits, then any that runs, then any that fits. Of two that live
    the elder stays, as it must not be restarted for nothing; of two that ended the younger tells more.
    """
    elder = sorted((copy for copy in copies if copy.alive), key=lambda copy: copy.container.created_at)
    younger = sorted((copy for copy in copies if not copy.alive), key=lambda copy: copy.container.created_at)[::-1]

    def rank(copy: Copy) -> int:
        fits = copy.fits(replica)
        return (fits and copy.running) * 8 + (fits and copy.alive) * 4 + copy.running * 2 + fits

    return sorted([*elder, *younger], key=rank, reverse=True)


def finished(replica: ReplicaDesired, exit_code: int | None) -> bool:
    """Whether a container that ended so is to stay ended by the restart policy."""
    return replica.restart == "never" or (replica.restart == "on_failure" and exit_code == 0)


def looked_back(
    history: History | None, replica: ReplicaDesired, copies: Sequence[Copy], moment: Moment, pace: Pace
) -> tuple[History, list[Note]]:
    """The history after this look, and what it brought to light."""
    known = _of_this_template(history, replica, copies)
    first = next(iter(in_order(copies, replica)), None)
    if first is not None and first.running:
        return _while_running(known, replica, first, moment, pace)
    if known.serving is None:
        if first is not None and first.alive and first.fits(replica):  # paused, and to go on
            known = replace(known, serving=first.container.id, since=moment.now)
        return known, []
    copy = next((copy for copy in copies if copy.container.id == known.serving), None)
    if copy is not None and copy.alive:
        return known, []
    return _after_end(known, replica, copy, moment, pace)


def _of_this_template(history: History | None, replica: ReplicaDesired, copies: Sequence[Copy]) -> History:
    """Of a template that another has followed, which serves now, what ended then counts for nothing."""
    if history is not None and (history.template, history.fence) == (replica.template, replica.fence):
        return history
    followed = any(copy.alive and not copy.fits(replica) for copy in copies)
    known = [copy for copy in copies if copy.fits(replica) and (copy.alive or not followed)]
    runs = max((_runs_of(copy) for copy in known), default=0)
    fresh = History(template=replica.template, fence=replica.fence, runs=runs)
    return fresh if history is None else replace(fresh, serving=history.serving, since=history.since)


def _runs_of(copy: Copy) -> int:
    return copy.marks.restarts + (copy.container.state != "created")


def _while_running(
    history: History, replica: ReplicaDesired, copy: Copy, moment: Moment, pace: Pace
) -> tuple[History, list[Note]]:
    container_id = copy.container.id
    if history.serving != container_id:
        runs = max(history.runs, _runs_of(copy)) if copy.fits(replica) else history.runs
        adopted = replace(history, serving=container_id, since=moment.now, repair=None, runs=runs)
        return adopted, [Note(kind="adopt", reason=f"container {copy.container.name} runs already")]
    if copy.fits(replica) and history.serves(container_id, at_least=pace.stable, now=moment.now):
        return replace(history, failures=0, retry_at=None, problem=None), []
    return history, []


def _after_end(
    history: History, replica: ReplicaDesired, copy: Copy | None, moment: Moment, pace: Pace
) -> tuple[History, list[Note]]:
    ran = moment.now - history.since
    stable = ran >= pace.stable
    ended = replace(history, serving=None, sick=None)
    if copy is not None and not copy.fits(replica):
        return replace(ended, revive=copy.container.id if stable else None), []
    if copy is None or moment.away or copy.container.id in moment.halted:
        return _interrupted(replace(ended, failures=0 if stable else history.failures), copy, moment, pace)
    starved = copy.container.oom_killed or copy.container.id in moment.starved
    ending = ending_of(replace(copy.container, oom_killed=starved), ran)
    found = replace(ended, crashed=copy.container.id, exit_code=copy.container.exit_code, ending=ending, lines=None)
    if finished(replica, copy.container.exit_code):
        return found, [Note(kind="exit", reason=ending)]
    found = failed(replace(found, failures=0 if stable else history.failures), moment, pace)
    return found, [Note(kind="crash", reason=ending)]


def _interrupted(history: History, copy: Copy | None, moment: Moment, pace: Pace) -> tuple[History, list[Note]]:
    """
    It is to come back, at once the first time.

    Somebody who ends it again and again is met with the same waits as a crash loop; an engine that went away is not.
    """
    found = replace(history, repair=_interruption(copy, moment), outside=not moment.away, retry_at=None)
    stable = moment.now - history.since >= pace.stable
    if moment.away or stable:
        return found, []
    counted = failed(found, moment, pace)
    return (replace(counted, retry_at=None) if counted.failures == 1 else counted), []


def _interruption(copy: Copy | None, moment: Moment) -> str:
    if moment.away:
        return "it ended while Docker was away" if copy is not None else "it was gone when Docker came back"
    if copy is None:
        return "its container was removed from outside fledx"
    return f"its container was stopped from outside fledx (exit code {copy.container.exit_code})"


def ending_of(container: Container, ran: float | None = None) -> str:
    """How a container ended, in words."""
    code = container.exit_code
    if container.oom_killed:
        words = f"killed for using more memory than its limit (exit code {code})"
    elif code is not None and 128 < code <= 128 + LAST_SIGNAL:
        words = f"killed by signal {code - 128} (exit code {code})"
    else:
        words = f"exited with code {code}"
    after = "" if ran is None else f" after {ran:.1f} s" if ran < 100 else f" after {ran / 60:.0f} min"
    return words + after + (f": {container.error}" if container.error else "")


def failed(history: History, moment: Moment, pace: Pace, *, slow: bool = False, at_least: float = 0.0) -> History:
    """One more failure in a row, and when to try again; `slow` goes to the slow pace at once."""
    failures = max(history.failures + 1, pace.limit + 1 if slow else 0)
    wait = max(delay(pace, failures, moment.spread), at_least * (1 + moment.spread / 4))
    return replace(history, failures=failures, retry_at=moment.now + wait, wait=wait)


def attempt_failed(
    history: History,
    problem: str,
    moment: Moment,
    pace: Pace,
    *,
    spoiled: str | None = None,
    pull: str | None = None,
    retry_after: float | None = None,
) -> History:
    """
    After an action that did not succeed; `spoiled` is a container that is not to be tried again.

    `pull` is the kind of failure of a pull. A registry that wants fewer of them is asked again after what it says, or
    at the slow pace.
    """
    after = replace(history, problem=problem, crashed=spoiled or history.crashed, pull=pull)
    slow = pull == "rate_limited" and retry_after is None
    return failed(after, moment, pace, slow=slow, at_least=retry_after or 0.0)


def pull_again(history: History, now: float) -> History:
    """What stood in the way of a pull is gone: no need to wait any longer."""
    return history if history.pull is None else replace(history, failures=0, retry_at=now, wait=0.0)


def started(history: History, container_id: str, now: float) -> History:
    """After a container was started, whether or not it still runs."""
    return replace(
        history,
        runs=history.runs + 1,
        serving=container_id,
        since=now,
        retry_at=None,
        repair=None,
        revive=None,
        sick=None,
        problem=None,
        pull=None,
    )


def resumed(history: History, container_id: str, now: float) -> History:
    """After a container went on without a new run of this template: it was paused, or it is an old copy."""
    return replace(history, serving=container_id, since=now, revive=None, repair=None)


def stopped(history: History, container_id: str) -> History:
    """After we ended a container because it was not wanted: no crash, no drift."""
    return replace(history, serving=None if history.serving == container_id else history.serving)


def put_down(
    history: History, replica: ReplicaDesired, container_id: str, reason: str, moment: Moment, pace: Pace
) -> History:
    """After we ended a container because its liveness probe failed: that counts as a crash, whatever its exit code."""
    stable = history.serves(container_id, at_least=pace.stable, now=moment.now)
    after = replace(
        history,
        serving=None,
        sick=None,
        crashed=container_id,
        ending=reason,
        lines=None,
        repair=None if replica.restart == "never" else reason,
        outside=False,
        failures=0 if stable else history.failures,
    )
    return failed(after, moment, pace)
