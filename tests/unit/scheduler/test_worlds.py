"""Thousands of seeded worlds, in which the scheduler and a plain scan must agree on every plan and every reason."""

from __future__ import annotations

from collections import Counter

import pytest

from tests import rounds
from tests.unit.scheduler.worlds import Story

#: As `build.py test --soak --seed N` says; FLEDX_WORLDS=100000 FLEDX_SEED=7 pytest tests/unit/scheduler alone.
WORLDS, FIRST = rounds.worlds(), rounds.first_seed()
QUICK = 200


def run(first: int, count: int) -> Counter[str]:
    """Live through so many worlds; a breach names its seed."""
    seen: Counter[str] = Counter()
    for seed in range(first, first + count):
        try:
            seen.update(Story(seed).live())
        except Exception as breach:
            raise AssertionError(f"replay with FLEDX_SEED={seed} FLEDX_WORLDS=1: {breach!r}") from breach
    return seen


def test_some_worlds_are_planned_as_a_plain_scan_plans_them() -> None:
    seen = run(FIRST, min(QUICK, WORLDS))
    assert seen["plans"] > 0 or WORLDS < QUICK


@pytest.mark.slow
def test_fault_39_many_worlds_are_planned_as_a_plain_scan_plans_them() -> None:
    seen = run(FIRST + QUICK, max(0, WORLDS - QUICK))
    if WORLDS >= 1000:
        assert min(seen.values()) > WORLDS / 4, f"the worlds do not try enough: {seen}"
