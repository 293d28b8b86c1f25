"""The streams of one session: who may open how many, under which numbers, and which are still under way."""

from __future__ import annotations

from fledx.errors import LimitExceeded, Unavailable
from fledx.tunnel.credit import FIRST_WINDOW, Budget, Window
from fledx.tunnel.flow import Flow
from fledx.tunnel.frames import malformed

MAX_STREAMS = 1024
"""Streams at once that each side may have opened."""

LAST_STREAM = 2**32 - 1


class Flows:
    """
    The dialler opens odd streams, the listener even ones, in rising order; a number is never used again.

    A stream of the peer counts against its limit until the local side has released it, so that opening and resetting in
    a hurry gains a peer nothing.
    """

    __slots__ = ("_by_id", "_dialler", "_highest", "_next", "_ours", "_theirs", "budget")

    def __init__(self, *, dialler: bool) -> None:
        self.budget = Budget()
        self._by_id: dict[int, Flow] = {}
        self._dialler = dialler
        self._next = 1 if dialler else 2
        self._highest = 0
        self._ours = 0
        self._theirs = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def abandon(self) -> list[Flow]:
        """The session is over: those under way, dead from now on."""
        flows = list(self._by_id.values())
        self._by_id.clear()
        for flow in flows:
            flow.dead = True
        return flows

    def begin(self, now: float) -> Flow:
        """A new stream of ours, with as wide a window as the budget has; raises LimitExceeded or Unavailable."""
        if self._ours >= MAX_STREAMS:
            raise LimitExceeded(f"{MAX_STREAMS} streams to this peer are open already", hint="close some first")
        if self._next > LAST_STREAM:
            raise Unavailable("this link has used up its stream numbers", hint="dial again")
        window = Window(FIRST_WINDOW, now)
        window.widen(self.budget)
        flow = Flow(self._next, ours=True, credit=FIRST_WINDOW, window=window)
        self._next += 2
        self._ours += 1
        self._by_id[flow.id] = flow
        return flow

    def admit(self, stream: int, credit: int, now: float) -> Flow | None:
        """A new stream of the peer, None when it has too many; raises Unavailable when the number is not its to use."""
        if (stream & 1) == self._dialler:
            raise malformed(f"stream {stream} is not for the peer to open")
        if stream <= self._highest:
            raise malformed(f"stream {stream} was opened before")
        self._highest = stream
        if self._theirs >= MAX_STREAMS:
            return None
        self._theirs += 1
        flow = Flow(stream, ours=False, credit=credit, window=Window(FIRST_WINDOW, now))
        self._by_id[stream] = flow
        return flow

    def known(self, stream: int) -> Flow | None:
        """The stream of that number, None when it is over; raises Unavailable when it never was."""
        flow = self._by_id.get(stream)
        if flow is None:
            ours = (stream & 1) == self._dialler
            if stream >= self._next if ours else stream > self._highest:
                raise malformed(f"stream {stream} was never opened")
        return flow

    def forget(self, flow: Flow) -> None:
        """A stream is over."""
        flow.dead = True
        flow.window.release(self.budget)
        del self._by_id[flow.id]
        if flow.ours:
            self._ours -= 1

    def release(self, flow: Flow) -> None:
        """The local side is done with a stream of the peer: another may take its place."""
        if not flow.ours and not flow.released:
            flow.released = True
            self._theirs -= 1
