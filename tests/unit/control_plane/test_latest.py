"""What was made of a source is kept for as long as the source stays the same."""

from __future__ import annotations

import operator

import pytest

from fledx.control_plane.store.latest import Latest


def test_a_source_is_worked_on_again_when_it_has_changed() -> None:
    made: list[str] = []

    def make(text: str) -> str:
        made.append(text)
        return text.upper()

    latest = Latest[str, str](operator.eq)
    assert ["A", "A", "B", "A"] == [latest.of("one", text, make) for text in ("a", "a", "b", "a")]
    assert ["a", "b", "a"] == made
    latest.keep("two", "known", "KNOWN")
    assert "KNOWN" == latest.of("two", "known", make)
    assert "known" not in made


def test_it_grows_with_the_ids_and_not_with_their_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Latest, "LIMIT", 2)
    made: list[str] = []
    latest = Latest[str, None](operator.eq)
    for word in ("one a", "two b", "one c", "two b", "three d", "two b", "one c"):
        id, text = word.split()
        latest.of(id, text, made.append)
    assert ["a", "b", "c", "d", "c"] == made
