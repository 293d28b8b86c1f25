"""The backup of a volume: whole, cut, false, or from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fledx.errors import InvalidSpec, Unavailable
from fledx.models.archive import BLOCK, Sum, Unwrapped, failure


def whole(tar: bytes) -> bytes:
    found = Sum()
    found.add(tar)
    return tar + found.last_block()


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@settings(deadline=None)
@given(st.binary(max_size=3000), st.integers(1, 1500))
def test_a_backup_gives_its_tar_in_whatever_pieces_it_comes(tar: bytes, size: int) -> None:
    backup = Unwrapped()
    assert tar == b"".join(backup.take(piece) for piece in pieces(whole(tar), size))
    assert len(tar) == backup.end().size


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=2000), st.data())
def test_a_backup_that_is_cut_anywhere_is_not_whole(tar: bytes, data: st.DataObject) -> None:
    cut = whole(tar)[: data.draw(st.integers(0, len(tar) + BLOCK - 1))]
    backup = Unwrapped()
    for piece in pieces(cut, 700):
        backup.take(piece)
    with pytest.raises((Unavailable, InvalidSpec)):
        backup.end()


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=2000), st.data())
def test_a_backup_with_another_byte_is_found_out(tar: bytes, data: st.DataObject) -> None:
    good = whole(tar)
    at = data.draw(st.integers(0, len(tar) - 1))
    backup = Unwrapped()
    backup.take(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
    with pytest.raises(InvalidSpec, match="digest differs"):
        backup.end()


def test_a_sender_that_fails_says_why_in_the_last_block() -> None:
    backup = Unwrapped()
    backup.take(b"a part of a tar" + failure("the disk is full " + "é" * 900))
    with pytest.raises(Unavailable, match="the disk is full"):
        backup.end()
