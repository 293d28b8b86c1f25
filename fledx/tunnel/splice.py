"""
The fast path: a stream joined to a socket, without a task for a chunk.

Bytes from the network go to the socket out of the buffer they were decrypted into, bytes from the socket are read right
behind the header of their frame. Only what the socket does not take at once is kept, and the window bounds that.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
import struct

from fledx.errors import Unavailable
from fledx.tunnel.flow import AT_END, DRY, LEFT
from fledx.tunnel.frames import error_for
from fledx.tunnel.held import Held
from fledx.tunnel.stream import Stream

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
LOOK_SECS = 2.0


async def splice(stream: Stream, sock: socket.socket) -> None:
    """
    Carry bytes both ways until both sides have ended; each side's end travels on its own. Takes and closes `sock`.

    Raises what the stream was reset with, or Unavailable when the socket or the link breaks: the other side is then
    reset too, so that nobody takes a part for the whole.
    """
    end = _SocketEnd(stream, sock)
    try:
        end.begin()
        await end.done
    except BaseException:
        end.abort()
        raise
    finally:
        end.close()


class _SocketEnd:
    """A socket as the local end of a stream (`End`)."""

    __slots__ = (
        "_held",
        "_look",
        "_loop",
        "_peer_ended",
        "_read_end",
        "_reading",
        "_sock",
        "_stream",
        "_trouble",
        "_wrote_end",
        "done",
    )

    def __init__(self, stream: Stream, sock: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._stream = stream
        self._sock = sock
        self._held = Held()
        self._reading = False
        self._read_end = False
        self._peer_ended = False
        self._wrote_end = False
        self._trouble = ""
        self._look: asyncio.TimerHandle | None = None
        self.done: asyncio.Future[None] = self._loop.create_future()
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def begin(self) -> None:
        """Take the stream over, with what it holds already."""
        self._read_on()
        self._stream.hand_over(self)

    def abort(self) -> None:
        """Let the socket's peer see a reset, and the stream's peer too; does nothing to a side that is finished."""
        self._stream.reset(self._trouble or "the connection at the other side was given up", code=Unavailable.code)
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

    def close(self) -> None:
        """Leave the loop and close the socket."""
        if not self.done.done():
            self.done.cancel()
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        if self._look is not None:
            self._look.cancel()
        self._sock.close()

    def take(self, room: memoryview) -> int:
        """Read what the socket has (`End`)."""
        if self._read_end:
            return AT_END
        if not room or self.done.done():
            return DRY
        try:
            size = self._sock.recv_into(room)
        except (BlockingIOError, InterruptedError):
            size = DRY
        except OSError as problem:
            self._broken(problem)
            return DRY
        else:
            if not size:
                self._at_end()
                return AT_END
        if size < len(room):
            self._read_on()
        return size

    def arrived(self, piece: memoryview) -> None:
        """Give the socket what it takes, keep the rest (`End`)."""
        if self.done.done():
            self._stream.eaten(len(piece))
            return
        sent = 0 if self._held else self._send(piece)
        if sent < len(piece) and not self.done.done():
            if not self._held:
                self._loop.add_writer(self._sock, self._writable)
            self._held.add(piece[sent:])
        if sent:
            self._stream.eaten(sent)

    def ended(self) -> None:
        """Shut the socket's other half once everything is written (`End`)."""
        self._peer_ended = True
        self._end_socket()

    def failed(self, code: str, reason: str) -> None:
        """Stop; unless the peer only reads no more, in which case what it sent is still delivered (`End`)."""
        if code == LEFT:
            self._at_end()
        elif not self.done.done():
            self.done.set_exception(error_for(code, reason))
        self._stream.failed(code, reason)

    def _readable(self) -> None:
        """Ask for a turn; while the stream waits for one, or for credit, the socket need not be watched."""
        flow = self._stream.flow
        if flow.queued or flow.parked:
            self._pause()
        else:
            self._stream.ready()

    def _read_on(self) -> None:
        if not self._reading and not self._read_end and not self.done.done():
            self._reading = True
            self._loop.add_reader(self._sock, self._readable)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock)
            if self._look is None and not self._read_end:
                self._look = self._loop.call_later(LOOK_SECS, self._look_after)

    def _look_after(self) -> None:
        """See whether a socket nobody watches is still alive: its owner may be gone while we wait for credit."""
        self._look = None
        if self._reading or self._read_end or self.done.done():
            return
        poll = select.poll()
        poll.register(self._sock, 0)
        if poll.poll(0):
            number = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNRESET
            self._broken(OSError(number, os.strerror(number)))
        else:
            self._look = self._loop.call_later(LOOK_SECS, self._look_after)

    def _at_end(self) -> None:
        self._read_end = True
        self._pause()
        self._settle()

    def _writable(self) -> None:
        while self._held:
            head = self._held.head()
            sent = self._send(head)
            if self.done.done():
                return
            if sent:
                self._held.drop(sent)
                self._stream.eaten(sent)
            if sent < len(head):
                return
        self._loop.remove_writer(self._sock)
        self._end_socket()

    def _send(self, piece: memoryview) -> int:
        try:
            return self._sock.send(piece)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as problem:
            self._broken(problem)
            return 0

    def _end_socket(self) -> None:
        if not self._peer_ended or self._held or self._wrote_end or self.done.done():
            return
        self._wrote_end = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        self._settle()

    def _settle(self) -> None:
        if self._read_end and self._wrote_end and not self.done.done():
            self.done.set_result(None)

    def _broken(self, problem: OSError) -> None:
        """The socket failed: this side is over, and the peer must know that it has only a part (`abort`)."""
        if not self.done.done():
            self._trouble = f"the local connection broke: {problem.strerror or problem}"
            self.done.set_exception(Unavailable(self._trouble))
