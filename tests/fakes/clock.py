"""A clock that stands still until a test advances it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import anyio

from fledx.agent.clock import Clock, Wake

START = datetime(2026, 11, 25, 12, 0, tzinfo=timezone.utc)


class FakeClock(Clock):
    """Time passes only by `advance`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._alarms: list[tuple[float, anyio.Event]] = []

    def monotonic(self) -> float:
        return self.now

    def utc(self) -> datetime:
        return START + timedelta(seconds=self.now - 1000.0)

    async def sleep(self, seconds: float) -> None:
        alarm = anyio.Event()
        entry = (self.now + seconds, alarm)
        if seconds <= 0:
            return
        self._alarms.append(entry)
        try:
            await alarm.wait()
        finally:
            if entry in self._alarms:
                self._alarms.remove(entry)

    async def wait(self, wake: Wake, seconds: float) -> None:
        async with anyio.create_task_group() as tasks:

            async def alarm() -> None:
                await self.sleep(seconds)
                tasks.cancel_scope.cancel()

            tasks.start_soon(alarm)
            await wake.answer()
            tasks.cancel_scope.cancel()

    def advance(self, seconds: float) -> None:
        """Let time pass; whoever waited for a moment in it goes on."""
        self.now += seconds
        for moment, alarm in list(self._alarms):
            if moment <= self.now:
                alarm.set()
                self._alarms.remove((moment, alarm))
