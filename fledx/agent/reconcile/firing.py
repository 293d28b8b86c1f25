"""When a job's next run begins: at once and once, or whenever its schedule is due; pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fledx.agent.reconcile.history import Note
from fledx.errors import InvalidSpec
from fledx.models import cron
from fledx.models.desired import ReplicaDesired
from fledx.models.job import JobDesired, JobRun

CATCH_UP = timedelta(hours=24)
"""A time that was missed is made up once if it was not longer ago: a nightly job of a machine that was off at night."""
CLOCK_JUMP = timedelta(hours=1)
"""A clock that went back by more was wrong before; by less, what it has seen already is waited for."""
MOST_COUNTED = 1000


@dataclass(frozen=True, kw_only=True)
class Record:
    """
    What a node must remember of a job, over restarts of the agent and of the machine; times are RFC 3339 in UTC.

    ``id`` names the present run: the template and fence of one that runs once, the time it was due for a schedule.
    ``counted`` is the container whose end has been counted, ``boot`` the start of the machine in which one of the run
    was last seen running. ``handled`` is up to when the schedule ``pattern`` has been kept, ``trouble`` why it cannot
    be.
    """

    id: str = ""
    run: JobRun | None = None
    last: JobRun | None = None
    counted: str | None = None
    boot: str | None = None
    pattern: str = ""
    handled: str | None = None
    next_run: str | None = None
    skipped: int = 0
    trouble: str | None = None

    @property
    def going(self) -> bool:
        """Whether there is a run whose outcome is not known."""
        return self.run is not None and self.run.outcome is None


def stamp(moment: datetime) -> str:
    """As times of runs are written: RFC 3339, whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def fired(record: Record | None, replica: ReplicaDesired, job: JobDesired, now: datetime) -> tuple[Record, list[Note]]:
    """The record with the run that is to go on now, and what is to be told of it."""
    known = record or Record()
    if job.schedule is None:
        return _once(known, replica, job), []
    pattern = f"{job.schedule} {job.timezone}"
    try:
        return _scheduled(known, replica, job.schedule, job.timezone, pattern, now)
    except InvalidSpec as problem:
        return replace(known, pattern=pattern, next_run=None, trouble=problem.text), []


def _once(record: Record, replica: ReplicaDesired, job: JobDesired) -> Record:
    """What the control plane has stored as done is done, though this node may have forgotten."""
    name = f"{replica.template}-{replica.fence}"
    if record.id != name:
        record = Record(id=name, run=JobRun())
    if job.done is not None and record.going and record.run is not None:
        return replace(record, run=replace(record.run, outcome=job.done, reason="it had run to its end before"))
    return record


def _scheduled(
    record: Record, replica: ReplicaDesired, schedule: str, zone: str, pattern: str, now: datetime
) -> tuple[Record, list[Note]]:
    if replica.desired_state == "stopped":
        run = record.run
        if run is not None and record.going:
            run = replace(run, outcome="failed", ended_at=stamp(now), reason="the deployment was stopped meanwhile")
        return replace(record, run=run, pattern="", handled=None, next_run=None, trouble=None), []
    handled = None if record.handled is None else datetime.fromisoformat(record.handled.replace("Z", "+00:00"))
    if record.pattern != pattern or handled is None or handled - now > CLOCK_JUMP:
        following = stamp(cron.next_after(schedule, zone, now))
        return replace(record, pattern=pattern, handled=stamp(now), next_run=following, trouble=None), []
    if record.next_run is not None and stamp(now) < record.next_run:
        return record, []
    slot, count = cron.last_until(schedule, zone, now), 0
    moment = handled
    while count < MOST_COUNTED and (moment := cron.next_after(schedule, zone, moment)) <= slot:
        count += 1
    following = stamp(cron.next_after(schedule, zone, now))
    kept = replace(record, handled=stamp(now), next_run=following, trouble=None)
    return _begun(kept, slot, count, now)


def _begun(record: Record, slot: datetime, count: int, now: datetime) -> tuple[Record, list[Note]]:
    """A new run, unless one goes on or it is too late; `count` times were due since the last look, `slot` the last."""
    if count == 0 or stamp(slot) == record.id:
        return record, []
    if record.going and record.run is not None:
        reason = f"not begun, as the run that was due at {record.run.due} goes on"
        return replace(record, skipped=record.skipped + count), [Note(kind="skipped", reason=reason)]
    if now - slot > CATCH_UP:
        reason = f"{_times(count)} missed, the last at {stamp(slot)}, which is too long ago to be made up"
        return replace(record, skipped=record.skipped + count), [Note(kind="missed", reason=reason)]
    notes = []
    if count > 1:
        reason = f"{_times(count - 1)} missed before the run that was due at {stamp(slot)}"
        notes = [Note(kind="missed", reason=reason)]
    fresh = replace(record, id=stamp(slot), run=JobRun(due=stamp(slot)), counted=None, boot=None)
    return replace(fresh, last=record.run or record.last, skipped=record.skipped + count - 1), notes


def _times(count: int) -> str:
    return "1 time was" if count == 1 else f"{count} times were"
