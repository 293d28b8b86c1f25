"""How long it takes until the peer answers: what windows are judged by."""

from __future__ import annotations

PING_SECS = 1.0
LASTING_SECS = 60.0
"""After so long a measured round trip no longer counts: paths change."""


class RoundTrip:
    """``least`` is the shortest seen lately, in seconds: queueing must not widen windows. None before there is one."""

    __slots__ = ("_asked_at", "_asking", "_seen_at", "least")

    def __init__(self, now: float) -> None:
        self.least: float | None = None
        self._asked_at = now - PING_SECS
        self._asking = False
        self._seen_at = now

    def ask(self, now: float) -> bool:
        """Whether to send a PING now: at most once a second, and never two at a time."""
        if self._asking or now - self._asked_at < PING_SECS:
            return False
        self._asking = True
        self._asked_at = now
        return True

    def answered(self, now: float) -> None:
        """A PONG came; one that nobody asked for says nothing."""
        if not self._asking:
            return
        self._asking = False
        took = now - self._asked_at
        if self.least is None or took < self.least or now - self._seen_at > LASTING_SECS:
            self.least, self._seen_at = took, now
