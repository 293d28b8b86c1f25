"""What running instances use, sampled; each sample is told once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fledx.agent.clock import Clock
from fledx.agent.reconcile.actions import Copy
from fledx.agent.runtime.base import Runtime
from fledx.agent.runtime.containers import Usage
from fledx.agent.spec import Key
from fledx.errors import FledxError
from fledx.settings.agent import AgentSettings

logger = logging.getLogger(__name__)


SAMPLE_SECS, METERED_SAMPLE_SECS = 30.0, 120.0


def sample_interval(settings: AgentSettings) -> float:
    """Seconds between two samples of an instance: as set, else by what the link costs."""
    usual = METERED_SAMPLE_SECS if settings.metered else SAMPLE_SECS
    return usual if settings.resource_sample_interval_secs is None else settings.resource_sample_interval_secs


def cpu_percent(before: Usage, now: Usage) -> float | None:
    """Percent of one core between two readings of one run; None where they are not two or the counter began anew."""
    seconds, used = now.at - before.at, now.cpu_seconds - before.cpu_seconds
    if seconds <= 0 or used < 0:
        return None
    return round(used / seconds * 100, 2)


class Sampler:
    """Reads the counters of every running instance once an interval, one after the other, as nothing hurries."""

    def __init__(
        self,
        runtime: Runtime,
        clock: Clock,
        *,
        interval: float,
        running: Callable[[], Sequence[tuple[Key, Copy]]],
        sampled: Callable[[Sequence[Mapping[str, Any]]], None],
    ) -> None:
        self.latest: dict[Key, Mapping[str, Any]] = {}
        self._runtime = runtime
        self._clock = clock
        self._interval = interval
        self._running = running
        self._sampled = sampled
        self._before: dict[str, Usage] = {}

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            await self._clock.sleep(self._interval)
            try:
                await self.round()
            except Exception:
                logger.exception("a round of samples failed")

    async def round(self) -> None:
        """One reading of all; the first of a container only gives later ones something to be compared with."""
        running = list(self._running())
        ids = {copy.container.id for _, copy in running}
        self._before = {name: usage for name, usage in self._before.items() if name in ids}
        found = {}
        for key, copy in running:
            try:
                usage = await self._runtime.usage(copy.container.id)
            except FledxError:
                return
            before = self._before.get(copy.container.id)
            if usage is not None:
                self._before[copy.container.id] = usage
                percent = cpu_percent(before, usage) if before else None
                if percent is not None:
                    found[key] = self._sample(key, usage, percent)
        self.latest = dict(found)
        if found:
            self._sampled(list(found.values()))

    def _sample(self, key: Key, usage: Usage, percent: float) -> Mapping[str, Any]:
        return {
            "deployment_id": key[0],
            "replica_number": key[1],
            "minute": int(self._clock.utc().timestamp() // 60),
            "cpu_percent": percent,
            "memory_bytes": usage.memory_bytes,
            "network_rx_bytes": usage.network_rx_bytes,
            "network_tx_bytes": usage.network_tx_bytes,
            "blk_read_bytes": usage.blk_read_bytes,
            "blk_write_bytes": usage.blk_write_bytes,
        }
