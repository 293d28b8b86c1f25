"""A join string on a command line: itself, or where it lies, so that it need not show in the list of processes."""

from __future__ import annotations

from fledx.cli.terminal import Terminal
from fledx.errors import InvalidSpec


def join_string(word: str | None, flag: str, terminal: Terminal) -> str | None:
    """`-` is a line of standard input, `@FILE` a file; InvalidSpec names the flag where that cannot be read."""
    if word == "-":
        return terminal.inp.readline().strip()
    if word is None or not word.startswith("@"):
        return word
    try:
        with open(word[1:], encoding="ascii", errors="replace") as opened:
            return opened.read().strip()
    except OSError as problem:
        raise InvalidSpec(flag, f"{word[1:]} cannot be read: {problem.strerror}") from None
