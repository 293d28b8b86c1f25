"""A replica that runs to its end: what its containers say about the present run, and what is to be done; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fledx.agent.backoff import Pace
from fledx.agent.reconcile.actions import Action, Copy, Examine, Remove, Resume, Start, Stop
from fledx.agent.reconcile.firing import Record
from fledx.agent.reconcile.history import History, Moment, Note, ending_of, failed
from fledx.agent.spec import Key
from fledx.models.desired import ReplicaDesired
from fledx.models.job import JobDesired, JobRun


def present(record: Record, copies: Sequence[Copy]) -> Copy | None:
    """The container that counts: of the present run, one that lives before one that does not, then the younger."""
    mine = [copy for copy in copies if copy.marks.run == record.id]
    return max(mine, key=lambda copy: (copy.alive, copy.container.created_at, copy.container.id), default=None)


def looked_at(
    record: Record,
    history: History | None,
    replica: ReplicaDesired,
    job: JobDesired,
    copies: Sequence[Copy],
    moment: Moment,
    pace: Pace,
) -> tuple[Record, History, list[Note]]:
    """Both after this look; an end is counted once its last lines were read, which say why."""
    if history is None or (history.template, history.fence) != (record.id, replica.fence):
        history = History(template=record.id, fence=replica.fence)
    copy = present(record, copies)
    if not record.going or record.run is None or replica.desired_state == "stopped":
        return record, replace(history, serving=None), []
    if copy is None:
        return _vanished(record, history, job, moment, pace)
    if copy.alive:
        run = replace(record.run, started_at=record.run.started_at or copy.container.started_at)
        known = history.serving == copy.container.id
        notes = [] if known else [Note(kind="adopt", reason=f"container {copy.container.name} runs already")]
        history = history if known else replace(history, serving=copy.container.id, since=moment.now)
        return replace(record, run=run, boot=moment.boot), history, notes
    ended = copy.container.state in ("exited", "dead") and copy.container.id != record.counted
    explained = copy.container.exit_code == 0 or history.examined == copy.container.id
    if not ended or not (explained or _interrupted(record, moment)):
        return record, history, []
    return _after_end(record, history, job, copy, moment, pace)


def _vanished(
    record: Record, history: History, job: JobDesired, moment: Moment, pace: Pace
) -> tuple[Record, History, list[Note]]:
    if history.serving is None:
        return record, history, []
    history = replace(history, serving=None)
    if moment.away:
        return record, history, []
    return _one_failure(record, history, job, "its container was removed from outside fledx", None, moment, pace)


def _after_end(
    record: Record, history: History, job: JobDesired, copy: Copy, moment: Moment, pace: Pace
) -> tuple[Record, History, list[Note]]:
    container = copy.container
    ran = moment.now - history.since if history.serving == container.id else None
    starved = container.oom_killed or container.id in moment.starved
    ending = ending_of(replace(container, oom_killed=starved), ran)
    lines = history.lines if history.examined == container.id else None
    record, history = replace(record, counted=container.id), replace(history, serving=None)
    if container.exit_code == 0 and record.run is not None:
        run = replace(record.run, outcome="succeeded", exit_code=0, reason=ending, ended_at=container.finished_at)
        run = replace(run, started_at=run.started_at or container.started_at)
        return replace(record, run=run), replace(history, retry_at=None), [Note(kind="exit", reason=ending)]
    if _interrupted(record, moment):
        reason = f"{ending}; that counts for nothing, as the engine or the machine was restarted"
        return record, history, [Note(kind="interrupted", reason=reason)]
    reason = f"{ending}\n{lines}" if lines else ending
    return _one_failure(record, history, job, reason, copy, moment, pace)


def _interrupted(record: Record, moment: Moment) -> bool:
    return moment.away or (record.boot is not None and record.boot != moment.boot)


def _one_failure(
    record: Record, history: History, job: JobDesired, reason: str, copy: Copy | None, moment: Moment, pace: Pace
) -> tuple[Record, History, list[Note]]:
    """One attempt less; after the last one the run has failed."""
    run = record.run or JobRun()
    code = copy.container.exit_code if copy else None
    run = replace(run, failures=run.failures + 1, exit_code=code, reason=reason)
    if copy is not None:
        run = replace(run, started_at=run.started_at or copy.container.started_at)
    if run.failures <= job.retries:
        note = Note(kind="crash", reason=f"attempt {run.failures} of {job.retries + 1}: {reason}")
        return replace(record, run=run), failed(history, moment, pace), [note]
    ended = copy.container.finished_at if copy else None
    run = replace(run, outcome="failed", ended_at=ended, reason=f"{_attempts(run.failures)} failed, the last: {reason}")
    return replace(record, run=run), history, [Note(kind="gave_up", reason=run.reason or "")]


def _attempts(count: int) -> str:
    return "the only attempt" if count == 1 else f"{count} attempts"


def job_actions(
    key: Key, replica: ReplicaDesired, record: Record, copies: Sequence[Copy], history: History, now: float
) -> Iterator[Action]:
    """
    What is due for a job, in the order it must be done.

    Of the present run one container lives; the youngest that has ended is kept for its logs. A run that a schedule has
    begun goes on as it began, though the template has changed meanwhile.
    """
    stopped = replica.desired_state == "stopped"
    copy = present(record, copies)
    if copy is not None and copy.container.state == "created":
        copy = None
    keep = copy or _youngest_ended(copies)
    for other in copies:
        if other.alive and (other is not copy or stopped or not record.going):
            reason = "the deployment is stopped" if stopped else "it belongs to an earlier run"
            yield Stop(key=key, kind="stop", reason=reason, copy=other, remove=other is not keep or stopped)
        elif not other.alive and other is not keep:
            yield Remove(key=key, kind="remove", reason="nobody needs it any more", copy=other)
    if record.going and not stopped:
        yield from _next_step(key, replica, record, copy, history, now)


def _youngest_ended(copies: Sequence[Copy]) -> Copy | None:
    ended = [copy for copy in copies if copy.container.state == "exited"]
    return max(ended, key=lambda copy: (copy.container.created_at, copy.container.id), default=None)


def _next_step(
    key: Key, replica: ReplicaDesired, record: Record, copy: Copy | None, history: History, now: float
) -> Iterator[Action]:
    if copy is not None and copy.alive:
        yield from _meddled_with(key, replica, copy)
        return
    if copy is not None and copy.container.id != record.counted:
        if copy.container.exit_code != 0 and history.examined != copy.container.id:
            reason = "its last lines say why it ended"
            yield Examine(key=key, kind="examine", reason=reason, copy=copy)
        return
    if history.retry_at is not None and now < history.retry_at:
        return
    run = record.run or JobRun()
    kind, reason = "start", f"the run that was due at {run.due}" if run.due else "assigned to this node"
    if run.failures:
        kind, reason = "restart", f"attempt {run.failures + 1}, as the last one failed: {run.reason}"
    yield Start(key=key, kind=kind, reason=reason, replica=replica, restarts=run.failures, run=record.id)


def _meddled_with(key: Key, replica: ReplicaDesired, copy: Copy) -> Iterator[Action]:
    if copy.container.state == "paused":
        reason = "its container was paused from outside fledx"
        yield Resume(key=key, kind="drift", reason=reason, replica=replica, copy=copy)
    elif copy.container.state == "restarting":
        reason = "its container was given a restart policy from outside fledx"
        yield Stop(key=key, kind="drift", reason=reason, copy=copy, remove=True)
