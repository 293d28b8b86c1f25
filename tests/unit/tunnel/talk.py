"""Two sessions that talk to each other without a network, and ends that remember."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from fledx.tunnel import frames
from fledx.tunnel.events import Data, Ended, Event, Failed, Opened
from fledx.tunnel.flow import AT_END, DRY, Flow
from fledx.tunnel.greeting import Hello, Welcome
from fledx.tunnel.session import MIN_BUFFER, Session

HELLO = Hello(role="agent", token="secret-token", node_id="n1", version="1.0.0", build="abc", facts={"arch": "x86_64"})
WELCOME = Welcome(session="s1", version="1.0.0", heartbeat_secs=5, reconnect_secs=1, body={"node": "n1"})


class Pipe:
    """An end that sends what it was given and keeps what arrives; it eats nothing until told to."""

    def __init__(self, cargo: bytes = b"", *, ending: bool = False) -> None:
        self.cargo = cargo
        self.ending = ending
        self.got = bytearray()
        self.uneaten = 0
        self.over = False
        self.failure: tuple[str, str] | None = None

    def take(self, room: memoryview) -> int:
        size = min(len(room), len(self.cargo))
        room[:size] = self.cargo[:size]
        self.cargo = self.cargo[size:]
        return size or (AT_END if self.ending and not self.cargo else DRY)

    def arrived(self, piece: memoryview) -> None:
        self.got += piece
        self.uneaten += len(piece)

    def ended(self) -> None:
        self.over = True

    def failed(self, code: str, reason: str) -> None:
        self.failure = (code, reason)


class Side:
    """One session with a clock; what it sends is kept until it is delivered, what it hears goes to the ends."""

    def __init__(self, clock: Clock, *, dialler: bool) -> None:
        self.clock = clock
        self.session = Session(dialler=dialler, now=clock.now)
        self.heard: list[Event] = []
        self.accept = True

    def sends(self, quota: int = MIN_BUFFER) -> bytes:
        """Everything it has to say now, frames of at most `quota` at a time."""
        room = memoryview(bytearray(MIN_BUFFER))
        said = bytearray()
        while size := self.session.fill(room, quota, self.clock.now):
            said += room[:size]
        return bytes(said)

    def hears(self, data: bytes) -> list[Event]:
        """Deliver bytes; streams the peer opens are taken, with a `Pipe` as their end."""
        events = self.session.receive(memoryview(data), self.clock.now)
        for event in events:
            self._pass_on(event)
        self.heard += [event for event in events if not isinstance(event, Data)]
        return events

    def _pass_on(self, event: Event) -> None:
        if isinstance(event, Opened):
            event.flow.end = Pipe()
            if self.accept:
                self.session.accept(event.flow, {})
        elif isinstance(event, Data) and event.flow.end:
            event.flow.end.arrived(event.piece)
        elif isinstance(event, Ended) and event.flow.end:
            event.flow.end.ended()
        elif isinstance(event, Failed) and event.flow.end:
            event.flow.end.failed(event.code, event.reason)

    def opens(self, pipe: Pipe | None = None, kind: str = "logs") -> tuple[Flow, Pipe]:
        """A new stream with `pipe` as its local end."""
        pipe = pipe or Pipe()
        flow = self.session.open(kind, {}, self.clock.now)
        flow.end = pipe
        self.session.ready(flow)
        return flow, pipe

    def eats(self, flow: Flow) -> None:
        """The local end uses all that arrived."""
        pipe = pipe_of(flow)
        amount, pipe.uneaten = pipe.uneaten, 0
        self.session.eaten(flow, amount, self.clock.now)

    def last(self, kind: type[Any]) -> Any:
        """The latest event of that kind."""
        return next(event for event in reversed(self.heard) if isinstance(event, kind))


class Clock:
    """Time that moves when told to."""

    now = 1000.0


class Talk:
    """A dialler and a listener past their greeting."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.dialler = Side(self.clock, dialler=True)
        self.listener = Side(self.clock, dialler=False)
        self.dialler.session.greet(HELLO)
        self.listener.hears(self.dialler.sends())
        self.listener.session.answer(WELCOME)
        self.dialler.hears(self.listener.sends())

    def exchange(self, after: Callable[[], None] = lambda: None, *, seconds: float = 0.0) -> None:
        """Deliver in both directions until both are silent, `seconds` for each way; `after` runs around every round."""
        after()
        while True:
            up, down = self.dialler.sends(), self.listener.sends()
            if not up and not down:
                return
            self.clock.now += seconds
            self.listener.hears(up)
            self.dialler.hears(down)
            after()


def pipe_of(flow: Flow) -> Pipe:
    """The `Pipe` at the local end of a stream."""
    assert isinstance(flow.end, Pipe)
    return flow.end


def kinds(data: bytes) -> list[tuple[int, int]]:
    """Kind and stream of every frame."""
    unpacker = msgpack.Unpacker(max_bin_len=frames.MAX_DATA)
    unpacker.feed(data)
    return [(frames.HEARTBEAT, 0) if frame is None else (frame[0], frame[1]) for frame in unpacker]


def sent_through(talk: Talk, cargo: bytes) -> tuple[Flow, Flow]:
    """A stream of the dialler on which `cargo` waits, and what the listener knows of it."""
    flow, _ = talk.dialler.opens(Pipe(cargo))
    talk.exchange()
    return flow, talk.listener.last(Opened).flow
