"""Time as the agent's loops see it, so that tests can hold and advance it."""

from __future__ import annotations

import time
from datetime import datetime, timezone

import anyio


class Wake:
    """A bell that stays rung until somebody has answered it, however often it was rung meanwhile."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        """Ask for attention."""
        self._rung.set()

    async def answer(self) -> None:
        """Wait until it rings, and silence it."""
        await self._rung.wait()
        self._rung = anyio.Event()


class Clock:
    """The machine's clocks: `monotonic` for every wait and limit, `utc` only for stamps, as it may jump by a year."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary point, never going back."""
        return time.monotonic()

    def utc(self) -> datetime:
        """Now, aware."""
        return datetime.now(timezone.utc)

    def stamp(self) -> str:
        """Now, RFC 3339 with milliseconds and Z."""
        return self.utc().isoformat(timespec="milliseconds").replace("+00:00", "Z")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)

    async def wait(self, wake: Wake, seconds: float) -> None:
        """Wait for the bell, but no longer than this."""
        with anyio.move_on_after(max(0.0, seconds)):
            await wake.answer()
