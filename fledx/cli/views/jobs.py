"""What deployments have that are not plain services: their mode, and when jobs ran and run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fledx.cli.views.text import age, brief, harmless, span

Json = Mapping[str, Any]
MODE, OUTCOME, NEXT = "MODE", "OUTCOME", "NEXT"


def mode_cell(item: Json) -> str:
    """The mode, empty for a service."""
    return harmless(item["mode"]) if item.get("mode", "service") != "service" else ""


def mode_line(item: Json) -> str | None:
    """`job at */5 * * * * by the clocks of UTC, 3 retries`; nothing for a service."""
    if item.get("mode", "service") != "job":
        return mode_cell(item) or None
    when = f" at {item['schedule']} by the clocks of {item.get('timezone') or 'UTC'}" if item.get("schedule") else ""
    retries = item.get("retries")
    tries = "1 retry" if retries == 1 else f"{3 if retries is None else retries} retries"
    return harmless(f"job{when}, {tries}")


def ahead(moment: str | None, now: float) -> str:
    """`in 3m`; empty where nothing is due."""
    if moment is None:
        return ""
    from fledx.models.moment import unix

    return f"in {span(max(0.0, unix(moment) - now))}"


def run_lines(item: Json, now: float) -> list[tuple[str, str | None]]:
    """The outcome of a job; when a schedule ran last and does next, and what came of the last runs."""
    outcome = ("outcome", harmless(item["outcome"]) if item.get("outcome") else None)
    if not item.get("schedule"):
        return [outcome]
    jobs = [each["job"] for each in item.get("instances") or () if each.get("job")]
    ended = [run for job in jobs for run in (job.get("run"), job.get("last")) if run and run.get("outcome")]
    skipped = sum(job.get("skipped", 0) for job in jobs)
    last, following = item.get("last_run"), item.get("next_run")
    return [
        outcome,
        ("last run", f"{harmless(last)}, {age(last, now)} ago" if last else None),
        ("next run", f"{harmless(following)}, {ahead(following, now)}" if following else None),
        *[("ended", brief(f"{run['due']} {run['outcome']}: {run.get('reason') or ''}")) for run in ended],
        ("skipped", f"{skipped} times that were due" if skipped else None),
    ]
