"""Replicas that run to their end, once or whenever a schedule is due."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_RETRIES = 3
MAX_RETRIES = 1000


@dataclass(frozen=True, kw_only=True)
class JobDesired:
    """
    How an agent runs a replica that is a job.

    One that failed is started again so many times (``retries``). ``schedule`` is a cron expression by the clocks of
    ``timezone``; without one it runs once. ``done`` is the outcome that the control plane has stored of its only run:
    it is not to run again, whatever has become of the container.
    """

    retries: int = DEFAULT_RETRIES
    schedule: str | None = None
    timezone: str = "UTC"
    done: str | None = None


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """
    One run; times are RFC 3339 in UTC.

    ``due`` is when the schedule wanted it, None for one that runs once. ``outcome`` is succeeded or failed, None while
    it is not decided; ``failures`` counts its attempts that failed, ``reason`` says how the last one ended.
    """

    due: str | None = None
    outcome: str | None = None
    failures: int = 0
    exit_code: int | None = None
    started_at: str | None = None
    ended_at: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """
    What an agent knows of a job: the run that goes on, or else the last one, and the one before; when the next is due.

    ``skipped`` counts the times that were due and not kept: the run before still went on, or the node was off.
    """

    run: JobRun | None = None
    last: JobRun | None = None
    next_run: str | None = None
    skipped: int = 0
