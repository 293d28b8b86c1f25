"""Bytes that wait, the pace of sending, company for small frames, and the round trip."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledx.tunnel import frames
from fledx.tunnel.held import CRUMB, PIECE, Held
from fledx.tunnel.outlet import Outlet
from fledx.tunnel.pace import MAX_QUOTA, MAX_UNSENT, MIN_QUOTA, MIN_UNSENT, Pace
from fledx.tunnel.reader import FrameReader
from fledx.tunnel.round_trip import LASTING_SECS, PING_SECS, RoundTrip
from fledx.tunnel.session import HEARTBEAT
from fledx.tunnel.small import SMALL, SmallFrames
from tests.unit.tunnel.world import socket_pair


@given(
    st.lists(
        st.tuples(st.integers(0, 3 * PIECE) | st.integers(0, 50), st.integers(1, 2 * PIECE) | st.integers(1, 10)),
        max_size=20,
    )
)
def test_bytes_come_out_as_they_went_in(steps: list[tuple[int, int]]) -> None:
    held, expected, taken = Held(), b"", b""
    for number, (size, limit) in enumerate(steps):
        piece = bytes([number]) * size
        if piece:
            held.add(memoryview(piece))
        expected += piece
        if held:
            taken += held.first(limit)
        if held and limit % 2:
            head = held.head()[:limit]
            taken += head
            held.drop(len(head))
        assert held.size == len(expected) - len(taken)
    room = memoryview(bytearray(held.size + 1))
    taken += room[: held.into(room)]

    assert taken == expected
    assert not held


def test_crumbs_are_gathered() -> None:
    held = Held()
    for _ in range(100_000):
        held.add(memoryview(b"x"))

    assert held.size == 100_000
    assert len(held.first(PIECE)) > PIECE - 2 * CRUMB


def test_a_slow_link_gets_small_turns_and_a_short_queue() -> None:
    pace, now = Pace(), 0.0
    for _ in range(50):
        pace.full(now)
        pace.sent(10_000)
        now += 0.02

    assert 0.9 < (pace.rate or 0) / 500_000 < 1.1
    assert pace.quota == MIN_QUOTA
    assert pace.unsent == MIN_UNSENT


def test_a_fast_link_gets_large_turns_again() -> None:
    pace, now = Pace(), 0.0
    for _ in range(50):
        pace.full(now)
        pace.sent(5_000_000)
        now += 0.01

    assert pace.quota == MAX_QUOTA
    assert pace.unsent == MAX_UNSENT


def test_waiting_for_the_source_does_not_count_as_a_slow_link() -> None:
    pace = Pace()
    pace.full(0.0)
    pace.sent(1_000_000)
    pace.full(0.01)
    rate = pace.rate

    pace.idle()
    pace.full(60.0)

    assert pace.rate == rate


def test_a_link_that_takes_everything_gets_larger_turns() -> None:
    pace, now = Pace(), 0.0
    for _ in range(10):
        pace.full(now)
        pace.sent(1_000)
        now += 0.02
    assert pace.quota == MIN_QUOTA

    for _ in range(10):
        pace.easy()

    assert pace.quota == MAX_QUOTA


def test_what_the_kernel_does_not_take_goes_later_and_in_order() -> None:
    ours, theirs = socket_pair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        outlet = Outlet(ours)
        pieces = [bytes([number]) * 100_000 for number in range(250)]
        assert not outlet.send(pieces[:200])
        left = outlet.keep(pieces[200:])
        assert outlet.bytes_out + left == 250 * 100_000

        got = bytearray()
        while not outlet.resume():
            got += theirs.recv(1_000_000)
        ours.close()
        while more := theirs.recv(1_000_000):
            got += more

    assert outlet.bytes_out == 250 * 100_000
    assert got == b"".join(pieces)


def test_a_small_frame_waits_for_company_if_there_was_some_last_time() -> None:
    small = SmallFrames()
    assert small.go_alone()
    assert not small.go_alone()
    assert not small.keep(memoryview(b"x" * SMALL))
    assert small.keep(memoryview(b"x"))
    small.turn_over()
    assert not small.go_alone()
    small.turn_over()
    assert small.go_alone()


def test_the_least_round_trip_counts_until_it_is_old() -> None:
    trip = RoundTrip(100.0)
    trip.answered(100.0)
    assert trip.least is None

    assert trip.ask(100.0)
    assert not trip.ask(100.0 + 2 * PING_SECS), "one is under way"
    trip.answered(100.3)
    assert not trip.ask(100.4), "it is not a second yet"
    assert trip.ask(101.0)
    trip.answered(101.9)
    assert trip.least == pytest.approx(0.3)

    assert trip.ask(100.3 + LASTING_SECS)
    trip.answered(100.3 + LASTING_SECS + 0.9)
    assert trip.least == pytest.approx(0.9)


@given(st.lists(st.integers(1, 40), max_size=30))
def test_short_and_long_heartbeats_are_read_between_frames_cut_anywhere(cuts: list[int]) -> None:
    beat, long, message = HEARTBEAT, frames.frame(frames.HEARTBEAT), frames.map_frame(frames.MESSAGE, {"a": b"\xc0"})
    sent = beat + message + beat + beat + long + message + beat
    reader, found = FrameReader(frozenset({frames.HEARTBEAT, frames.MESSAGE})), []
    for cut in (*cuts, len(sent)):
        found += [kind for kind, _, _ in reader.read(memoryview(sent[:cut]))]
        sent = sent[cut:]

    assert [frames.HEARTBEAT if kind == "b" else frames.MESSAGE for kind in "bmbbbmb"] == found
