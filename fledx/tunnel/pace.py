"""
How much to hand to the kernel at a time, from the rate at which it took the last bytes.

Bytes in the kernel's queue can no longer be overtaken: on a slow uplink a short queue is worth six times in latency. So
while the socket is what holds us up, a turn is about 2 ms of the rate seen and the queue of unsent bytes about 5 ms.
"""

from __future__ import annotations

KIB = 1024
MAX_QUOTA = 256 * KIB + 13
MIN_QUOTA = 4 * KIB
UNKNOWN_QUOTA = 64 * KIB
MAX_UNSENT = 128 * KIB
MIN_UNSENT = 16 * KIB
QUOTA_SECS = 0.002
UNSENT_SECS = 0.005
SAMPLE_SECS = 0.005
"""Rates over shorter spans say more about the scheduler than about the link."""


class Pace:
    """``quota`` is the bytes of one turn, ``unsent`` the value for TCP_NOTSENT_LOWAT."""

    __slots__ = ("_bytes", "_since", "quota", "rate", "unsent")

    def __init__(self) -> None:
        self.quota = UNKNOWN_QUOTA
        self.unsent = MAX_UNSENT
        self.rate: float | None = None
        self._since: float | None = None
        self._bytes = 0

    def sent(self, amount: int) -> None:
        """The kernel took `amount` bytes."""
        self._bytes += amount

    def full(self, now: float) -> bool:
        """The kernel takes no more for now; True when quota and unsent have changed."""
        if self._since is None:
            self._since, self._bytes = now, 0
            return False
        took = now - self._since
        if took < SAMPLE_SECS:
            return False
        sample = self._bytes / took
        self.rate = sample if self.rate is None else 0.75 * self.rate + 0.25 * sample
        self._since, self._bytes = now, 0
        self.quota = _between(MIN_QUOTA, int(self.rate * QUOTA_SECS), MAX_QUOTA)
        unsent = _between(MIN_UNSENT, int(self.rate * UNSENT_SECS), MAX_UNSENT)
        changed = not 0.75 < unsent / self.unsent < 1.33
        if changed:
            self.unsent = unsent
        return changed

    def easy(self) -> None:
        """Many turns went out and the kernel would take more: it is not the socket that holds us up."""
        self._since = None
        self.quota = min(2 * self.quota, MAX_QUOTA)

    def idle(self) -> None:
        """All was sent and more could be: the time until the next bytes is not the link's."""
        self._since = None


def _between(least: int, value: int, most: int) -> int:
    return max(least, min(value, most))
