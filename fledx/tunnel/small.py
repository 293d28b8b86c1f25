"""Small frames that wait for company, so that those of one turn of the loop share a TLS record and a system call."""

from __future__ import annotations

SMALL = 8 * 1024
"""Frames shorter than this wait for company, and go once they are more."""


class SmallFrames:
    """
    Those made in this turn of the loop.

    The first goes at once if it was alone last time. Whether it was shows when the peer is heard again: a turn of the
    loop only for that would cost as much as sending did.
    """

    __slots__ = ("_alone", "count", "held")

    def __init__(self) -> None:
        self._alone = True
        self.count = 0
        self.held: bytearray | None = None

    def go_alone(self) -> bool:
        """Count what was just made; whether it had better not wait."""
        self.count += 1
        return self.count == 1 and self._alone

    def keep(self, frames: memoryview) -> bool:
        """Keep a copy until the turn is over; whether that is enough for a record of its own."""
        if self.held is None:
            self.held = bytearray()
        self.held += frames
        return len(self.held) > SMALL

    def turn_over(self) -> None:
        """What was made in this turn was all there was, as far as can be seen."""
        self._alone = self.count == 1
        self.count = 0
