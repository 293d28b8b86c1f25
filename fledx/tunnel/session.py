"""
The protocol without a network: bytes in, events out; frames out whenever there is room for them.

`receive` takes what arrived, in any pieces, and returns what it means. `fill` writes frames in the order of `Order`,
asking each stream's `End` for bytes when it is its turn. Every limit is kept here. Whoever drives a session brings the
time and moves the bytes (`wire.py`); a test can do both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fledx.errors import FledxError, LimitExceeded, Unavailable
from fledx.tunnel import frames
from fledx.tunnel.credit import FIRST_WINDOW
from fledx.tunnel.events import (
    Accepted,
    Answered,
    AuthorityAsked,
    AuthorityTold,
    Closed,
    Data,
    Ended,
    Event,
    Failed,
    Greeted,
    Opened,
    Told,
)
from fledx.tunnel.flow import AT_END, End, Flow
from fledx.tunnel.flows import MAX_STREAMS, Flows
from fledx.tunnel.frames import (
    ARRAY_OF_3,
    BIN32,
    DATA,
    HEADER,
    HEADER_SIZE,
    UINT8,
    UINT32,
    Hello,
    Opening,
    Refused,
    Welcome,
)
from fledx.tunnel.order import Order
from fledx.tunnel.reader import FrameReader

MIN_BUFFER = HEADER_SIZE + frames.MAX_MESSAGE
"""Bytes `fill` needs at least, so that every frame fits."""

MIN_DATA = 1024
"""With less room than this no stream gets its turn: rather a new buffer than crumbs."""

SPARSE_FRAME = 16 * 1024
"""What a quiet stream may send ahead of bulk streams."""

MAX_CREDIT = 2**31 - 1
NEVER = 86400.0
LEFT = "left"
"""Code of a RESET that follows an END: all was said, nothing more is read."""

PING_SECS = 1.0
ROUND_TRIP_SECS = 60.0
"""After so long a measured round trip no longer counts: paths change."""

FROM_DIALLER = frozenset({frames.HELLO, frames.AUTHORITY})
FROM_LISTENER = frozenset({frames.WELCOME, frames.REFUSED, frames.AUTHORITY, frames.GOODBYE})
WHILE_DECIDING = frozenset({frames.GOODBYE})
WHILE_OPEN = frozenset(frames.RULES) - FROM_DIALLER - FROM_LISTENER | {frames.GOODBYE}

HEARTBEAT = bytes((frames.NIL,))
PING = frames.frame(frames.PING)
PONG = frames.frame(frames.PONG)


class Session:
    """
    One side of one connection. The dialler opens odd streams, the listener even ones, in rising order.

    A peer that breaks the protocol is told so in a GOODBYE, and the last event is `Closed`; after it nothing is
    understood and nothing but that GOODBYE is sent.
    """

    __slots__ = (
        "_patient",
        "_ping_sent",
        "_pinging",
        "_reader",
        "closed",
        "dialler",
        "flows",
        "heartbeat_secs",
        "is_open",
        "last_heard",
        "last_sent",
        "order",
        "round_trip",
        "round_trip_at",
    )

    def __init__(self, *, dialler: bool, now: float) -> None:
        self.dialler = dialler
        self.is_open = False
        self.closed: Closed | None = None
        self.order = Order()
        self.last_heard = now
        self.last_sent = now
        self.heartbeat_secs: float | None = None
        self.round_trip: float | None = None
        self.round_trip_at = now
        self._patient = b""
        self._ping_sent = now - PING_SECS
        self._pinging = False
        self._reader = FrameReader(FROM_LISTENER if dialler else FROM_DIALLER)
        self.flows = Flows(dialler=dialler)

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

    def fill(self, buffer: memoryview, quota: int, now: float) -> int:
        """
        Write the next frames into `buffer` (`MIN_BUFFER` or longer) and return how many bytes they are.

        Stops where DATA would go beyond `quota` bytes; 0 means that there is nothing to send now.
        """
        order = self.order
        used = order.control_into(buffer, quota)
        if not self.closed:
            end = min(quota, len(buffer))
            while end - used >= MIN_DATA:
                flow = order.next()
                if flow is None:
                    break
                used += self._data_into(flow, buffer[used:end])
        if used:
            self.last_sent = now
        return used

    def _data_into(self, flow: Flow, room: memoryview) -> int:
        """One turn of one stream; returns the bytes of its frame, 0 when it had nothing to send or may not."""
        if flow.dead or flow.sent_end or flow.end is None:
            return 0
        limit = min(len(room) - HEADER_SIZE, flow.credit)
        if self.order.bulk and not flow.bulky:
            limit = min(limit, SPARSE_FRAME)
        if not limit:
            return self._without_credit(flow, flow.end, room)
        size = flow.end.take(room[HEADER_SIZE : HEADER_SIZE + limit])
        if size <= 0:
            return self._end_into(flow, room) if size == AT_END else 0
        HEADER.pack_into(room, 0, ARRAY_OF_3, UINT8, DATA, UINT32, flow.id, BIN32, size)
        flow.credit -= size
        if size == limit:
            self._more(flow)
        elif flow.end.take(room[:0]) == AT_END:
            self.order.ready(flow)
        return HEADER_SIZE + size

    def _without_credit(self, flow: Flow, end: End, room: memoryview) -> int:
        """Only the end of a stream can go without credit."""
        if end.take(room[:0]) == AT_END:
            return self._end_into(flow, room)
        flow.parked = True
        return 0

    def _more(self, flow: Flow) -> None:
        """The stream surely has more to send: to the end of the line, or aside until there is credit."""
        flow.parked = not flow.credit
        if flow.credit:
            self.order.again(flow)

    def _end_into(self, flow: Flow, room: memoryview) -> int:
        HEADER.pack_into(room, 0, ARRAY_OF_3, UINT8, frames.END, UINT32, flow.id, BIN32, 0)
        flow.sent_end = True
        if flow.ended:
            self.flows.forget(flow)
        elif flow.leaving:
            self.reset(flow, LEFT, "the other side reads no more")
        return HEADER_SIZE

    def greet(self, hello: Hello) -> None:
        """The dialler's first frame."""
        self.order.urge(frames.hello_frame(hello))

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
            self.order.urge(frames.welcome_frame(answer))
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

    def close(self, code: str, reason: str) -> None:
        """Say goodbye; nothing else is sent after it."""
        if not self.closed:
            self._shut(Closed(code, reason, faulty=False))

    def _break(self, problem: FledxError) -> Closed:
        closed = Closed(problem.code, problem.text, faulty=True)
        self._shut(closed)
        return closed

    def _shut(self, closed: Closed) -> None:
        self.closed = closed
        self.order = Order()
        self.order.urge(frames.reason_frame(frames.GOODBYE, closed.code, closed.reason))

    def open(self, kind: str, meta: Mapping[str, Any], now: float) -> Flow:
        """Open a stream, whose `end` the caller sets. Raises LimitExceeded, Unavailable, or InvalidSpec for `meta`."""
        self._must_be_open()
        flow = self.flows.begin(now)
        try:
            self._urge(frames.open_frame(flow.id, Opening(kind, meta, flow.window.size)))
        except FledxError:
            self.flows.forget(flow)
            raise
        return flow

    def accept(self, flow: Flow, meta: Mapping[str, Any]) -> None:
        """Take a stream the peer has opened; does nothing when that was done or the stream is over."""
        if flow.dead or flow.accepted or self.closed:
            return
        self._urge(frames.map_frame(frames.ACCEPT, meta, flow.id))
        flow.accepted = True
        grant = flow.window.widen(self.flows.budget)
        if grant:
            self._urge(frames.credit_frame(flow.id, grant))

    def reset(self, flow: Flow, code: str, reason: str) -> None:
        """Give a stream up, whatever it waits for; does nothing when it is over."""
        if flow.dead or self.closed:
            flow.dead = True
            return
        self.flows.forget(flow)
        self._urge(frames.reason_frame(frames.RESET, code, reason, flow.id))

    def leave(self, flow: Flow) -> None:
        """The local side reads no more: once our end is sent, the peer is told not to send more either."""
        flow.leaving = True
        if flow.sent_end and not flow.dead:
            self.reset(flow, LEFT, "the other side reads no more")

    def ready(self, flow: Flow) -> None:
        """The local end has bytes, or its end, to send."""
        if not flow.dead and not flow.sent_end:
            self.order.ready(flow)

    def eaten(self, flow: Flow, amount: int, now: float) -> None:
        """The local end has used `amount` bytes of what arrived; grants the peer more when it is time."""
        if flow.dead or flow.ended:
            return
        grant = flow.window.eat(amount, now, self.round_trip, self.flows.budget)
        if grant:
            self._urge(frames.credit_frame(flow.id, grant))
            self._ping(now)

    def _ping(self, now: float) -> None:
        """Measure the round trip, at most once a second and only while a stream needs its window judged."""
        if not self._pinging and now - self._ping_sent >= PING_SECS:
            self._pinging = True
            self._ping_sent = now
            self._urge(PING)

    def _urge(self, frame: bytes) -> None:
        """Queue a control frame; a peer that has long stopped taking them loses the session."""
        self._must_be_open()
        try:
            self.order.urge(frame)
        except LimitExceeded as problem:
            self._break(problem)

    def _must_be_open(self) -> None:
        if self.closed:
            raise Unavailable(f"the link is closed: {self.closed.reason}")
        if not self.is_open:
            raise Unavailable("the link is not open yet")

    def _take_data(self, stream: int, piece: memoryview, events: list[Event]) -> None:
        flow = self.flows.known(stream)
        if flow is None:
            return
        if flow.ended:
            raise frames.malformed(f"stream {stream} carries data after its end")
        if not piece:
            raise frames.malformed("a DATA frame must not be empty")
        window = flow.window
        window.left -= len(piece)
        if window.left < 0:
            raise LimitExceeded(f"stream {stream} was sent {-window.left} bytes more than its credit")
        events.append(Data(flow, piece))

    def _take_hello(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        self._reader.allowed = WHILE_DECIDING
        hello = frames.read_hello(payload)
        if hello.protocol == frames.PROTOCOL:
            events.append(Greeted(hello))
            return
        us, them = f"tunnel protocol {frames.PROTOCOL}", f"protocol {hello.protocol} (fledx {hello.version or '?'})"
        self.answer(
            Refused(code="protocol", reason=f"this side speaks {us}, the other {them}: bring both to one version")
        )
        self.closed = Closed("protocol", f"the peer speaks {them}, this side {us}", faulty=True)
        events.append(self.closed)

    def _take_authority(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        self._reader.allowed = WHILE_DECIDING
        events.append(AuthorityTold(frames.read_authority(payload)) if self.dialler else AuthorityAsked())

    def _take_welcome(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        welcome = frames.read_welcome(payload)
        self._open(welcome)
        events.append(Answered(welcome))

    def _take_refused(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        refused = frames.read_reason(frames.REFUSED, payload)
        self.closed = Closed(refused.code, refused.reason, faulty=False)
        events.append(Answered(refused))

    def _take_goodbye(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        said = frames.read_reason(frames.GOODBYE, payload)
        self.closed = Closed(said.code, said.reason, faulty=False)
        self.order = Order()
        events.append(self.closed)

    def _take_heartbeat(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        """Having heard it is all: `receive` has noted the time."""

    def _take_ping(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        if PONG not in self.order.urgent:
            self._urge(PONG)

    def _take_pong(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        if not self._pinging:
            return
        self._pinging = False
        took = now - self._ping_sent
        if self.round_trip is None or took < self.round_trip or now - self.round_trip_at > ROUND_TRIP_SECS:
            self.round_trip, self.round_trip_at = took, now

    def _take_message(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        events.append(Told(frames.read_map(frames.MESSAGE, payload)))

    def _take_open(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        opening = frames.read_open(payload)
        if not FIRST_WINDOW <= opening.window <= MAX_CREDIT:
            raise frames.malformed(f"stream {stream} opens with a window of {opening.window} bytes")
        flow = self.flows.admit(stream, opening.window, now)
        if flow is None:
            reason = f"{MAX_STREAMS} streams of this peer are open already"
            self._urge(frames.reason_frame(frames.RESET, LimitExceeded.code, reason, stream))
        else:
            events.append(Opened(flow, opening))

    def _take_accept(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        flow = self.flows.known(stream)
        meta = frames.read_map(frames.ACCEPT, payload)
        if flow is None:
            return
        if not flow.ours or flow.accepted:
            raise frames.malformed(f"stream {stream} does not wait to be accepted")
        flow.accepted = True
        events.append(Accepted(flow, meta))

    def _take_credit(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        flow = self.flows.known(stream)
        amount = frames.read_credit(payload)
        if flow is None:
            return
        if not 0 < amount <= MAX_CREDIT - flow.credit:
            raise frames.malformed(f"stream {stream} was granted {amount} bytes on top of {flow.credit}")
        flow.credit += amount
        if flow.parked:
            self._more(flow)

    def _take_end(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        flow = self.flows.known(stream)
        if flow is None:
            return
        if flow.ended:
            raise frames.malformed(f"stream {stream} ended twice")
        flow.ended = True
        if flow.sent_end:
            self.flows.forget(flow)
        events.append(Ended(flow))

    def _take_reset(self, stream: int, payload: memoryview, now: float, events: list[Event]) -> None:
        flow = self.flows.known(stream)
        said = frames.read_reason(frames.RESET, payload)
        if flow is not None:
            self.flows.forget(flow)
            events.append(Failed(flow, said.code, said.reason))


_ON_FRAME: dict[int, Callable[[Session, int, memoryview, float, list[Event]], None]] = {
    frames.HELLO: Session._take_hello,
    frames.WELCOME: Session._take_welcome,
    frames.REFUSED: Session._take_refused,
    frames.AUTHORITY: Session._take_authority,
    frames.HEARTBEAT: Session._take_heartbeat,
    frames.PING: Session._take_ping,
    frames.PONG: Session._take_pong,
    frames.MESSAGE: Session._take_message,
    frames.GOODBYE: Session._take_goodbye,
    frames.OPEN: Session._take_open,
    frames.ACCEPT: Session._take_accept,
    frames.CREDIT: Session._take_credit,
    frames.END: Session._take_end,
    frames.RESET: Session._take_reset,
}
