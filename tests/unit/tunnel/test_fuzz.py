"""Fuzzing, bounded: the same conversations in every run. By hand for longer: `fuzz.py --soak SECONDS`."""

from __future__ import annotations

import ssl

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fledx.errors import FledxError
from fledx.tunnel import frames
from fledx.tunnel.reader import FrameReader
from fledx.tunnel.session import WHILE_OPEN
from fledx.tunnel.tls import Tls
from tests.unit.tunnel.fuzz import Fuzz
from tests.unit.tunnel.world import Trust


@pytest.mark.parametrize("block", range(10))
def test_fault_25_whatever_arrives_there_is_a_reason_and_no_crash(block: int) -> None:
    for seed in range(block * 25, block * 25 + 25):
        try:
            Fuzz(seed).run()
        except Exception as problem:
            raise AssertionError(f"seed {seed}") from problem


frames_of_any_kind = st.builds(
    lambda kind, stream, payload: frames.HEADER.pack(0x93, 0xCC, kind, 0xCE, stream, 0xC6, len(payload)) + payload,
    st.sampled_from(sorted(frames.RULES)) | st.integers(0, 255),
    st.integers(0, 3),
    st.binary(max_size=40),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(frames_of_any_kind | st.just(b"\xc0") | st.binary(max_size=30), max_size=6),
    st.lists(st.integers(1, 30), min_size=1),
)
def test_frames_are_cut_as_a_plain_decoder_would(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)

    assert _cut(data, cuts) == _plainly(data)


def _cut(data: bytes, cuts: list[int]) -> list[tuple[int, int, bytes]]:
    """What the reader makes of `data` in pieces, DATA put together again."""
    reader, at, turn = FrameReader(WHILE_OPEN), 0, 0
    found: list[tuple[int, int, bytes]] = []
    try:
        while at < len(data):
            size = cuts[turn % len(cuts)]
            for kind, stream, piece in reader.read(memoryview(data)[at : at + size]):
                found.append((kind, stream, bytes(piece)))
            at += size
            turn += 1
    except FledxError:
        pass
    joined: list[tuple[int, int, bytes]] = []
    left = 0
    for kind, stream, payload in found:
        if left and joined:
            joined[-1] = (kind, stream, joined[-1][2] + payload)
        else:
            joined.append((kind, stream, payload))
        left = 0
        if kind == frames.DATA:
            left = _length_at(data, len(joined) - 1) - len(joined[-1][2])
    return [frame for frame in joined if frame[0] != frames.DATA or left == 0 or frame is not joined[-1]]


def _length_at(data: bytes, index: int) -> int:
    """The length that the header of the frame with that index promises."""
    at = 0
    for _ in range(index):
        short = data[at] == frames.NIL
        at += 1 if short else frames.HEADER_SIZE + frames.HEADER.unpack_from(data, at)[6]
    return int(frames.HEADER.unpack_from(data, at)[6])


def _plainly(data: bytes) -> list[tuple[int, int, bytes]]:
    """The whole frames of `data` up to the first that cannot be, by an ordinary msgpack decoder."""
    found: list[tuple[int, int, bytes]] = []
    at = 0
    while at < len(data):
        if data[at] == frames.NIL:
            found.append((frames.HEARTBEAT, 0, b""))
            at += 1
            continue
        if len(data) - at < frames.HEADER_SIZE:
            break
        marks = data[at], data[at + 1], data[at + 3], data[at + 8]
        if marks != frames.MARKS or data[at + 2] not in WHILE_OPEN:
            break
        length = int.from_bytes(data[at + 9 : at + 13], "big")
        rule = frames.RULES[data[at + 2]]
        if length > rule.limit or rule.on_stream != bool(int.from_bytes(data[at + 4 : at + 8], "big")):
            break
        if len(data) - at < frames.HEADER_SIZE + length:
            break
        kind, stream, payload = msgpack.unpackb(data[at : at + frames.HEADER_SIZE + length])
        found.append((kind, stream, payload))
        at += frames.HEADER_SIZE + length
    return found


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400), start=st.sampled_from([b"", b"\x16\x03\x01", b"\x16\x03\x03\x00\x20\x01\x00\x00"]))
def test_fault_25_whatever_a_stranger_says_to_tls_is_refused_or_waited_for(
    trust: Trust, data: bytes, start: bytes
) -> None:
    tls = Tls(trust.server(), server=True)
    said = memoryview(start + data)
    try:
        used, plain = tls.open(said, memoryview(bytearray(100_000)))
    except (FledxError, ssl.SSLError):
        return

    assert used <= len(said)
    assert not plain
    assert not tls.established
