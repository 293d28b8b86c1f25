"""The sending side of a wire: frames are made when the kernel will take them, encrypted, and brought there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from fledx.errors import FledxError, Unavailable
from fledx.tunnel.buffers import Buffers
from fledx.tunnel.outlet import Outlet
from fledx.tunnel.session import Session
from fledx.tunnel.small import SMALL, SmallFrames
from fledx.tunnel.tls import Clear, Tls

TURNS = 8
"""Times frames are made and sent before others get their turn."""

MAX_BACKLOG = 1024 * 1024
"""Only what TLS itself has to say is added to a backlog: no honest peer leaves so much of it unread."""


class Whole(Protocol):
    """The wire whose sending side this is."""

    def safely(self, step: Callable[[], None]) -> None:
        """Run a callback of the loop, whatever it raises."""

    def hurry(self) -> None:
        """The session is closed; that it comes to an end must not depend on the peer."""

    def finish(self, frames: memoryview) -> None:
        """The session is closed, and these are its last frames, perhaps none."""

    def broken(self, problem: OSError | FledxError) -> None:
        """The socket takes nothing any more."""


class Sender:
    """``over`` once everything is said: nothing more is made, and our half is shut as soon as the kernel has it all."""

    __slots__ = (
        "_buffers",
        "_codec",
        "_flushing",
        "_loop",
        "_outlet",
        "_session",
        "_small",
        "_sock",
        "_whole",
        "_writing",
        "over",
    )

    def __init__(
        self, whole: Whole, sock: socket.socket, codec: Tls | Clear, session: Session, buffers: Buffers
    ) -> None:
        self._whole = whole
        self._sock = sock
        self._codec = codec
        self._session = session
        self._buffers = buffers
        self._loop = asyncio.get_running_loop()
        self._outlet = Outlet(sock)
        self._small = SmallFrames()
        self._flushing = False
        self._writing = False
        self.over = False

    @property
    def bytes_out(self) -> int:
        """Bytes the kernel has taken so far."""
        return self._outlet.bytes_out

    def pump(self) -> None:
        """Make frames and send them until there are none, the kernel is full, or others should have a turn."""
        session, outlet, room = self._session, self._outlet, self._buffers.send
        if self.over:
            return
        if session.closed:
            self._whole.hurry()
        if outlet.backlog is not None or not self._codec.established:
            return
        for _ in range(TURNS):
            used = session.fill(room, outlet.pace.quota, self._loop.time())
            if session.closed:
                self._whole.finish(room[:used])
                return
            if not used:
                outlet.pace.idle()
                return
            if used <= SMALL and not session.order:
                self._hold(room[:used])
                return
            self.write(room[:used])
            if outlet.backlog is not None or self.over:
                return
        outlet.pace.easy()
        self.soon()

    def _hold(self, frames: memoryview) -> None:
        """Keep small frames until this turn of the loop is done, unless they had better go alone."""
        if self._small.go_alone():
            self.write(frames)
            if self._outlet.backlog is None:
                self._outlet.pace.idle()
            return
        if self._small.keep(frames):
            self.write(frames[:0])
        self.soon()

    def heard(self) -> None:
        """The peer is heard again: the turn in which small frames were made is over, unless `soon` will say so."""
        if self._small.count and not self._flushing:
            self._small.turn_over()

    def soon(self) -> None:
        """`pump` once this turn of the loop is done, so that what comes up meanwhile goes with it."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._whole.safely, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._small.count:
            self._small.turn_over()
        if self._small.held is not None and self._outlet.backlog is None:
            self.write(self._buffers.send[:0])
        self.pump()

    def write(self, frames: memoryview) -> None:
        """Encrypt and send what was held back and then `frames`."""
        out: list[bytes] = []
        held, self._small.held = self._small.held, None
        if held is not None:
            self._codec.seal(memoryview(held), out)
        if frames:
            self._codec.seal(frames, out)
        self.send(out)

    def speak(self) -> None:
        """Send what TLS itself has to say."""
        spoken = self._codec.spoken()
        if spoken:
            self.send([spoken])

    def send(self, pieces: Sequence[bytes]) -> None:
        """Send bytes as they are."""
        if self._outlet.backlog is not None:
            if self._outlet.keep(pieces) > MAX_BACKLOG:
                text = f"the peer leaves {MAX_BACKLOG} bytes unread that TLS itself had to say"
                self._whole.broken(Unavailable(text))
            return
        try:
            if not self._outlet.send(pieces):
                self._wait_for_room()
        except OSError as problem:
            self._whole.broken(problem)

    def _wait_for_room(self) -> None:
        self._outlet.full(self._loop.time())
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._sock, self._whole.safely, self._writable)

    def _writable(self) -> None:
        try:
            if not self._outlet.resume():
                self._wait_for_room()
        except OSError as problem:
            self._whole.broken(problem)
            return
        if self.over:
            self._part()
        else:
            self.pump()
        if self._writing and self._outlet.backlog is None:
            self._writing = False
            self._loop.remove_writer(self._sock)

    def end(self) -> None:
        """Everything is said."""
        self.over = True
        self._part()

    def _part(self) -> None:
        if self._outlet.backlog is None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)

    def stop(self) -> None:
        """The socket is about to be closed: forget what is unsent."""
        self.over = True
        self._writing = False
        self._loop.remove_writer(self._sock)
        self._outlet.backlog = self._small.held = None
        self._codec = Clear()
