"""A live session with one peer: streams, messages, and the reason when it is over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from anyio.abc import TaskGroup

from fledx.errors import FledxError, NotFound, Unavailable
from fledx.tunnel.events import Accepted, Closed, Data, Ended, Event, Failed, Opened, Told
from fledx.tunnel.flow import Flow
from fledx.tunnel.frames import Opening
from fledx.tunnel.greeting import Hello, Welcome
from fledx.tunnel.stream import Stream
from fledx.tunnel.wire import Wire

logger = logging.getLogger(__name__)

OnStream = Callable[[Stream], Awaitable[None]]
OnMessage = Callable[[Mapping[str, Any]], None]

LEAST_PATIENCE, MOST_PATIENCE = 15.0, 45.0
PATIENT_ROUND_TRIPS = 15
"""
Over a line that loses 30 % each way and needs 2 s for a round trip, 15 s would give up after four tries. This leaves
time for eight or nine; after them, dialling anew (20 s there) is quicker than TCP's next try.
"""


class Link:
    """
    What the roles see of a connection. ``peer`` is what the other side said of itself, ``address`` where it is.

    ``on_stream`` runs in a task for every stream the peer opens, and is cancelled when that stream is reset or the link
    is lost; what it raises resets the stream and never the link. ``on_message`` is called for every message in order
    and must not block.
    """

    __slots__ = ("_on_message", "_on_stream", "_opening", "_tasks", "_waiting", "_wire", "address", "peer")

    def __init__(self, wire: Wire, peer: Hello | Welcome, address: str, tasks: TaskGroup | None) -> None:
        self.peer = peer
        self.address = address
        self._wire = wire
        self._tasks = tasks
        self._on_stream: OnStream | None = None
        self._on_message: OnMessage | None = None
        self._opening: dict[int, tuple[Stream, asyncio.Future[None]]] = {}
        self._waiting: list[asyncio.Future[None]] = []
        wire.owner = self

    def attend(self, tasks: TaskGroup | None = None, *, on_stream: OnStream, on_message: OnMessage) -> None:
        """
        Begin to take what the peer sends; until then TCP holds it back.

        Handlers run in `tasks`, by default in the group that dialled or listens.
        """
        self._tasks = tasks or self._tasks
        self._on_stream = on_stream
        self._on_message = on_message
        self._wire.start()

    @property
    def bytes_in(self) -> int:
        """Bytes read from the network so far, TLS included."""
        return self._wire.bytes_in

    @property
    def bytes_out(self) -> int:
        """Bytes given to the network so far, TLS included."""
        return self._wire.bytes_out

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._wire.session.flows)

    @property
    def round_trip(self) -> float | None:
        """The least round trip seen lately in seconds, None before there was cause to measure one."""
        return self._wire.session.round_trip.least

    @property
    def reason(self) -> str | None:
        """Why the link is over, None while it is not."""
        closed = self._wire.session.closed
        return closed.reason if closed else None

    @property
    def peer_is_at_fault(self) -> bool:
        """Whether the link is over because the peer broke the protocol: its program is at fault, or is not ours."""
        closed = self._wire.session.closed
        return closed is not None and closed.faulty

    def last_heard(self) -> float:
        """When anything last arrived, in monotonic seconds."""
        return self._wire.session.last_heard

    async def open(self, kind: str, meta: Mapping[str, Any], *, wait: bool = True) -> Stream:
        """
        Open a stream and wait until the peer takes it; its `answer` is then known. Without `wait` a round trip is saved
        and a refusal is raised by the first call that needs the peer.

        Raises the error the peer refuses it with, Unavailable when the link is over, LimitExceeded when 1,024 are open.
        """
        flow = self._wire.session.open(kind, meta, self._wire.now())
        stream = Stream(self, flow, kind, meta)
        self._wire.pump()
        return await self._accepted_by_peer(stream) if wait else stream

    async def _accepted_by_peer(self, stream: Stream) -> Stream:
        flow = stream.flow
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stream.on_failure = lambda: _settle(answered)
        self._opening[flow.id] = stream, answered
        try:
            if stream.failure is None:
                await answered
        except BaseException:
            stream.reset("the other side no longer waits for it", code="cancelled")
            raise
        finally:
            del self._opening[flow.id]
            stream.on_failure = None
        if stream.failure is not None and not flow.accepted:
            raise stream.failure
        return stream

    def send(self, message: Mapping[str, Any]) -> None:
        """
        Queue a small control message (256 KiB at most, plain msgpack types).

        Raises LimitExceeded when it is too long or the peer has left 2 MiB of them untaken, InvalidSpec when it cannot
        be encoded, Unavailable when the link is over.
        """
        self._wire.session.tell(message)
        self._wire.pump()

    def send_in_time(self, message: Mapping[str, Any]) -> None:
        """
        The same for a message that may wait until a heartbeat is due, whose place it takes, or another is sent, which
        follows it: it then costs no packet of its own.
        """
        self._wire.session.tell_in_time(message)

    async def closed(self) -> str:
        """
        Wait until the link is over and its socket closed; returns the reason.

        Nobody may have attended to the link: its messages are then dropped and its streams refused.
        """
        self._wire.start()
        if not self._wire.closed:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            try:
                await waiting
            finally:
                self._waiting.remove(waiting)
        return self.reason or ""

    def close(self, reason: str, *, code: str = "closed") -> None:
        """Say goodbye and close; streams fail at once, the socket follows within a second (`closed` waits for it)."""
        self._wire.session.close(code, reason)
        self._fail_streams()
        self._wire.start()
        self._wire.pump()

    async def keep_alive(self) -> None:
        """
        Show the peer that we live, until the link is over; cancelling this says goodbye and closes the link.

        How long TCP waits for an acknowledgement follows the round trip it sees: 15 s on any usual path, up to 45 s on
        one that needs seconds.
        """
        try:
            while self.reason is None:
                wait = self._wire.session.beat(self._wire.now())
                self._wire.pump()
                patience = self._wire.round_trip() * PATIENT_ROUND_TRIPS
                self._wire.patience(min(max(LEAST_PATIENCE, patience), MOST_PATIENCE))
                with anyio.move_on_after(wait):
                    await self.closed()
        finally:
            self.close("the dialler is shutting down")
            with anyio.CancelScope(shield=True):
                await self.closed()

    def accept(self, flow: Flow, meta: Mapping[str, Any]) -> None:
        """Tell the peer that its stream is taken (`Carrier`)."""
        if not flow.accepted and not flow.ours:
            self._wire.session.accept(flow, meta)
            self._wire.pump()

    def ready(self, flow: Flow) -> None:
        """The stream has something to send (`Carrier`)."""
        self._wire.session.ready(flow)
        self._wire.pump()

    def eaten(self, flow: Flow, amount: int) -> None:
        """The stream has used what arrived (`Carrier`)."""
        session = self._wire.session
        session.eaten(flow, amount, self._wire.now())
        if session.order.urgent:
            self._wire.soon()

    def leave(self, flow: Flow) -> None:
        """The stream reads no more (`Carrier`)."""
        self._wire.session.leave(flow)
        self._wire.pump()

    def reset(self, flow: Flow, code: str, reason: str) -> None:
        """The stream is given up (`Carrier`)."""
        self._wire.session.reset(flow, code, reason)
        self._wire.pump()

    def happened(self, events: list[Event]) -> None:
        """Hand on what the peer has said (`Owner`)."""
        for event in events:
            if type(event) is Data:
                if event.flow.end is not None:
                    event.flow.end.arrived(event.piece)
            else:
                self._note(event)

    def _note(self, event: Event) -> None:
        match event:
            case Ended(flow):
                if flow.end is not None:
                    flow.end.ended()
            case Failed(flow, code, reason):
                if flow.end is not None:
                    flow.end.failed(code, reason)
            case Accepted(flow, meta):
                self._accepted(flow, meta)
            case Opened(flow, opening):
                self._opened(flow, opening)
            case Told(message):
                self._told(message)
            case Closed():
                self._fail_streams()

    def lost(self, error: FledxError | None) -> None:
        """The socket is closed (`Owner`)."""
        self._fail_streams()
        for waiting in self._waiting:
            _settle(waiting)

    def _fail_streams(self) -> None:
        for flow in self._wire.session.flows.abandon():
            if flow.end is not None:
                flow.end.failed(Unavailable.code, f"the link to {self.address} is over: {self.reason}")

    def _accepted(self, flow: Flow, meta: Mapping[str, Any]) -> None:
        if flow.id in self._opening:
            stream, answered = self._opening[flow.id]
            stream.answer = meta
            _settle(answered)

    def _opened(self, flow: Flow, opening: Opening) -> None:
        stream = Stream(self, flow, opening.kind, opening.meta)
        if self._on_stream is None or self._tasks is None:
            stream.reset("this side serves no streams", code=NotFound.code)
            self._wire.session.flows.release(flow)
        else:
            self._tasks.start_soon(self._run, stream, self._on_stream)

    async def _run(self, stream: Stream, on_stream: OnStream) -> None:
        """Run the handler of one stream, cancelled when the stream is."""
        try:
            with anyio.CancelScope() as scope:
                stream.on_failure = scope.cancel
                await self._handle(stream, on_stream)
        except BaseException:
            stream.reset("the other side stopped serving it", code="cancelled")
            raise
        finally:
            stream.on_failure = None
            self._wire.session.flows.release(stream.flow)

    async def _handle(self, stream: Stream, on_stream: OnStream) -> None:
        """The only place that knows what becomes of a handler's errors."""
        if stream.failure is not None:
            return
        try:
            await on_stream(stream)
            await stream.aclose()
        except FledxError as problem:
            stream.reset(problem.text, code=problem.code)
        except Exception:
            logger.exception("a stream handler failed", extra={"kind": stream.kind, "peer": self.address})
            stream.reset(f"serving the {stream.kind} stream failed", code="failed")

    def _told(self, message: Mapping[str, Any]) -> None:
        if self._on_message is None:
            return
        try:
            self._on_message(message)
        except Exception:
            logger.exception("a message could not be handled", extra={"peer": self.address})


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
