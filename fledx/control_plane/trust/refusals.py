"""A limit on refused tokens that never shuts out a right one."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable

OPERATOR_REFUSALS = 60  # a minute from one source
MAX_SOURCES = 4096


class Refusals:
    """
    Counts what each source was refused within a minute.

    Only what is refused anyway is told to be too much: the limit speaks to a guesser, it never decides about a right
    token. A limit of 0 is none.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}

    def count(self, source: str) -> int | None:
        """Note one refusal; once there are too many, after how many seconds to try again."""
        if not self.most:
            return None
        now, key = self._clock(), network(source)
        began, count = self._windows.pop(key, (now, 0))
        if now - began >= 60:
            began, count = now, 0
        if len(self._windows) >= MAX_SOURCES:
            del self._windows[next(iter(self._windows))]
        self._windows[key] = (began, count + 1)
        return max(1, math.ceil(60 - (now - began))) if count >= self.most else None


def network(source: str) -> str:
    """Whom an address belongs to: one owner has a whole /64 of IPv6 to choose from."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return source[:64]
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
