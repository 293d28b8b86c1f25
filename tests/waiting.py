"""Waiting on a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from http.client import HTTPException
from typing import TypeVar

import anyio

T = TypeVar("T")
LIMIT_SECS = 60.0
"""For what never comes; a machine that is held up for some seconds is no failure."""


def eventually(check: Callable[[], T], *, within: float = LIMIT_SECS, every: float = 0.05) -> T:
    """
    What ``check`` returns, once that is true and no error; the last error, or an assertion, after ``within`` seconds.

    Errors that mean "not yet" are OSError, HTTPException, RuntimeError and AssertionError.
    """
    end = time.monotonic() + within
    while True:
        try:
            result = check()
            if result or time.monotonic() > end:
                assert result, f"still {result!r} after {within:g} s"
                return result
        except (OSError, HTTPException, RuntimeError, AssertionError):
            if time.monotonic() > end:
                raise
        time.sleep(every)


async def until(true: Callable[[], object], *, within: float = LIMIT_SECS) -> None:
    """Let the rest of the loop run until it is so; TimeoutError when that does not come."""
    with anyio.fail_after(within):
        while not true():
            await anyio.sleep(0.002)


def in_time(attempt: Callable[[], float], promised: float, *, tries: int = 3) -> float:
    """
    The seconds of the first attempt that took no longer than is promised, else those of the last.

    What is held up by the machine now and then is in time at another attempt; what is slow is slow each time.
    """
    took = attempt()
    while (tries := tries - 1) and _late(took, promised):
        took = attempt()
    return took


async def in_time_async(attempt: Callable[[], Awaitable[float]], promised: float, *, tries: int = 3) -> float:
    """`in_time`, for an attempt that is awaited."""
    took = await attempt()
    while (tries := tries - 1) and _late(took, promised):
        took = await attempt()
    return took


def _late(took: float, promised: float) -> bool:
    if took > promised:
        print(f"took {took:.1f} s, {promised:g} s are promised: once more", flush=True)
    return took > promised
