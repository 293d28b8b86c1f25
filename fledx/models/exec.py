"""
A command inside a replica: how it is asked for, and what its stream carries.

The meta of an `exec` stream is an encoded `ExecRequest` beside the words for the replica. Once the stream is accepted
both sides send frames: one byte of kind, four of length (big-endian), at most 64 KiB of payload.

    operator -> node    STDIN    bytes of its input; without any: the end of it
                        RESIZE   rows and columns of the terminal, two bytes each, big-endian
                        SIGNAL   one byte: a signal's number on Linux
    node -> operator    STDOUT   bytes of its output; with a terminal all of it is here
                        STDERR   bytes of its error output
                        ENDED    one byte: the exit code, 128 + n for signal n; nothing follows

A stream that ends without ENDED says nothing about the command; one that is reset says why. Whoever leaves hangs up:
the command gets SIGHUP, as from a terminal that was closed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from fledx.errors import InvalidSpec
from fledx.models import check

STDIN, STDOUT, STDERR, RESIZE, SIGNAL, ENDED = range(6)
MAX_PAYLOAD = 64 * 1024
MAX_REQUEST_BYTES = 32 * 1024  # the meta of a stream is one frame of 64 KiB
MAX_SIDE = 10_000
SIGNALS = (1, 2, 3, 10, 12, 15)  # HUP INT QUIT USR1 USR2 TERM
HEADER = struct.Struct(">BI")
SIZE = struct.Struct(">HH")


@dataclass(frozen=True, kw_only=True)
class ExecRequest:
    """
    What to run; ``user`` is ``NAME|UID[:GROUP|GID]`` inside the container, without it the image's own.

    With ``tty`` it gets a terminal of ``rows`` and ``columns``, where they are known.
    """

    command: tuple[str, ...]
    tty: bool = False
    rows: int | None = None
    columns: int | None = None
    user: str | None = None
    workdir: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = check.Faults()
        if not self.command or not self.command[0]:
            faults.add("command", "is empty")
        if any("\x00" in word for word in self.command):
            faults.add("command", "contains a NUL character")
        for path in ("rows", "columns"):
            side = getattr(self, path)
            if side is not None and not 1 <= side <= MAX_SIDE:
                faults.add(path, f"{side} is not between 1 and {MAX_SIDE}")
        for path in ("user", "workdir"):
            text = getattr(self, path)
            faults.add(path, None if text is None else check.line(text))
        for name, value in self.env.items():
            faults.add(f"env.{name[:60]}", check.env_name(name) or check.env_value(value))
        if self._size() > MAX_REQUEST_BYTES:
            faults.add("command", f"is longer than {MAX_REQUEST_BYTES} bytes, environment included")
        faults.settle()

    def _size(self) -> int:
        words = [*self.command, *self.env, *self.env.values()]
        return sum(len(word.encode(errors="surrogatepass")) + 3 for word in words)


def frame(kind: int, payload: bytes | bytearray | memoryview = b"") -> bytes:
    """One frame; `payload` has at most `MAX_PAYLOAD` bytes."""
    return b"".join((HEADER.pack(kind, len(payload)), payload))


class Frames:
    """Puts frames together again from pieces of a stream; holds no more than one that is not whole."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Whole frames, as kind and payload; InvalidSpec for what is none."""
        self._held += data
        found, at = [], 0
        while len(self._held) - at >= HEADER.size:
            kind, length = HEADER.unpack_from(self._held, at)
            if kind > ENDED or length > MAX_PAYLOAD:
                raise InvalidSpec("", "the other side does not speak as an exec stream does")
            end = at + HEADER.size + length
            if end > len(self._held):
                break
            found.append((kind, bytes(self._held[at + HEADER.size : end])))
            at = end
        del self._held[:at]
        return found


def size_frame(rows: int, columns: int) -> bytes:
    """A RESIZE frame."""
    return frame(RESIZE, SIZE.pack(min(rows, MAX_SIDE), min(columns, MAX_SIDE)))


def size_of(payload: bytes) -> tuple[int, int]:
    """Rows and columns out of a RESIZE frame; InvalidSpec for what is none."""
    if len(payload) != SIZE.size:
        raise InvalidSpec("", "a RESIZE frame has four bytes")
    rows, columns = SIZE.unpack(payload)
    if not (1 <= rows <= MAX_SIDE and 1 <= columns <= MAX_SIDE):
        raise InvalidSpec("", f"{rows} rows of {columns} columns are no size of a terminal")
    return rows, columns


def signal_of(payload: bytes) -> int:
    """The number out of a SIGNAL frame; InvalidSpec for one that is not passed on."""
    if len(payload) != 1 or payload[0] not in SIGNALS:
        raise InvalidSpec("", "a SIGNAL frame has the number of a signal that can be passed on")
    return payload[0]


def code_of(payload: bytes) -> int:
    """The exit code out of an ENDED frame; InvalidSpec for what is none."""
    if len(payload) != 1:
        raise InvalidSpec("", "an ENDED frame has one byte")
    return payload[0]
