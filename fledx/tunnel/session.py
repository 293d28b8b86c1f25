"""
The protocol without a network: bytes in, events out; frames out whenever there is room for them.

`receive` takes what arrived, in any pieces, and returns what it means. `fill` writes frames in the order of `Order`,
asking each stream's `End` for bytes when it is its turn. Every limit is kept here. Whoever drives a session brings the
time and moves the bytes (`wire.py`); a test can do both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fledx import __version__
from fledx.errors import FledxError
from fledx.tunnel import frames, greeting
from fledx.tunnel.events import Answered, AuthorityAsked, AuthorityTold, Closed, Event, Greeted, Told
from fledx.tunnel.frames import DATA, HEADER_SIZE
from fledx.tunnel.greeting import Hello, Refused, Welcome
from fledx.tunnel.multiplexer import ON_STREAM, Multiplexer
from fledx.tunnel.order import Order
from fledx.tunnel.reader import FrameReader

MIN_BUFFER = HEADER_SIZE + frames.MAX_MESSAGE
"""Bytes `fill` needs at least, so that every frame fits."""

NEVER = 86400.0

FROM_DIALLER = frozenset({frames.HELLO, frames.AUTHORITY})
FROM_LISTENER = frozenset({frames.WELCOME, frames.REFUSED, frames.AUTHORITY, frames.GOODBYE})
WHILE_DECIDING = frozenset({frames.GOODBYE})
WHILE_OPEN = frozenset(frames.RULES) - FROM_DIALLER - FROM_LISTENER | {frames.GOODBYE}

OURS = __version__, greeting.PROTOCOL
HEARTBEAT = bytes((frames.NIL,))
PONG = frames.frame(frames.PONG)


class Session(Multiplexer):
    """
    One side of one connection: the greeting, messages, signs of life and the end; its streams are the `Multiplexer`'s.

    A peer that breaks the protocol is told so in a GOODBYE, and the last event is `Closed`; after it nothing is
    understood and nothing but that GOODBYE is sent.
    """

    __slots__ = ("_patient", "_reader", "dialler", "heartbeat_secs", "last_heard")

    def __init__(self, *, dialler: bool, now: float) -> None:
        super().__init__(dialler=dialler, now=now)
        self.dialler = dialler
        self.last_heard = now
        self.heartbeat_secs: float | None = None
        self._patient = b""
        self._reader = FrameReader(FROM_LISTENER if dialler else FROM_DIALLER)

    def receive(self, data: memoryview, now: float) -> list[Event]:
        """Understand what arrived; the pieces of `Data` events are views into `data`."""
        events: list[Event] = []
        if self.closed:
            return events
        self.last_heard = now
        try:
            for kind, stream, payload in self._reader.read(data):
                if kind == DATA:
                    self._take_data(stream, payload, events)
                else:
                    _ON_FRAME[kind](self, stream, payload, now, events)
                if self.closed:
                    break
        except FledxError as problem:
            events.append(self._break(problem))
        return events

    def greet(self, hello: Hello) -> None:
        """The dialler's first frame."""
        self.order.urge(greeting.hello_frame(hello))

    def ask_authority(self) -> None:
        """The dialler's first and only frame when it has yet to check who the listener is."""
        self.order.urge(frames.frame(frames.AUTHORITY))

    def tell_authority(self, certificates: str) -> None:
        """Answer such a request; that is all there is to say to a stranger."""
        self.order.urge(frames.authority_frame(certificates))
        self.closed = Closed("closed", "the CA certificates were asked for and told", faulty=False)

    def answer(self, answer: Welcome | Refused) -> None:
        """Take the hello and open the session, or refuse it and be done."""
        if isinstance(answer, Welcome):
            self.order.urge(greeting.welcome_frame(answer))
            self._open(answer)
        else:
            self.order.urge(frames.reason_frame(frames.REFUSED, answer.code, answer.reason))
            self.closed = Closed(answer.code, answer.reason, faulty=False)

    def _open(self, welcome: Welcome) -> None:
        self.is_open = True
        self._reader.allowed = WHILE_OPEN
        self.heartbeat_secs = welcome.heartbeat_secs

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a small control message; raises LimitExceeded when the peer does not take them."""
        self._must_be_open()
        self.order.tell(self._patient + frames.map_frame(frames.MESSAGE, message))
        self._patient = b""

    def tell_in_time(self, message: Mapping[str, Any]) -> None:
        """A message that may wait for company: it goes just before the next one, or in place of a heartbeat."""
        self._must_be_open()
        self._patient += frames.map_frame(frames.MESSAGE, message)

    def beat(self, now: float) -> float:
        """
        Queue a heartbeat when nothing was sent for so long, or what has waited for that moment and shows as well that
        we live; returns the seconds until it is time to ask again.
        """
        if self.heartbeat_secs is None or self.closed:
            return NEVER
        left = self.last_sent + self.heartbeat_secs - now
        if left > 0:
            return left
        if self._patient and not self.order.messages:
            self.order.tell(self._patient)
            self._patient = b""
        elif HEARTBEAT not in self.order.urgent:
            self._urge(HEARTBEAT)
        return self.heartbeat_secs

    def _take_hello(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        self._reader.allowed = WHILE_DECIDING
        hello = greeting.read_hello(payload)
        if hello.protocol == greeting.PROTOCOL:
            events.append(Greeted(hello))
        else:
            self.answer(greeting.mismatch(dialler=(hello.version, hello.protocol), listener=OURS))

    def _take_authority(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        self._reader.allowed = WHILE_DECIDING
        events.append(AuthorityTold(frames.read_authority(payload)) if self.dialler else AuthorityAsked())

    def _take_welcome(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        welcome = greeting.read_welcome(payload)
        if welcome.protocol == greeting.PROTOCOL:
            self._open(welcome)
            events.append(Answered(welcome))
        else:
            refused = greeting.mismatch(dialler=OURS, listener=(welcome.version, welcome.protocol))
            self.close(refused.code, refused.reason)
            events.append(Answered(refused))

    def _take_refused(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        said = frames.read_reason(frames.REFUSED, payload)
        self.closed = Closed(said.code, said.text, faulty=False)
        events.append(Answered(Refused(code=said.code, reason=said.text)))

    def _take_goodbye(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        said = frames.read_reason(frames.GOODBYE, payload)
        self.closed = Closed(said.code, said.text, faulty=False)
        self.order = Order()
        events.append(self.closed)

    def _take_heartbeat(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        """Having heard it is all: `receive` has noted the time."""

    def _take_ping(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        if PONG not in self.order.urgent:
            self._urge(PONG)

    def _take_pong(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        self.round_trip.answered(now)

    def _take_message(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        events.append(Told(frames.read_map(frames.MESSAGE, payload)))


_ON_FRAME: dict[int, Callable[[Session, int, memoryview, float, list[Event]], None]] = {
    **ON_STREAM,
    frames.HELLO: Session._take_hello,
    frames.WELCOME: Session._take_welcome,
    frames.REFUSED: Session._take_refused,
    frames.AUTHORITY: Session._take_authority,
    frames.HEARTBEAT: Session._take_heartbeat,
    frames.PING: Session._take_ping,
    frames.PONG: Session._take_pong,
    frames.MESSAGE: Session._take_message,
    frames.GOODBYE: Session._take_goodbye,
}
