"""How long to wait before trying again; pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Pace:
    """
    Seconds and counts: the first wait, the longest of the quick ones, how many quick tries, the slow wait after them.

    An instance that has run for ``stable`` seconds is forgiven what went wrong before.
    """

    first: float = 1.0
    longest: float = 30.0
    limit: int = 5
    slow: float = 300.0
    stable: float = 30.0


def delay(pace: Pace, failures: int, spread: float) -> float:
    """
    Seconds to wait after so many failures in a row (at least 1).

    `spread`, between 0 and 1, lengthens the wait by up to a quarter, so that those who failed together do not come back
    together.
    """
    quick = min(pace.longest, pace.first * 2.0 ** min(failures - 1, 30))
    return (pace.slow if failures > pace.limit else quick) * (1 + spread / 4)


def full_jitter(first: float, longest: float, attempt: int, spread: float) -> float:
    """Seconds before redial `attempt` (from 0): anything up to a bound that doubles; `spread` is between 0 and 1."""
    return spread * min(longest, first * 2.0 ** min(attempt, 30))
