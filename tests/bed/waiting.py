"""Waiting on a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(check: Callable[[], T], *, within: float = 20.0, every: float = 0.05) -> T:
    """
    What ``check`` returns, once that is true and no error; the last error, or an assertion, after ``within`` seconds.

    Errors that mean "not yet" are OSError, RuntimeError and AssertionError.
    """
    end = time.monotonic() + within
    while True:
        try:
            result = check()
            if result or time.monotonic() > end:
                assert result, f"still {result!r} after {within:g} s"
                return result
        except (OSError, RuntimeError, AssertionError):
            if time.monotonic() > end:
                raise
        time.sleep(every)
