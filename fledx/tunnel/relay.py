"""A stream joined to a stream of another link, chunk by chunk within the loop's callbacks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fledx.tunnel.flow import AT_END, DRY, LEFT
from fledx.tunnel.frames import error_for
from fledx.tunnel.held import Held
from fledx.tunnel.stream import Stream


@dataclass
class Tally:
    """Bytes that went from one to the other, and back."""

    there: int = 0
    back: int = 0


async def relay(one: Stream, other: Stream, tally: Tally | None = None) -> None:
    """
    Carry bytes both ways until both sides have ended; ends and resets of each side travel on their own.

    What was carried is added to `tally` at the end, whichever way it ends.

    Credit is passed on too: what the slower side has not taken is not granted to the faster one. Raises what either
    side was reset with, after resetting the other with it.
    """
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    here, there = _StreamEnd(one, done), _StreamEnd(other, done)
    here.other, there.other = there, here
    try:
        one.hand_over(here)
        other.hand_over(there)
        await done
    except BaseException:
        for stream in (one, other):
            stream.reset("the relay gave up", code="cancelled")
        raise
    finally:
        if tally is not None:
            tally.there += there.passed
            tally.back += here.passed


class _StreamEnd:
    """The local end of one of the two streams (`End`): sends what arrives at the other."""

    __slots__ = ("_done", "_ending", "_finished", "_held", "_passing", "_stream", "other", "passed")

    other: _StreamEnd

    def __init__(self, stream: Stream, done: asyncio.Future[None]) -> None:
        self._stream = stream
        self._done = done
        self.passed = 0
        self._held = Held()
        self._passing: memoryview | None = None
        self._ending = False
        self._finished = False

    def take(self, room: memoryview) -> int:
        """What the other stream brought, first what had to be kept (`End`)."""
        size = self._held.into(room)
        if self._passing and size < len(room):
            part = self._passing[: len(room) - size]
            room[size : size + len(part)] = part
            self._passing = self._passing[len(part) :]
            size += len(part)
        if size:
            self.other._stream.eaten(size)
            self.passed += size
            return size
        if self._ending and not self._held and not self._passing:
            self._finish()
            return AT_END
        return DRY

    def arrived(self, piece: memoryview) -> None:
        """Pass it to the other stream (`End`)."""
        self.other._offer(piece)

    def ended(self) -> None:
        """Then the other stream ends too (`End`)."""
        self.other._ending = True
        self.other._stream.ready()

    def failed(self, code: str, reason: str) -> None:
        """Then the other stream fails too; when the peer only reads no more, the other peer is told so (`End`)."""
        if code == LEFT:
            self.other._stream.eaten(self._held.clear())
            self.other._stream.leave()
            self._finish()
        elif not self._done.done():
            self._done.set_exception(error_for(code, reason))
            self.other._stream.reset(reason, code=code)
        self._stream.failed(code, reason)

    def _offer(self, piece: memoryview) -> None:
        """Send `piece` at once if its turn comes at once, and keep a copy of what is left."""
        if self._finished or self._done.done():
            self.other._stream.eaten(len(piece))
            return
        if not self._held:
            self._passing = piece
            self._stream.ready()
            piece, self._passing = self._passing, None
        if piece:
            self._held.add(piece)
            self._stream.ready()

    def _finish(self) -> None:
        self._finished = True
        if self.other._finished and not self._done.done():
            self._done.set_result(None)
