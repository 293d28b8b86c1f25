"""What is sealed opens with the same key, as what it was, and in no other way."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledx.errors import InvalidSpec
from fledx.sealing import Seal, Unsealable, kept

KEY = bytes(range(32))


@given(data=st.binary(max_size=2000), context=st.text(max_size=50))
def test_what_was_sealed_opens_again(data: bytes, context: str) -> None:
    seal = Seal(KEY)
    sealed = seal.seal(data, context)
    assert seal.unseal(sealed, context) == data
    assert len(data) < 8 or data not in sealed


def test_the_same_data_is_never_sealed_alike() -> None:
    seal = Seal(KEY)
    assert seal.seal(b"hunter2", "secret db 1") != seal.seal(b"hunter2", "secret db 1")


def test_one_sealed_thing_cannot_stand_in_for_another() -> None:
    seal = Seal(KEY)
    sealed = seal.seal(b"hunter2", "secret db 1")
    with pytest.raises(Unsealable, match="secret api 1 was sealed with another key, or altered"):
        seal.unseal(sealed, "secret api 1")


def test_another_key_opens_nothing() -> None:
    sealed = Seal(KEY).seal(b"hunter2", "x")
    with pytest.raises(Unsealable):
        Seal(bytes(32)).unseal(sealed, "x")


@given(st.data())
def test_whatever_is_altered_or_cut_does_not_open(data: st.DataObject) -> None:
    seal = Seal(KEY)
    sealed = bytearray(seal.seal(b"hunter2", "x"))
    place = data.draw(st.integers(0, len(sealed) - 1))
    if data.draw(st.booleans()):
        sealed[place] ^= data.draw(st.integers(1, 255))
    else:
        del sealed[place:]
    with pytest.raises(Unsealable):
        seal.unseal(bytes(sealed), "x")


def test_a_mark_differs_with_the_data_and_with_the_key() -> None:
    assert Seal(KEY).mark(b"a") == Seal(KEY).mark(b"a")
    assert Seal(KEY).mark(b"a") != Seal(KEY).mark(b"b")
    assert Seal(KEY).mark(b"a") != Seal(bytes(32)).mark(b"a")


def test_a_seal_shows_nothing_of_its_key() -> None:
    assert repr(Seal(KEY)) == "Seal()"


def test_a_key_is_made_once_for_its_owner_alone_and_then_kept(tmp_path: Path) -> None:
    seal, made = kept(tmp_path / "secrets.key")
    again, made_again = kept(tmp_path / "secrets.key")

    assert (made, made_again) == (True, False)
    assert (tmp_path / "secrets.key").stat().st_mode & 0o777 == 0o600
    assert again.unseal(seal.seal(b"x", "c"), "c") == b"x"
    assert [path.name for path in tmp_path.iterdir()] == ["secrets.key"]


def test_a_process_that_holds_a_key_leaves_no_core_dump(tmp_path: Path) -> None:
    kept(tmp_path / "secrets.key")

    assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0


def test_a_key_that_others_can_read_is_refused_with_what_mends_it(tmp_path: Path) -> None:
    kept(tmp_path / "secrets.key")
    (tmp_path / "secrets.key").chmod(0o644)

    with pytest.raises(InvalidSpec, match="can be read by others") as refusal:
        kept(tmp_path / "secrets.key")

    assert refusal.value.hint == f"chmod 600 {tmp_path / 'secrets.key'}"


@pytest.mark.parametrize("content", ["", "nonsense", "00" * 31])
def test_a_file_that_holds_no_key_is_named_and_not_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secrets.key"
    path.write_text(content)
    path.chmod(0o600)

    with pytest.raises(InvalidSpec):
        kept(path)

    assert path.read_text() == content
