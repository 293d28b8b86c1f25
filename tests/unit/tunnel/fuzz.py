"""
Whatever arrives: no crash, no memory beyond the limits, always a named reason.

Used by the suite for a bounded number of seeds, and by hand for as long as wanted:

    python tests/unit/tunnel/fuzz.py --soak 3600 [--seed 1]

One seed is one conversation of two sessions that open, send, eat, reset and leave as the dice fall; what one of them
says is now and then broken on its way, and arrives in pieces of any size.
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

import msgpack  # noqa: E402

from fledx.tunnel import frames  # noqa: E402
from fledx.tunnel.credit import FIRST_WINDOW, SESSION_EXTRA  # noqa: E402
from fledx.tunnel.events import Closed, Data, Event, Greeted, Opened  # noqa: E402
from fledx.tunnel.flow import Flow  # noqa: E402
from fledx.tunnel.flows import MAX_STREAMS  # noqa: E402
from fledx.tunnel.order import MAX_MESSAGES, MAX_URGENT  # noqa: E402
from fledx.tunnel.session import MIN_BUFFER, Session  # noqa: E402
from tests.unit.tunnel.talk import HELLO, WELCOME, Pipe, pipe_of  # noqa: E402

ROOM = memoryview(bytearray(MIN_BUFFER))


class Half:
    """A session with a will of its own: it opens, sends, eats, ends, resets and leaves as the dice fall."""

    def __init__(self, dice: random.Random, *, dialler: bool) -> None:
        self.dice = dice
        self.session = Session(dialler=dialler, now=0.0)
        self.flows: list[Flow] = []
        self.granted: Counter[int] = Counter()
        self.arrived: Counter[int] = Counter()

    def hear(self, said: bytes, now: float) -> None:
        """Take `said` in pieces of any size."""
        at = 0
        while at < len(said):
            size = self.dice.choice((1, 5, 13, 14, 1000, 16384, 200_000, 200_000))
            for event in self.session.receive(memoryview(said)[at : at + size], now):
                self._note(event)
            at += size

    def _note(self, event: Event) -> None:
        match event:
            case Opened(flow, _):
                assert flow.id not in self.granted, "a number came twice"
                self._keep(flow, FIRST_WINDOW)
            case Data(flow, piece):
                assert flow.end, "bytes for a stream nobody was told of"
                self.arrived[flow.id] += len(piece)
                flow.end.arrived(piece)
            case Closed():
                assert event is self.session.closed
            case Greeted(hello):
                assert hello.role

    def _keep(self, flow: Flow, window: int) -> None:
        cargo = self.dice.randbytes(self.dice.choice((0, 5, 5, 50_000, 400_000)))
        flow.end = Pipe(cargo, ending=self.dice.random() < 0.7)
        self.granted[flow.id] = window
        self.flows.append(flow)

    def act(self, now: float) -> None:
        """What a role may do of its own accord."""
        session, dice = self.session, self.dice
        if not session.is_open or session.closed:
            return
        if dice.random() < 0.3 and len(session.flows) < 20:
            flow = session.open("exec", {}, now)
            self._keep(flow, flow.window.size)
        if dice.random() < 0.2:
            session.tell({"type": "report", "data": dice.randbytes(dice.choice((3, 3000, 200_000)))})
        session.beat(now)
        for flow in self.flows[-8:]:
            dice.choice((self._eat, self._eat, self._accept, self._ready, self._ready, self._give_up))(flow, now)

    def _eat(self, flow: Flow, now: float) -> None:
        pipe = pipe_of(flow)
        self.session.eaten(flow, pipe.uneaten, now)
        pipe.uneaten = 0
        pipe.got.clear()

    def _accept(self, flow: Flow, now: float) -> None:
        if not flow.ours:
            self.session.accept(flow, {"pid": 1})

    def _ready(self, flow: Flow, now: float) -> None:
        self.session.ready(flow)

    def _give_up(self, flow: Flow, now: float) -> None:
        chance = self.dice.random()
        if chance < 0.05:
            self.session.reset(flow, "failed", "enough")
        elif chance < 0.1:
            self.session.leave(flow)
        elif chance < 0.15 and flow.dead:
            self.session.flows.release(flow)

    def says(self, now: float) -> bytes:
        """What it has to say, which must be frames; its grants are noted."""
        said = bytearray()
        while size := self.session.fill(ROOM, self.dice.choice((4096, 300_000)), now):
            said += ROOM[:size]
            if self.dice.random() < 0.1:
                break
        unpacker = msgpack.Unpacker(max_buffer_size=10**8)
        unpacker.feed(said)
        for kind, stream, payload in unpacker:
            if kind == frames.CREDIT:
                self.granted[stream] += frames.read_credit(payload)
        return bytes(said)


class Fuzz:
    """
    One conversation between a session and a peer that is now and then out of its mind.

    `run` returns what it came to and raises AssertionError where a promise is broken.
    """

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.now = 0.0
        dialler = self.dice.random() < 0.4
        self.us, self.peer = Half(self.dice, dialler=dialler), Half(self.dice, dialler=not dialler)
        self.madness = self.dice.choice((0.0, 0.01, 0.05, 0.3))

    def run(self) -> str:
        """Talk until the session is closed or everything was said."""
        self._greet()
        for _ in range(self.dice.randint(1, 80)):
            self.now += self.dice.random() / 10
            self.peer.act(self.now)
            self.us.act(self.now)
            self.us.hear(self._broken(self.peer.says(self.now)), self.now)
            self._check()
            if self.us.session.closed:
                return self._check_end()
            self.peer.hear(self.us.says(self.now), self.now)
        assert self.madness or not self.peer.session.closed
        return "open"

    def _greet(self) -> None:
        """Mostly a proper greeting, so that what lies behind it is reached."""
        us, peer = self.us.session, self.peer.session
        dialler, listener = (self.us, self.peer) if us.dialler else (self.peer, self.us)
        dialler.session.greet(HELLO)
        said = dialler.says(0)
        listener.hear(said if us.dialler else self._broken(said), 0)
        if listener.session.closed or self.dice.random() < 0.02:
            return
        listener.session.answer(WELCOME)
        said = listener.says(0)
        dialler.hear(said if peer.dialler else self._broken(said), 0)

    def _broken(self, said: bytes) -> bytes:
        while self.dice.random() < self.madness:
            said = self.dice.choice(BREAKS)(self.dice, said or b"\x93")
        return said

    def _check(self) -> None:
        session = self.us.session
        assert session.order.urgent_bytes <= MAX_URGENT
        assert session.order.message_bytes <= MAX_MESSAGES
        assert 0 <= session.flows.budget.left <= SESSION_EXTRA
        assert len(session.flows) <= 2 * MAX_STREAMS
        assert len(session._reader._payload or b"") <= frames.MAX_MESSAGE
        granting = any(frame[2] == frames.CREDIT for frame in session.order.urgent)
        for flow in self.us.flows:
            assert flow.credit >= 0
            assert granting or session.closed or self.us.arrived[flow.id] <= self.us.granted[flow.id]

    def _check_end(self) -> str:
        closed = self.us.session.closed
        assert closed
        assert closed.reason, "the session ended without a reason"
        assert HELLO.token not in closed.reason
        assert self.madness, f"two sane sessions fell out: {closed.reason}"
        assert len(self.us.says(self.now)) < 10_000
        assert self.us.session.receive(memoryview(b"more"), self.now) == []
        return f"{'fault' if closed.faulty else 'end'}: {_kind(closed.reason)}"


def _kind(reason: str) -> str:
    """A reason without its numbers, so that reasons can be counted."""
    return re.sub(r"[0-9]+|nothing begins with .*", "…", reason)[:90]


def _flip(dice: random.Random, said: bytes) -> bytes:
    data = bytearray(said)
    for _ in range(dice.randint(1, 4)):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(data)


def _truncate(dice: random.Random, said: bytes) -> bytes:
    return said[: dice.randint(1, len(said))]


def _insert(dice: random.Random, said: bytes) -> bytes:
    at = dice.randint(0, len(said))
    return said[:at] + dice.randbytes(dice.randint(1, 40)) + said[at:]


def _repeat(dice: random.Random, said: bytes) -> bytes:
    return said + said[: dice.randint(1, len(said))]


def _noise(dice: random.Random, said: bytes) -> bytes:
    return dice.randbytes(dice.randint(1, 300)) + said


def _header(dice: random.Random, said: bytes) -> bytes:
    """A header of a random kind, stream and length in front."""
    length = dice.choice((0, 1, 5, 4096, 2**18, 2**18 + 1, 2**31, 2**32 - 1))
    kind = dice.choice((*frames.RULES, dice.randrange(256)))
    return frames.HEADER.pack(0x93, 0xCC, kind, 0xCE, dice.choice((0, 1, 2, 3, 2**32 - 1)), 0xC6, length) + said


def _payload(dice: random.Random, said: bytes) -> bytes:
    """A frame whose payload is noise in front."""
    noise = dice.randbytes(dice.randint(0, 60))
    kind = dice.choice(tuple(frames.RULES))
    return frames.HEADER.pack(0x93, 0xCC, kind, 0xCE, dice.choice((0, 1, 2, 3)), 0xC6, len(noise)) + noise + said


BREAKS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flip,
    _truncate,
    _insert,
    _repeat,
    _noise,
    _header,
    _payload,
)


def main() -> None:
    """Fuzz for a while and print what the conversations came to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--soak", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    results: Counter[str] = Counter()
    begin, seed, memory = time.monotonic(), options.seed, 0
    while time.monotonic() - begin < options.soak:
        try:
            results[Fuzz(seed).run()] += 1
        except BaseException:
            print(f"seed {seed}", file=sys.stderr)
            raise
        if seed == options.seed + 2000:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seed += 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory if memory else 0
    print(f"{sum(results.values())} conversations, seeds {options.seed} to {seed - 1}, memory grew by {grown} KiB")
    for result, count in results.most_common():
        print(f"{count:9} {result}")


if __name__ == "__main__":
    main()
