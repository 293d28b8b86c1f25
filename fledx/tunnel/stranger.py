"""A connection that has not said who it is yet, and how little it may cost."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Protocol

from fledx.errors import FledxError
from fledx.tunnel.buffers import Buffers
from fledx.tunnel.events import AuthorityAsked, Event, Greeted
from fledx.tunnel.greeting import Hello
from fledx.tunnel.session import Session
from fledx.tunnel.tls import Clear, Tls
from fledx.tunnel.wire import Wire

_SENTENCE = b"This is the tunnel port of a fledx control plane, which does not speak HTTP.\n"
HTTP_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
    % (len(_SENTENCE), _SENTENCE)
)


class Door(Protocol):
    """What a stranger may ask of the listener."""

    tls: ssl.SSLContext | None
    authority: str
    greeting_secs: float
    buffers: Buffers

    def greeted(self, stranger: Stranger, hello: Hello) -> None:
        """It has said who it is."""

    def gone(self, stranger: Stranger, reason: str) -> None:
        """It is no longer there, or no longer a stranger's business."""


class Stranger:
    """Handshake and hello of one connection, within the listener's time (`Owner`)."""

    __slots__ = ("_deadline", "_door", "address", "session", "since", "wire")

    def __init__(self, door: Door, sock: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        self.address = address
        self.since = loop.time()
        self.session = Session(dialler=False, now=self.since)
        codec = Tls(door.tls, server=True) if door.tls else Clear()
        self.wire = Wire(sock, codec, self.session, self, door.buffers, address)
        self.wire.last_words = HTTP_ANSWER
        self._door = door
        self._deadline = loop.call_later(door.greeting_secs, self._too_slow)

    def happened(self, events: list[Event]) -> None:
        """A hello, or the question for the CA (`Owner`)."""
        match events[0]:
            case Greeted(hello):
                self._deadline.cancel()
                self.wire.pause()
                self._door.greeted(self, hello)
            case AuthorityAsked():
                self.session.tell_authority(self._door.authority)

    def lost(self, error: FledxError | None) -> None:
        """The socket is closed (`Owner`)."""
        self._deadline.cancel()
        closed = self.session.closed
        reason = closed.reason if closed and closed.code != "closed" else ""
        self._door.gone(self, error.text if error else reason)

    def turn_away(self, reason: str) -> None:
        """Close, whatever it was about to say."""
        self.session.close("refused", reason)
        self.wire.pump()
        if not self.wire.established:
            self.wire.drop(None)

    def _too_slow(self) -> None:
        self.turn_away(f"it did not say who it is within {self._door.greeting_secs:g} s")
