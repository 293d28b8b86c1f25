"""
The streams of one connection: opening and taking them, credit, whose turn it is, and their ends.

This is the half of a `Session` that every byte of a stream passes; the other half is what is said between the two sides
themselves (`session.py`). What must hold for both is here: nothing is said before the connection is open or after it is
closed, and the time of the last frame sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fledx.errors import FledxError, LimitExceeded, Unavailable
from fledx.tunnel import frames
from fledx.tunnel.credit import FIRST_WINDOW
from fledx.tunnel.events import Accepted, Closed, Data, Ended, Event, Failed, Opened
from fledx.tunnel.flow import AT_END, LEFT, End, Flow
from fledx.tunnel.flows import MAX_STREAMS, Flows
from fledx.tunnel.frames import ARRAY_OF_3, BIN32, DATA, HEADER, HEADER_SIZE, UINT8, UINT32, Opening
from fledx.tunnel.order import Order
from fledx.tunnel.round_trip import RoundTrip

MIN_DATA = 1024
"""With less room than this no stream gets its turn: rather a new buffer than crumbs."""

SPARSE_FRAME = 16 * 1024
"""What a quiet stream may send ahead of bulk streams."""

MAX_CREDIT = 2**31 - 1
PING = frames.frame(frames.PING)


class Multiplexer:
    """
    One side's streams over one `Order` of sending. The dialler opens odd ones, the listener even ones, in rising order.

    ``is_open`` once the two have agreed to talk, ``closed`` when and why they no longer do.
    """

    __slots__ = ("closed", "flows", "is_open", "last_sent", "order", "round_trip")

    def __init__(self, *, dialler: bool, now: float) -> None:
        self.is_open = False
        self.closed: Closed | None = None
        self.order = Order()
        self.flows = Flows(dialler=dialler)
        self.last_sent = now
        self.round_trip = RoundTrip(now)

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
        grant = flow.window.eat(amount, now, self.round_trip.least, self.flows.budget)
        if grant:
            self._urge(frames.credit_frame(flow.id, grant))
            if self.round_trip.ask(now):
                self._urge(PING)

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

    def _urge(self, frame: bytes) -> None:
        """Queue a control frame; a peer that has long stopped taking them loses the session: its line may be dead."""
        self._must_be_open()
        try:
            self.order.urge(frame)
        except LimitExceeded as problem:
            self._shut(Closed(problem.code, problem.text, faulty=False))

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
            events.append(Failed(flow, said.code, said.text))


ON_STREAM: dict[int, Callable[[Multiplexer, int, memoryview, float, list[Event]], None]] = {
    frames.OPEN: Multiplexer._take_open,
    frames.ACCEPT: Multiplexer._take_accept,
    frames.CREDIT: Multiplexer._take_credit,
    frames.END: Multiplexer._take_end,
    frames.RESET: Multiplexer._take_reset,
}
"""What becomes of each frame of a stream but DATA: stream, payload, the time, and what it means is appended."""
