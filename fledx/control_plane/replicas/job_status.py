"""What a job's state is called, and why; pure, as `status.py` is for what runs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fledx.control_plane.replicas.status import Derived, current, replicas_word, telling
from fledx.models.assignment import Assignment
from fledx.models.deployment import DeploymentSpec, Pending
from fledx.models.instance import Instance
from fledx.models.job import JobRun, JobStatus


def derive_job(
    spec: DeploymentSpec,
    owners: Sequence[Assignment],
    pending: Sequence[Pending],
    instances: Sequence[Instance],
    away: Mapping[str, str],
    finished: Mapping[int, JobRun],
) -> Derived:
    """
    The state of a job; `finished` are the ends that were stored, which count whatever has become of their nodes.

    One that runs once is running while all that is left of it runs, then stopped or failed by its outcome; it has
    failed as soon as one replica has. One with a schedule is running as long as agents keep it; a failed run is told by
    the outcome and the reason, and the next one may mend it.
    """
    known = current(instances, owners)
    if spec.schedule is not None:
        return _scheduled(spec, owners, pending, known, away)
    seen = {n: each for n, each in known.items() if each.node_id not in away and n not in finished}
    failed = {n: run for n, run in sorted(finished.items()) if run.outcome == "failed"}
    succeeded = len(finished) - len(failed)
    ready = succeeded + sum(each.ready for each in seen.values())
    if spec.desired_state == "stopped":
        outcome = "failed" if failed else "succeeded" if len(finished) >= spec.replicas else None
        return replace(_stopping(seen, succeeded), outcome=outcome)
    if failed:
        number, run = next(iter(failed.items()))
        reason = f"replica {number}: {run.reason or 'failed'}"
        return Derived(status="failed", reason=reason, ready=succeeded, outcome="failed")
    if len(finished) >= spec.replicas:
        return Derived(status="stopped", reason=None, ready=succeeded, outcome="succeeded")
    left = [owner for owner in owners if owner.replica_number not in finished]
    if not pending and left and all(_runs(seen.get(owner.replica_number)) for owner in left):
        return Derived(status="running", reason=None, ready=ready)
    word = "pending" if pending and not ready else "deploying"
    return Derived(status=word, reason=telling(left, pending, seen, away), ready=ready)


def _stopping(seen: Mapping[int, Instance], ready: int) -> Derived:
    left = sum(each.state in ("running", "pending") for each in seen.values())
    if left:
        return Derived(status="deploying", reason=f"{replicas_word(left)} still stopping", ready=ready)
    return Derived(status="stopped", reason=None, ready=ready)


def _runs(each: Instance | None) -> bool:
    return each is not None and each.state == "running"


def _scheduled(
    spec: DeploymentSpec,
    owners: Sequence[Assignment],
    pending: Sequence[Pending],
    known: Mapping[int, Instance],
    away: Mapping[str, str],
) -> Derived:
    jobs = [each.job for each in known.values() if each.job is not None]
    outcome, last, following = (
        outcome_of(jobs),
        last_run(jobs),
        min((j.next_run for j in jobs if j.next_run), default=None),
    )
    seen = {n: each for n, each in known.items() if each.node_id not in away}
    if spec.desired_state == "stopped":
        found = _stopping(seen, 0)
        return Derived(status=found.status, reason=found.reason, ready=0, outcome=outcome, last_run=last)
    kept = [n for n, each in seen.items() if each.job is not None and (each.job.next_run or each.state == "running")]
    reason = None
    if len(kept) < spec.replicas or pending:
        reason = telling([owner for owner in owners if owner.replica_number not in kept], pending, seen, away)
    broken = any(each.state == "failed" for n, each in seen.items() if n not in kept)
    status = "running" if reason is None else "failed" if broken else "pending" if pending and not kept else "deploying"
    if reason is None and outcome == "failed":
        reason = next((f"the last run failed: {run.reason}" for run in map(ended, jobs) if run and run.reason), None)
    return Derived(status=status, reason=reason, ready=len(kept), outcome=outcome, last_run=last, next_run=following)


def ended(job: JobStatus) -> JobRun | None:
    """The run that ended last."""
    return job.run if job.run is not None and job.run.outcome is not None else job.last


def outcome_of(jobs: Sequence[JobStatus]) -> str | None:
    """Of the runs that ended last: failed if one has, succeeded if all have that ended, else None."""
    outcomes = {run.outcome for run in map(ended, jobs) if run is not None}
    return "failed" if "failed" in outcomes else "succeeded" if outcomes else None


def last_run(jobs: Sequence[JobStatus]) -> str | None:
    """When the newest run was due."""
    return max((job.run.due for job in jobs if job.run is not None and job.run.due), default=None)
