"""
How much one stream may have under way: the receiver's memory is bounded by what it has granted.

Both ends know that a new stream may carry `FIRST_WINDOW` towards its acceptor; everything more is granted. A window
starts at `WINDOW`, and doubles up to `MAX_WINDOW` while half of it is used up within two round trips, or within
`BUSY_SECS`. What goes beyond `FIRST_WINDOW` comes out of the session's `Budget`, so that many streams at once are many
small windows.
"""

from __future__ import annotations

KIB = 1024
FIRST_WINDOW = 32 * KIB
WINDOW = 256 * KIB
MAX_WINDOW = 4096 * KIB
SESSION_EXTRA = 32 * 1024 * KIB
BUSY_SECS = 0.002
"""
What an answer may take on any path: both ends share their processors, and the least round trip, of a quiet moment, does
not know that. With it alone a download over loopback kept to `WINDOW` and was a fifth slower. A stream of less than
64 MB/s never uses half a `WINDOW` so soon: over a usual line nothing changes.
"""


class Budget:
    """What the windows of one session may still grow by, together."""

    __slots__ = ("left",)

    def __init__(self, left: int = SESSION_EXTRA) -> None:
        self.left = left

    def take(self, amount: int) -> bool:
        """Take all of `amount` or nothing."""
        if amount > self.left:
            return False
        self.left -= amount
        return True


class Window:
    """
    What the peer may send on one stream: ``size = left + held by us + eaten and not yet granted again``.

    Times are seconds of any clock that only runs forward.
    """

    __slots__ = ("eaten", "granted_at", "left", "size")

    def __init__(self, size: int, now: float) -> None:
        self.size = size
        self.left = size
        self.eaten = 0
        self.granted_at = now

    def widen(self, budget: Budget) -> int:
        """Go from the first window to the usual one; returns what to grant, 0 when the budget is spent."""
        if self.size >= WINDOW or not budget.take(WINDOW - self.size):
            return 0
        grant = WINDOW - self.size
        self.size = WINDOW
        self.left += grant
        return grant

    def eat(self, amount: int, now: float, round_trip: float | None, budget: Budget) -> int:
        """
        The local side has taken `amount` bytes; returns what to grant the peer, 0 while less than half is eaten.

        The window doubles when half of it went so soon that it, not the path, was what held the peer up.
        """
        self.eaten += amount
        if self.eaten * 2 < self.size:
            return 0
        grant = self.eaten
        if round_trip is not None and now - self.granted_at < max(2 * round_trip, BUSY_SECS):
            grant += self._grow(budget)
        self.eaten = 0
        self.left += grant
        self.granted_at = now
        return grant

    def _grow(self, budget: Budget) -> int:
        growth = min(self.size, MAX_WINDOW - self.size)
        if not budget.take(growth):
            return 0
        self.size += growth
        return growth

    def release(self, budget: Budget) -> None:
        """Give back what was taken beyond the first window; the stream is over."""
        budget.left += self.size - FIRST_WINDOW
        self.size = FIRST_WINDOW
