"""When to probe, and what the results mean; pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from fledx.models.health import (
    DEFAULT_INTERVAL,
    DEFAULT_START_PERIOD,
    DEFAULT_THRESHOLD,
    DEFAULT_TIMEOUT,
    DeploymentHealth,
    HealthProbe,
    HealthStatus,
)

EAGER_SECS = 1.0
"""Until a readiness probe has passed once it is asked at least this often: a rollout waits for it."""
ROLES = ("readiness", "liveness")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one probe found; ``output`` is what the probed said, bounded. Times of checks are stamps."""

    passed: bool
    words: str
    output: str | None = None
    at: str


@dataclass(frozen=True, kw_only=True)
class Watch:
    """
    One probe of one container: when it is due (monotonic seconds), and what it found so far.

    ``began`` is when the container was first seen running. ``passed_once`` ends eager asking and the start period.
    """

    role: str
    probe: HealthProbe
    began: float
    due: float
    failures: int = 0
    passed_once: bool = False
    last: Finding | None = None

    @property
    def interval(self) -> float:
        """Seconds between two probes at the moment."""
        usual = self.probe.interval_seconds or DEFAULT_INTERVAL
        return min(usual, EAGER_SECS) if self.role == "readiness" and not self.passed_once else usual

    @property
    def timeout(self) -> float:
        """Seconds one probe may take."""
        return self.probe.timeout_seconds or DEFAULT_TIMEOUT

    @property
    def threshold(self) -> int:
        """Failures in a row that count."""
        return self.probe.failure_threshold or DEFAULT_THRESHOLD

    @property
    def failing(self) -> bool:
        """Whether it has failed often enough to count."""
        return self.failures >= self.threshold


def watches_for(health: DeploymentHealth, container_id: str, now: float) -> list[Watch]:
    """
    What to watch in a container that has just been seen running.

    The first look is at once for readiness; liveness begins somewhere in its interval, decided by the container's id,
    so that the probes of a node do not fall on one instant.
    """
    found = []
    for role, probe in (("readiness", health.readiness), ("liveness", health.liveness)):
        if probe is not None:
            watch = Watch(role=role, probe=probe, began=now, due=now)
            within = EAGER_SECS / 10 if role == "readiness" else watch.interval
            found.append(replace(watch, due=now + _spread(f"{container_id}/{role}") * within))
    return found


def _spread(text: str) -> float:
    """A number from 0 to 1 that belongs to this text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def noted(watch: Watch, finding: Finding, now: float) -> Watch:
    """The watch after a probe: a failure in the start period counts for nothing, and a success ends that period."""
    after = replace(watch, last=finding, passed_once=watch.passed_once or finding.passed)
    grace = watch.probe.start_period_seconds or DEFAULT_START_PERIOD
    excused = watch.role == "liveness" and not watch.passed_once and now < watch.began + grace
    failures = 0 if finding.passed or excused else watch.failures + 1
    return replace(after, failures=failures, due=now + after.interval)


def put_off(watch: Watch, now: float) -> Watch:
    """The watch after a probe that could not be made, as Docker did not answer: that says nothing of the container."""
    return replace(watch, due=now + watch.interval)


def verdict(watch: Watch) -> str | None:
    """Why the container must be restarted, None while it need not."""
    if watch.role != "liveness" or not watch.failing or watch.last is None:
        return None
    times = f", {watch.failures} times in a row" if watch.failures > 1 else ""
    return f"liveness: {watch.last.words}{times}"


def status_of(watches: list[Watch]) -> HealthStatus | None:
    """Both probes together, None before either has found anything."""
    checked = [watch for watch in watches if watch.last is not None]
    readiness = [watch for watch in watches if watch.role == "readiness"]
    if not checked:
        return HealthStatus(healthy=True, ready=False) if readiness else None
    bad = [watch for watch in checked if watch.failing or (watch.role == "readiness" and watch.failures)]
    shown = (bad or sorted(checked, key=lambda watch: ROLES.index(watch.role)))[0]
    finding = shown.last
    assert finding is not None
    return HealthStatus(
        healthy=not any(watch.failing for watch in checked),
        ready=all(_is_ready(watch) for watch in readiness),
        last_probe_result=f"{shown.role}: {finding.words}",
        reason=f"{shown.role} failed {shown.threshold} times in a row or more" if shown.failing else None,
        last_error=None if finding.passed else finding.output or finding.words,
        last_checked_at=finding.at,
    )


def _is_ready(watch: Watch) -> bool:
    """Once it has passed, a readiness probe must fail as often as its threshold says before the instance is unready."""
    return watch.passed_once and not watch.failing
