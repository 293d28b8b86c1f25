"""Host ports that others than our containers listen on, so that the control plane does not give them out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Set
from pathlib import Path

import anyio

from fledx.agent.clock import Wake

LOOK_SECONDS = 30.0
LISTEN = "0A"  # TCP_LISTEN in include/net/tcp_states.h
UNCONNECTED = "07"  # what a bound UDP socket shows
TABLES = (("tcp", "tcp", LISTEN), ("tcp", "tcp6", LISTEN), ("udp", "udp", UNCONNECTED), ("udp", "udp6", UNCONNECTED))
MOST = 500
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")

HostPort = tuple[str, int]


def listening(tables: Path = Path("/proc/net")) -> set[HostPort]:
    """Protocol and number of every port this network namespace listens on (proc_net_tcp(5))."""
    found: set[HostPort] = set()
    for protocol, name, state in TABLES:
        with contextlib.suppress(OSError, IndexError, ValueError):
            for line in (tables / name).read_text("ascii", "replace").splitlines()[1:]:
                fields = line.split()
                if fields[3] == state:
                    found.add((protocol, int(fields[1].rpartition(":")[2], 16)))
    return found


def foreign(found: Iterable[HostPort], ours: Set[HostPort]) -> tuple[str, ...]:
    """
    What is not ours, as it is told: at most 500, TCP first.

    UDP sockets on ports the kernel chooses by itself are clients waiting for an answer, and are left out.
    """
    first, last = _ephemeral()
    kept = sorted((p, n) for p, n in found if (p, n) not in ours and not (p == "udp" and first <= n <= last))
    return tuple(f"{protocol}/{number}" for protocol, number in kept[:MOST])


def _ephemeral() -> tuple[int, int]:
    with contextlib.suppress(OSError, ValueError):
        first, last = EPHEMERAL.read_text("ascii").split()
        return int(first), int(last)
    return 32768, 60999


class Listening:
    """Looks every half minute, and at once when a container could not have its port."""

    def __init__(self, *, ours: Callable[[], Set[HostPort]], changed: Callable[[], None]) -> None:
        self._ours = ours
        self._changed = changed
        self._asked = Wake()
        self.found = foreign(listening(), set())

    def look_soon(self) -> None:
        """Something has just met a port that is taken."""
        self._asked.ring()

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            found = foreign(listening(), self._ours())
            if found != self.found:
                self.found = found
                self._changed()
            with anyio.move_on_after(LOOK_SECONDS):
                await self._asked.answer()
