"""Other nodes' instances without the tunnel: found out by trying, never assumed, and only where that is set."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import anyio
from anyio.abc import SocketAttribute

from fledx.agent.clock import Clock, Wake
from fledx.models.ingress import Endpoint

logger = logging.getLogger(__name__)

TRY_SECS = 1.0
LOOK_SECS = 15.0
AT_ONCE = 16


class Direct:
    """
    Tries the addresses of endpoints every quarter of a minute, and those that are new at once.

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
        self._tried: dict[tuple[str, ...], tuple[str, int] | None] = {}

    def found(self, endpoint: Endpoint) -> tuple[str, int] | None:
        """Host and port that answered last time."""
        return self._tried.get(endpoint.addresses)

    def look(self) -> None:
        """There may be new ones."""
        if any(each.addresses and each.addresses not in self._tried for each in self._endpoints()):
            self._asked.ring()

    async def run(self) -> None:
        """Try, for ever."""
        while True:
            before = dict(self._tried)
            await self._round()
            if self._tried != before:
                self._changed()
            await self._clock.wait(self._asked, LOOK_SECS)

    async def _round(self) -> None:
        wanted = {each.addresses for each in self._endpoints() if each.addresses}
        limit = anyio.CapacityLimiter(AT_ONCE)
        found: dict[tuple[str, ...], tuple[str, int] | None] = {}

        async def attempt(addresses: tuple[str, ...]) -> None:
            async with limit:
                found[addresses] = await _first(addresses)

        async with anyio.create_task_group() as tasks:
            for addresses in wanted:
                tasks.start_soon(attempt, addresses)
        self._tried = found


async def _first(addresses: Iterable[str]) -> tuple[str, int] | None:
    """The first at which a TCP connection comes to be."""
    for address in addresses:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        if not port.isdigit():
            continue
        with anyio.move_on_after(TRY_SECS):
            try:
                stream = await anyio.connect_tcp(host, int(port))
            except OSError:
                continue
            peer = stream.extra(SocketAttribute.remote_address)
            await stream.aclose()
            return str(peer[0]), int(peer[1])
    return None
