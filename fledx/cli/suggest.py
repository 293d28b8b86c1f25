"""Words of the command line told again: the one that was typed, and the one that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable

MOST = 60


def typed(word: str) -> str:
    """A word as it was typed: quoted, escaped and cut, so that it harms no terminal."""
    return repr(word) if len(word) <= MOST else repr(word[:MOST]) + "..."


def near(word: str, known: Iterable[str]) -> str | None:
    """The known word closest to a mistyped one; None where none is close."""
    import difflib

    bare = {each.lstrip("-").lower(): each for each in known}  # what all flags have in common makes none of them near
    found = difflib.get_close_matches(word.lstrip("-").lower(), list(bare), n=1, cutoff=0.6)
    return bare[found[0]] if found else None
