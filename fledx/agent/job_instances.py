"""What the control plane is told of a replica that is a job; pure, as `instances.py` is for what runs on."""

from __future__ import annotations

from dataclasses import dataclass

from fledx.agent.reconcile.actions import Copy
from fledx.agent.reconcile.firing import Record
from fledx.agent.reconcile.history import History
from fledx.models.desired import ReplicaDesired
from fledx.models.job import JobDesired, JobStatus


@dataclass(frozen=True, kw_only=True)
class JobKnown:
    """What decides how a job is told: ``copy`` is its present run's container, ``busy`` what is done or awaited."""

    replica: ReplicaDesired
    job: JobDesired
    record: Record
    copy: Copy | None
    history: History | None
    busy: str


def job_status(record: Record) -> JobStatus:
    """The part that jobs have beside other instances."""
    return JobStatus(run=record.run, last=record.last, next_run=record.next_run, skipped=record.skipped)


def job_state(known: JobKnown) -> tuple[str, str]:
    """The word and the sentence."""
    record = known.record
    if known.copy is not None and known.copy.running:
        return "running", known.busy
    if record.trouble is not None and not record.going:
        return "failed", record.trouble
    if known.replica.desired_state == "stopped":
        return "stopped", known.busy
    if record.run is None or record.run.outcome is None:
        return _before_the_end(known)
    if known.job.schedule is not None:
        return "stopped", f"next run at {record.next_run}; the last one {record.run.outcome}: {record.run.reason or ''}"
    return ("stopped" if record.run.outcome == "succeeded" else "failed"), record.run.reason or ""


def _before_the_end(known: JobKnown) -> tuple[str, str]:
    record, history = known.record, known.history
    if record.run is None:
        return "stopped", f"next run at {record.next_run}" if record.next_run else ""
    if known.busy:
        return "pending", known.busy
    wait = f"tried again after {history.wait:.0f} s" if history is not None and history.wait >= 1 else ""
    if history is not None and history.problem is not None:
        return ("pending" if history.failures < 3 else "failed"), f"{history.problem}; {wait}"
    if record.run.failures:
        head, newline, lines = (record.run.reason or "").partition("\n")
        count = f"attempt {record.run.failures} of {known.job.retries + 1} failed"
        return "pending", f"{count}, {wait or 'tried again at once'}: {head}{newline}{lines}"
    return "pending", ""
