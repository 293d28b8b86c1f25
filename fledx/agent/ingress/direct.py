"""Other nodes' instances without the tunnel: found out by trying, never assumed, and only where that is set."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable

import anyio
from anyio.abc import SocketAttribute

from fledx.agent.clock import Clock, Wake
from fledx.models.ingress import Endpoint

logger = logging.getLogger(__name__)

Place = tuple[str, int]
Tried = dict[tuple[str, ...], "Place | None"]

TRY_SECS = 1.0
LOOK_SECS, CHECK_SECS = 15.0, 2.0
"""Between two tries of everything, and of what is in use: it has the tunnel to fall back on, and should do so soon."""
AT_ONCE = 16


class Direct:
    """
    Tries the addresses of endpoints every quarter of a minute, those in use more often, and those that are new at once.

    Something that answers at an address may be another machine of the same private network's number elsewhere: that is
    why this is a setting.
    """

    def __init__(
        self, *, endpoints: Callable[[], Iterable[Endpoint]], changed: Callable[[], None], clock: Clock
    ) -> None:
        self._endpoints = endpoints
        self._changed = changed
        self._clock = clock
        self._asked = Wake()
        self._tried: Tried = {}

    def found(self, endpoint: Endpoint) -> tuple[str, int] | None:
        """Host and port that answered last time."""
        return self._tried.get(endpoint.addresses)

    def look(self) -> None:
        """There may be new ones."""
        if any(each.addresses and each.addresses not in self._tried for each in self._endpoints()):
            self._asked.ring()

    async def run(self) -> None:
        """Try, for ever."""
        due = self._clock.monotonic()
        while True:
            now, before = self._clock.monotonic(), self._tried
            if now >= due:
                due = now + LOOK_SECS
                await self._round(lambda addresses: True)
            else:
                await self._round(lambda addresses: self._tried.get(addresses, NEW) is not None)
            if self._tried != before:
                self._changed()
            await self._clock.wait(self._asked, CHECK_SECS)

    async def _round(self, due: Callable[[tuple[str, ...]], bool]) -> None:
        wanted = {each.addresses for each in self._endpoints() if each.addresses}
        limit = anyio.CapacityLimiter(AT_ONCE)
        found: Tried = {addresses: self._tried.get(addresses) for addresses in wanted}

        async def attempt(addresses: tuple[str, ...]) -> None:
            async with limit:
                known = self._tried.get(addresses)
                found[addresses] = (known and await _answers(*known)) or await _first(addresses)

        async with anyio.create_task_group() as tasks:
            for addresses in filter(due, wanted):
                tasks.start_soon(attempt, addresses)
        self._tried = found


NEW = ("", 0)
"""Of addresses that were never tried."""


async def _first(addresses: Iterable[str]) -> tuple[str, int] | None:
    """The first at which a TCP connection comes to be."""
    for address in addresses:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        if port.isdigit() and (found := await _answers(host, int(port))) is not None:
            return found
    return None


async def _answers(host: str, port: int) -> tuple[str, int] | None:
    """Address and port of the one who took a connection, None where nobody did in time."""
    with anyio.move_on_after(TRY_SECS), contextlib.suppress(OSError):
        stream = await anyio.connect_tcp(host, port)
        peer = stream.extra(SocketAttribute.remote_address)
        await stream.aclose()
        return str(peer[0]), int(peer[1])
    return None
