"""
A peer out of its mind (fault 25): the link is closed with a reason, nothing crashes, no stream gets another's bytes.

What is broken here is broken by name; `fuzz.py` breaks anything anywhere, and for as long as wanted.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator

import anyio
import anyio.to_thread
import pytest

from fledx.errors import FledxError
from fledx.tunnel import frames, greeting
from fledx.tunnel.credit import FIRST_WINDOW, WINDOW
from fledx.tunnel.events import Closed, Opened
from fledx.tunnel.frames import HEADER, HEADER_SIZE, Header, Opening, read_header
from fledx.tunnel.stream import Stream
from tests.unit.tunnel.talk import HELLO, WELCOME, Pipe, Talk, pipe_of
from tests.unit.tunnel.world import HELLO as DIALLED
from tests.unit.tunnel.world import open_door
from tests.waiting import until

SEEDS = 60
STREAMS = 4
Break = Callable[[random.Random, Header, bytes], bytes]


def noise(dice: random.Random, header: Header, frame: bytes) -> bytes:
    """Bytes of any kind, which no frame begins with, or the header of a kind that there is not."""
    if dice.random() < 0.5:
        return bytes([dice.choice((0x00, 0x16, 0x47, 0x92, 0xFF))]) + dice.randbytes(dice.randint(HEADER_SIZE, 300))
    kind = dice.choice([kind for kind in range(256) if kind not in frames.RULES])
    return HEADER.pack(0x93, 0xCC, kind, 0xCE, header.stream, 0xC6, dice.randrange(300))


def truncated(dice: random.Random, header: Header, frame: bytes) -> bytes:
    """The frame without its last bytes; what follows lies where they should."""
    return frame[: -dice.randint(1, HEADER_SIZE - 1)]


def over_length(dice: random.Random, header: Header, frame: bytes) -> bytes:
    """A header that promises more than its kind may carry, and nothing of it."""
    limit = frames.RULES[header.kind].limit
    length = dice.choice((limit + 1, limit + dice.randint(1, 2**20), 2**31, 2**32 - 1))
    return HEADER.pack(0x93, 0xCC, header.kind, 0xCE, header.stream, 0xC6, length)


def wrong_order(dice: random.Random, header: Header, frame: bytes) -> bytes:
    """A frame that is right in itself, and never at this place."""
    unknown = 2 * STREAMS + 1 + 2 * dice.randrange(100)
    return dice.choice(
        (
            greeting.hello_frame(HELLO),
            greeting.welcome_frame(WELCOME),
            frames.reason_frame(frames.REFUSED, "denied", "no"),
            frames.frame(frames.AUTHORITY),
            frames.frame(frames.DATA, unknown, b"x"),
            frames.frame(frames.END, unknown),
            frames.credit_frame(unknown, 1000),
            frames.reason_frame(frames.RESET, "failed", "no", unknown),
            frames.map_frame(frames.ACCEPT, {}, 1),
            frames.frame(frames.END, 1) * 2,
            frames.frame(frames.END, 1) + frames.frame(frames.DATA, 1, b"\x01"),
            frames.frame(frames.DATA, 1, b"\x01" * WINDOW) + frames.frame(frames.DATA, 1, b"\x01" * FIRST_WINDOW),
        )
    )


def reused_stream(dice: random.Random, header: Header, frame: bytes) -> bytes:
    """A stream is opened under the number of one that is open, has ended, was reset, or is not the peer's to open."""
    number = dice.randrange(1, 2 * STREAMS)
    over = dice.choice(
        (
            b"",
            frames.reason_frame(frames.RESET, "failed", "enough", number),
            frames.reason_frame(frames.RESET, "failed", "enough", number) * 2,
        )
    )
    return (over if number % 2 else b"") + frames.open_frame(number, Opening("logs", {}, WINDOW))


def cut_up(said: bytes) -> Iterator[tuple[Header, bytes]]:
    """What was said, frame by frame."""
    at = 0
    while at < len(said):
        header = read_header(said, at)
        size = HEADER_SIZE + header.length
        yield header, said[at : at + size]
        at += size


def said_by(talk: Talk, dice: random.Random) -> list[tuple[Header, bytes]]:
    """All that a dialler says whose streams 1, 3, 5, 7 carry nothing but their own number."""
    for number in range(1, 2 * STREAMS, 2):
        cargo = bytes([number]) * dice.randint(1, FIRST_WINDOW // 2)
        flow, _ = talk.dialler.opens(Pipe(cargo, ending=True))
        assert flow.id == number
    return list(cut_up(talk.dialler.sends(quota=dice.randint(1100, 20_000))))


@pytest.mark.parametrize("damage", [noise, truncated, over_length, wrong_order, reused_stream])
def test_fault_25_a_broken_frame_closes_the_link_with_a_reason_and_no_stream_gets_anothers_bytes(damage: Break) -> None:
    for seed in range(SEEDS):
        try:
            _suffer(random.Random(seed), damage)
        except Exception as problem:
            raise AssertionError(f"seed {seed}") from problem


def _suffer(dice: random.Random, damage: Break) -> None:
    """One conversation in which one frame, after all streams were opened, is damaged."""
    talk = Talk()
    said = said_by(talk, dice)
    opened = max(at for at, (header, _) in enumerate(said) if header.kind == frames.OPEN) + 1
    place = dice.randrange(opened, len(said))
    header, frame = said[place]
    whole = [each for _, each in said]
    broken = b"".join([*whole[:place], damage(dice, header, frame), *whole[place + 1 :], frames.frame(frames.PING)])

    at = 0
    while at < len(broken):
        size = dice.choice((1, 5, HEADER_SIZE, 1000, 16384, 200_000))
        talk.listener.hears(broken[at : at + size])
        at += size
    talk.dialler.hears(talk.listener.sends())

    closed = talk.dialler.last(Closed)
    assert talk.listener.last(Closed) == closed._replace(faulty=True)
    assert closed.reason
    assert HELLO.token not in closed.reason
    flows = [event.flow for event in talk.listener.heard if isinstance(event, Opened)]
    assert [flow.id for flow in flows] == [1, 3, 5, 7]
    others = [flow for flow in flows if damage is not truncated or flow.id != header.stream]
    assert all(set(pipe_of(flow).got) <= {flow.id} for flow in others)
    assert talk.listener.hears(frames.frame(frames.DATA, 1, b"x")) == []


def greeted(port: int, said: bytes) -> None:
    """Be welcomed, say this, and hang up."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(greeting.hello_frame(DIALLED))
        assert sock.recv(65536)
        sock.sendall(said)


@pytest.mark.anyio
@pytest.mark.parametrize("left", [4, HEADER_SIZE, HEADER_SIZE + 400, HEADER_SIZE + 1000])
async def test_fault_25_a_connection_that_ends_within_a_frame_or_before_the_end_is_no_end_of_a_stream(
    left: int,
) -> None:
    outcomes: list[FledxError | None] = []

    async def read(stream: Stream) -> None:
        try:
            while await stream.receive():
                pass
        except FledxError as problem:
            outcomes.append(problem)
            raise
        outcomes.append(None)

    opening = frames.open_frame(1, Opening("logs", {}, WINDOW))
    data = frames.frame(frames.DATA, 1, b"x" * 1000)
    async with open_door(None, read) as door:
        await anyio.to_thread.run_sync(greeted, door.port, opening + data + data[:left])
        await until(lambda: outcomes)

    (problem,) = outcomes
    assert problem is not None
    assert "closed the connection without a goodbye" in problem.text or "was lost" in problem.text
