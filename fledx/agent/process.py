"""The agent's own process: systemd hears that it lives, and what starting up has used and freed goes back."""

from __future__ import annotations

import contextlib
import gc

import anyio

from fledx import systemd_notify

SETTLE_SECS = 10.0


async def look_after_the_process(name: str, settle_secs: float = SETTLE_SECS) -> None:
    """For as long as systemd wants to hear that we live; without a watchdog until start-up has settled."""
    systemd_notify.ready(f"node {name}")
    await anyio.sleep(settle_secs)
    _settle()
    while (limit := systemd_notify.watchdog_secs()) is not None:
        systemd_notify.alive()
        await anyio.sleep(limit / 3)


def _settle() -> None:
    """
    Take what start-up has made out of every later garbage collection, and give back what it has freed.

    malloc_trim(3) is glibc's; it returns 4 of 43 MB. A Python without ctypes does without.
    """
    gc.collect()
    gc.freeze()
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
