"""
The one driver: a non-blocking socket, TLS in memory, callbacks on the event loop.

Nothing here creates a task, and an idle wire owns no buffer: reading and sending go through `Buffers` that all wires of
a loop share. Frames are made when the kernel will take them, in the order the session gives, so that what is urgent
waits behind nothing but what TCP already has.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

from fledx.errors import FledxError, Unavailable
from fledx.tunnel import tcp
from fledx.tunnel.buffers import READ, Buffers
from fledx.tunnel.events import Closed, Event
from fledx.tunnel.sender import Sender
from fledx.tunnel.session import Session
from fledx.tunnel.tls import Clear, Tls, explain

logger = logging.getLogger(__name__)

LINGER_SECS = 1.0
"""How long our last words may take to reach a peer that does not close by itself."""


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
        "_buffers",
        "_codec",
        "_error",
        "_loop",
        "_reading",
        "_sender",
        "_sock",
        "_tail",
        "_timer",
        "bytes_in",
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
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._codec: Tls | Clear = codec
        self._buffers = buffers
        self._tail = b""
        self._error: FledxError | None = None
        self._reading = False
        self._timer: asyncio.TimerHandle | None = None
        self._sender = Sender(self, sock, codec, session, buffers)

    @property
    def established(self) -> bool:
        """Whether frames can travel: TLS is up, or there is none."""
        return self._codec.established

    @property
    def bytes_out(self) -> int:
        """Bytes given to the kernel so far."""
        return self._sender.bytes_out

    def now(self) -> float:
        """Monotonic seconds of the loop."""
        return self._loop.time()

    def start(self) -> None:
        """Begin, or go on, to read, and send what is waiting."""
        if not self._reading and not self.closed:
            self._reading = True
            self._loop.add_reader(self._sock, self.safely, self._readable)
            self._sender.speak()
            self._sender.pump()

    def pause(self) -> None:
        """Read nothing until `start`; TCP then holds the peer back."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock)

    def patience(self, seconds: float) -> None:
        """How long TCP waits for the peer to acknowledge what we send before the link counts as dead."""
        if not self.closed:
            tcp.be_patient(self._sock, seconds)

    def round_trip(self) -> float:
        """Seconds TCP reckons with for one round trip, its variation included; 0 when it does not know."""
        return 0.0 if self.closed else tcp.round_trip(self._sock)

    def pump(self) -> None:
        """Send what the session has to say."""
        self._sender.pump()

    def soon(self) -> None:
        """The same once this turn of the loop is done, so that what comes up meanwhile goes with it."""
        self._sender.soon()

    def safely(self, step: Callable[[], None]) -> None:
        """A fault of ours in the middle of a batch would leave a gap in some stream: rather lose the link (`Whole`)."""
        try:
            step()
        except Exception:
            logger.exception("the tunnel failed", extra={"peer": self.peer})
            self.drop(Unavailable("a fault in fledx itself broke the link"))

    def _readable(self) -> None:
        self._sender.heard()
        arrived = self._buffers.arrived
        held = len(self._tail)
        if held:
            arrived[:held] = self._tail
        try:
            count = self._sock.recv_into(arrived[held : held + READ])
        except (BlockingIOError, InterruptedError):
            return
        except OSError as problem:
            self.broken(problem)
            return
        self.bytes_in += count
        if not count:
            self._lost(Unavailable(f"{self.peer} closed the connection without a goodbye"))
        elif not self._sender.over:
            self._understand(arrived[: held + count])

    def broken(self, problem: OSError | FledxError) -> None:
        """The connection is no use any more (`Whole`)."""
        why = problem.text if isinstance(problem, FledxError) else problem.strerror or str(problem)
        self._lost(Unavailable(f"the connection to {self.peer} was lost: {why}"))

    def _lost(self, error: FledxError) -> None:
        """Once the session is over it has said why, and how the connection ends is no news."""
        self.drop(self._error if self._sender.over or self.session.closed else error)

    def _understand(self, arrived: memoryview) -> None:
        was_established = self._codec.established
        try:
            used, plain = self._codec.open(arrived, self._buffers.plain)
        except (ssl.SSLError, FledxError) as problem:
            self._misunderstood(problem)
            return
        self._tail = bytes(arrived[used:]) if used < len(arrived) else b""
        if not was_established or not plain:
            self._sender.speak()
        if plain:
            events = self.session.receive(plain, self._loop.time())
            if events:
                self.owner.happened(events)
        if self.session.order or self.session.closed:
            self._sender.pump()

    def finish(self, frames: memoryview) -> None:
        """Send the last frames of the session, none to a peer that said goodbye itself, and part (`Whole`)."""
        closed = self.session.closed
        if closed is not None and closed.code == "http" and self.last_words:
            frames = memoryview(self.last_words)
        if frames:
            self._sender.write(frames)
            self._end(None)
        else:
            self.drop(None)

    def _misunderstood(self, problem: ssl.SSLError | FledxError) -> None:
        """What arrived is not even TLS, or not TLS we can accept: an alert or an answer in HTTP is all that can go."""
        error = problem if isinstance(problem, FledxError) else explain(problem, self.peer)
        self.session.closed = Closed(error.code, error.text, faulty=True)
        self._sender.speak()
        if error.code == "http" and self.last_words:
            self._sender.send([self.last_words])
        self._end(error)

    def _end(self, error: FledxError | None) -> None:
        """Everything is said. Closing at once could make TCP throw our last words away, so wait for the peer's end."""
        if self.closed:
            return
        self._error = error
        self.hurry()
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._sock, self.safely, self._readable)
        self._sender.end()

    def hurry(self) -> None:
        """The session is over: whatever happens, the socket is closed soon (`Whole`)."""
        if self._timer is None:
            self._timer = self._loop.call_later(LINGER_SECS, self._expired)

    def _expired(self) -> None:
        self.drop(self._error)

    def drop(self, error: FledxError | None) -> None:
        """Close the socket now; `error` is None when the session says why."""
        if self.closed:
            return
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._sock)
        self._sender.stop()
        self._sock.close()
        self._codec = Clear()  # what OpenSSL holds, 16 KiB, need not wait for a garbage collection
        if error is not None and self.session.closed is None:
            self.session.closed = Closed(error.code, error.text, faulty=False)
        self.owner.lost(error)
