"""A machine before it is a node, as the rest of this room sees it: scripts go in, what they said comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

# What a unit sees by default too, so that what a look finds is what the role will find.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PRELUDE = f"set -eu\numask 077\nexport PATH={PATH} LC_ALL=C\n"


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a script ended; ``code`` None means that the host was lost before it was known."""

    code: int | None
    out: str = ""
    err: str = ""

    @property
    def said(self) -> str:
        """The end of what it complained about, on one line, for a message."""
        lines = [line.strip() for line in (self.err.strip() or self.out.strip()).splitlines()]
        return "; ".join(line for line in lines[-6:] if line)


class Order(Protocol):
    """
    A script for /bin/sh, run by root with errexit, nounset and umask 077, and what it reads from its standard input.

    Neither the script nor the input is ever an argument of a process: both may hold secrets. ``limit`` is in seconds.
    """

    @property
    def limit(self) -> float: ...

    def script(self) -> str: ...

    def feed(self) -> bytes: ...


class Host(Protocol):
    """One machine that obeys; `run` is called from one thread at a time."""

    @property
    def name(self) -> str: ...

    def run(self, order: Order) -> Done: ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Script:
    """An order in its plainest form."""

    text: str
    input: bytes = b""
    limit: float = 60.0

    def script(self) -> str:
        return self.text

    def feed(self) -> bytes:
        return self.input


def packed(order: Order) -> tuple[str, bytes]:
    """
    The command that runs an order's script, and its whole standard input: first the script, then what it reads.

    The command is one short constant but for a number: it survives any login shell, and shows nothing in a process list
    or in sudo's log. `dd` one byte at a time takes exactly the script off the pipe and leaves the rest.
    """
    script = (PRELUDE + order.script()).encode()
    return f"""sh -c 'eval "$(dd bs=1 count={len(script)} 2>/dev/null)"'""", script + order.feed()
