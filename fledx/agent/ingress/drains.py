"""Endpoints that drain: looked at until nothing is under way there any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import anyio
import anyio.to_thread

from fledx.agent.clock import Clock
from fledx.agent.ingress.connected import connected
from fledx.agent.ingress.envoy_config.shapes import Target
from fledx.agent.ingress.targets import Reached
from fledx.models.ingress import Backend, Drained

SETTLED_SECS = 0.05
"""After Envoy has shown a version its workers have it too."""
AGAIN_SECS = 0.1


class Drains:
    """
    Keeps which draining endpoints are done with.

    `inline` says whether Envoy has endpoints within their clusters, `active` counts what it has under way by backend
    and endpoint, `busy` knows whether it has a connection to a socket.
    """

    def __init__(
        self,
        *,
        inline: Callable[[], bool],
        active: Callable[[], Awaitable[Mapping[tuple[str, str], int]]],
        busy: Callable[[str], bool],
        clock: Clock,
    ) -> None:
        self._inline = inline
        self._active = active
        self._busy = busy
        self._clock = clock
        self._over: set[Drained] = set()

    def over(self) -> tuple[Drained, ...]:
        """Those that have nothing under way any more."""
        return tuple(sorted(self._over, key=lambda each: (each.backend, each.replica_number, each.fence)))

    async def look(self, ways: Sequence[Reached], awaited: Collection[str]) -> float | None:
        """
        Note which of these have finished; seconds until the next look is due, None when there is nothing to wait for.

        Envoy must have been told of all `ways` by now; `awaited` names the backends whose next instance is waited for.
        """
        draining = [each for each in ways if each.endpoint.draining]
        self._over &= {each.drained for each in draining}
        waiting = [each for each in draining if each.drained not in self._over]
        if not waiting:
            return None
        await anyio.sleep(SETTLED_SECS)
        began = self._clock.monotonic()
        busy = await self._under_way({each.backend.name for each in waiting}, awaited)
        self._over |= {each.drained for each in waiting if each.target is None or not busy(each.backend, each.target)}
        if len(self._over) == len(draining):
            return None
        return max(AGAIN_SECS, 5 * (self._clock.monotonic() - began))

    async def _under_way(self, names: set[str], awaited: Collection[str]) -> Callable[[Backend, Target], bool]:
        """
        Whether something is under way at an endpoint of one of these backends.

        Envoy counts requests, but not of endpoints that it has been told of no more, or anew: the connections that it
        keeps to one that drains are for nothing else.
        """
        inline = self._inline()
        active = {} if inline else await self._active()
        there = await anyio.to_thread.run_sync(connected) if inline or names & set(awaited) else set()

        def busy(backend: Backend, target: Target) -> bool:
            if not inline and backend.name not in awaited:
                return active.get((backend.name, target.shown), 0) > 0
            if target.port is None:
                return self._busy(target.address)
            return (target.address, target.port) in there

        return busy
