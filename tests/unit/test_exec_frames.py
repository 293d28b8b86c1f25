"""The frames of an exec stream: however a stream is cut, they come out whole."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as some

from fledx.errors import InvalidSpec
from fledx.models.exec import ENDED, MAX_PAYLOAD, Frames, frame

FRAMES = some.lists(some.tuples(some.integers(0, ENDED), some.binary(max_size=300)), max_size=8)


@given(FRAMES, some.lists(some.integers(1, 40), min_size=1, max_size=20))
def test_cut_anywhere_the_same_frames_come_out(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    raw, found, reading = b"".join(frame(kind, payload) for kind, payload in frames), [], Frames()
    at = turn = 0
    while at < len(raw):
        size = cuts[turn % len(cuts)]
        found += reading.feed(raw[at : at + size])
        at, turn = at + size, turn + 1
    assert found == frames


@given(some.lists(some.binary(max_size=600), max_size=6))
def test_garbage_is_refused_or_waited_for_and_never_held_without_end(pieces: list[bytes]) -> None:
    reading = Frames()
    with contextlib.suppress(InvalidSpec):
        for piece in pieces:
            assert all(len(payload) <= MAX_PAYLOAD for _, payload in reading.feed(piece))
            assert len(reading._held) <= MAX_PAYLOAD + 5 + len(piece)
