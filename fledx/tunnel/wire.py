"""
The one driver: a non-blocking socket, TLS in memory, callbacks on the event loop.

Nothing here creates a task, and an idle wire owns no buffer: reading and sending go through `Buffers` that all wires of
a loop share. Frames are made when the kernel will take them, in the order the session gives, so that what is urgent
waits behind nothing but what TCP already has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

from fledx.errors import FledxError, Unavailable
from fledx.tunnel.events import Closed, Event
from fledx.tunnel.pace import Pace
from fledx.tunnel.session import Session
from fledx.tunnel.tls import MAX_RECORD, Clear, Tls, explain

logger = logging.getLogger(__name__)

KIB = 1024
READ = 192 * KIB
"""Bytes taken from one connection before the others get their turn."""

SEND = 320 * KIB
SMALL = 8 * KIB
"""Frames shorter than this, made within one turn of the loop, share a TLS record and a system call."""

TURNS = 8
MAX_BACKLOG = 1024 * KIB
LINGER_SECS = 1.0
"""How long our last words may take to reach a peer that does not close by itself."""

TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
TCP_THIN_LINEAR_TIMEOUTS = 16
"""While little is under way, six tries at an even pace before TCP doubles its wait (cubic and reno; bbr ignores it)."""


class Buffers:
    """What the wires of one loop read into and send from; never held over a turn of the loop."""

    __slots__ = ("arrived", "plain", "send")

    def __init__(self) -> None:
        self.arrived = memoryview(bytearray(MAX_RECORD + READ))
        self.plain = memoryview(bytearray(2 * MAX_RECORD + READ))
        self.send = memoryview(bytearray(SEND))


class Owner(Protocol):
    """Who is told what a wire carries."""

    def happened(self, events: list[Event]) -> None:
        """The peer has said this; called from the loop, must not block."""

    def lost(self, error: FledxError | None) -> None:
        """The socket is closed: by agreement (the session knows why), or by `error`."""


class Wire:
    """
    One connection and its session. It closes itself once the session is closed and the last frame is sent.

    ``peer`` is how the other side is called in errors. ``last_words`` are sent in place of a goodbye to one that speaks
    HTTP.
    """

    __slots__ = (
        "_alone",
        "_backlog",
        "_buffers",
        "_codec",
        "_ending",
        "_error",
        "_flushing",
        "_held",
        "_loop",
        "_pace",
        "_reading",
        "_sock",
        "_tail",
        "_timer",
        "_together",
        "_writing",
        "bytes_in",
        "bytes_out",
        "closed",
        "last_words",
        "owner",
        "peer",
        "session",
    )

    def __init__(
        self, sock: socket.socket, codec: Tls | Clear, session: Session, owner: Owner, buffers: Buffers, peer: str
    ) -> None:
        self.session = session
        self.owner = owner
        self.peer = peer
        self.closed = False
        self.last_words = b""
        self.bytes_in = 0
        self.bytes_out = 0
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._codec: Tls | Clear = codec
        self._buffers = buffers
        self._pace = Pace()
        self._tail = b""
        self._held: bytearray | None = None
        self._alone = True
        self._together = 0
        self._backlog: list[memoryview] | None = None
        self._ending = False
        self._error: FledxError | None = None
        self._flushing = False
        self._reading = False
        self._writing = False
        self._timer: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, self._pace.unsent)
        sock.setsockopt(socket.IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1)

    @property
    def established(self) -> bool:
        """Whether frames can travel: TLS is up, or there is none."""
        return self._codec.established

    def now(self) -> float:
        """Monotonic seconds of the loop."""
        return self._loop.time()

    def start(self) -> None:
        """Begin, or go on, to read, and send what is waiting."""
        if not self._reading and not self.closed:
            self._reading = True
            self._loop.add_reader(self._sock, self._safely, self._readable)
            self._speak()
            self.pump()

    def pause(self) -> None:
        """Read nothing until `start`; TCP then holds the peer back."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock)

    def patience(self, seconds: float) -> None:
        """How long TCP waits for the peer to acknowledge what we send before the link counts as dead."""
        if not self.closed and self._sock.family in (socket.AF_INET, socket.AF_INET6):
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))

    def round_trip(self) -> float:
        """Seconds TCP reckons with for one round trip, its variation included; 0 when it does not know."""
        if self.closed or self._sock.family not in (socket.AF_INET, socket.AF_INET6):
            return 0.0
        info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 76)
        average, variation = int.from_bytes(info[68:72], sys.byteorder), int.from_bytes(info[72:76], sys.byteorder)
        return (average + 4 * variation) / 1e6

    def _safely(self, step: Callable[[], None]) -> None:
        """A fault of ours in the middle of a batch would leave a gap in some stream: rather lose the link."""
        try:
            step()
        except Exception:
            logger.exception("the tunnel failed", extra={"peer": self.peer})
            self.drop(Unavailable("a fault in fledx itself broke the link"))

    def _readable(self) -> None:
        if self._together and not self._flushing:
            self._judge()
        arrived = self._buffers.arrived
        held = len(self._tail)
        if held:
            arrived[:held] = self._tail
        try:
            count = self._sock.recv_into(arrived[held : held + READ])
        except (BlockingIOError, InterruptedError):
            return
        except OSError as problem:
            self._broken(problem)
            return
        self.bytes_in += count
        if not count:
            gone = Unavailable(f"{self.peer} closed the connection without a goodbye")
            self.drop(self._error if self._ending or self.session.closed else gone)
        elif not self._ending:
            self._understand(arrived[: held + count])

    def _broken(self, problem: OSError) -> None:
        lost = Unavailable(f"the connection to {self.peer} was lost: {problem.strerror or problem}")
        self.drop(self._error if self._ending or self.session.closed else lost)

    def _understand(self, arrived: memoryview) -> None:
        was_established = self._codec.established
        try:
            used, plain = self._codec.open(arrived, self._buffers.plain)
        except (ssl.SSLError, FledxError) as problem:
            self._misunderstood(problem)
            return
        self._tail = bytes(arrived[used:]) if used < len(arrived) else b""
        if not was_established or not plain:
            self._speak()
        if plain:
            events = self.session.receive(plain, self._loop.time())
            if events:
                self.owner.happened(events)
        if self.session.order or self.session.closed:
            self.pump()

    def pump(self) -> None:
        """Make frames and send them until there are none, the kernel is full, or others should have a turn."""
        session, room = self.session, self._buffers.send
        if self.closed or self._ending:
            return
        if session.closed:
            self._hurry()
        if self._backlog is not None or not self._codec.established:
            return
        for _ in range(TURNS):
            used = session.fill(room, self._pace.quota, self._loop.time())
            if session.closed:
                self._finish(room[:used])
                return
            if not used:
                self._pace.idle()
                return
            if used <= SMALL and not session.order:
                self._hold(room[:used])
                return
            self._write(room[:used])
            if self._backlog is not None or self.closed:
                return
        self._pace.easy()
        self.soon()

    def _hold(self, frames: memoryview) -> None:
        """
        Keep small frames until this turn of the loop is done; the first goes at once if it was alone last time.

        Whether it was shows when the peer is heard again: a turn of the loop only for that would cost as much as
        sending did.
        """
        self._together += 1
        if self._together == 1 and self._alone:
            self._write(frames)
            if self._backlog is None:
                self._pace.idle()
            return
        if self._held is None:
            self._held = bytearray()
        self._held += frames
        if len(self._held) > SMALL:
            self._write(frames[:0])
        self.soon()

    def _judge(self) -> None:
        self._alone = self._together == 1
        self._together = 0

    def soon(self) -> None:
        """`pump` once this turn of the loop is done, so that what comes up meanwhile goes with it."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._safely, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._together:
            self._judge()
        if self._held is not None and self._backlog is None and not self.closed:
            self._write(self._buffers.send[:0])
        self.pump()

    def _write(self, frames: memoryview) -> None:
        """Encrypt and send what was held back and then `frames`."""
        out: list[bytes] = []
        if self._held is not None:
            self._codec.seal(memoryview(self._held), out)
            self._held = None
        if frames:
            self._codec.seal(frames, out)
        self._send(out)

    def _speak(self) -> None:
        """Send what TLS itself has to say."""
        spoken = self._codec.spoken()
        if spoken:
            self._send([spoken])

    def _send(self, pieces: Sequence[bytes | memoryview]) -> None:
        if self._backlog is not None:
            self._backlog += [memoryview(piece) for piece in pieces]
            if sum(map(len, self._backlog)) > MAX_BACKLOG:
                self.drop(Unavailable(f"{self.peer} leaves {MAX_BACKLOG} bytes unread that TLS itself had to say"))
            return
        try:
            sent = self._sock.sendmsg(pieces)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as problem:
            self._broken(problem)
            return
        self.bytes_out += sent
        self._pace.sent(sent)
        left = _rest(pieces, sent)
        if left:
            self._backlog = left
            self._full()

    def _full(self) -> None:
        """The kernel takes no more: learn its rate, and go on when it does."""
        if self._pace.full(self._loop.time()):
            self._sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, self._pace.unsent)
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._sock, self._safely, self._writable)

    def _writable(self) -> None:
        backlog, self._backlog = self._backlog, None
        if backlog is not None:
            self._send(backlog)
        if self._ending:
            self._part()
        else:
            self.pump()
        if self._backlog is None and not self.closed:
            self._writing = False
            self._loop.remove_writer(self._sock)

    def _finish(self, frames: memoryview) -> None:
        """The session is closed, `frames` are its last ones; a peer that said goodbye itself gets none."""
        closed = self.session.closed
        if closed is not None and closed.code == "http" and self.last_words:
            frames = memoryview(self.last_words)
        if frames:
            self._write(frames)
            self._end(None)
        else:
            self.drop(None)

    def _misunderstood(self, problem: ssl.SSLError | FledxError) -> None:
        """What arrived is not even TLS, or not TLS we can accept: an alert or an answer in HTTP is all that can go."""
        error = problem if isinstance(problem, FledxError) else explain(problem, self.peer)
        self.session.closed = Closed(error.code, error.text, faulty=True)
        self._speak()
        if error.code == "http" and self.last_words:
            self._send([self.last_words])
        self._end(error)

    def _end(self, error: FledxError | None) -> None:
        """Everything is said. Closing at once could make TCP throw our last words away, so wait for the peer's end."""
        if self.closed:
            return
        self._ending = True
        self._error = error
        self._hurry()
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._sock, self._safely, self._readable)
        self._part()

    def _hurry(self) -> None:
        """The session is over: whatever happens, the socket is closed soon."""
        if self._timer is None:
            self._timer = self._loop.call_later(LINGER_SECS, self._expired)

    def _expired(self) -> None:
        self.drop(self._error)

    def _part(self) -> None:
        if self._backlog is None and not self.closed:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)

    def drop(self, error: FledxError | None) -> None:
        """Close the socket now; `error` is None when the session says why."""
        if self.closed:
            return
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        self._backlog = self._held = None
        self._codec = Clear()  # what OpenSSL holds, 16 KiB, need not wait for a garbage collection
        if error is not None and self.session.closed is None:
            self.session.closed = Closed(error.code, error.text, faulty=False)
        self.owner.lost(error)


def _rest(pieces: Sequence[bytes | memoryview], sent: int) -> list[memoryview] | None:
    """What of `pieces` comes after the first `sent` bytes, None when that is nothing."""
    for index, piece in enumerate(pieces):
        if sent < len(piece):
            return [memoryview(piece)[sent:], *(memoryview(later) for later in pieces[index + 1 :])]
        sent -= len(piece)
    return None
