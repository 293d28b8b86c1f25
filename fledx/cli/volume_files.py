"""Backups of volumes as files of this machine: only what is whole gets its name, and only that is sent."""

from __future__ import annotations

import contextlib
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fledx.cli.terminal import Terminal
from fledx.cli.views.text import size
from fledx.client.http1 import Upload
from fledx.client.transport import Response, silent
from fledx.errors import Conflict, InvalidSpec, Unavailable
from fledx.models.archive import BLOCK, Sum, Unwrapped

PIECE = 256 * 1024
SILENCE = 300.0
TELL_SECONDS = 1.0


class Meter:
    """Shows how far a transfer is, where somebody looks."""

    def __init__(self, terminal: Terminal, what: str, whole: int | None = None) -> None:
        self._terminal = terminal
        self._what = what
        self._of = f" of {size(whole)}" if whole is not None else ""
        self._next = 0.0
        self._shown = False
        self.size = 0

    def add(self, count: int) -> None:
        """So many bytes more."""
        self.size += count
        now = self._terminal.clock()
        if self._terminal.live and now >= self._next:
            self._next, self._shown = now + TELL_SECONDS, True
            self._terminal.err.write(f"\r{self._what} {size(self.size)}{self._of}\x1b[K")
            self._terminal.err.flush()

    def end(self) -> None:
        """Give the line back."""
        if self._shown:
            self._terminal.err.write("\r\x1b[K")


def fetch(ask: Callable[[], Response], path: Path, terminal: Terminal, *, force: bool) -> Sum:
    """
    Write a backup to a file, which has its name only once it is whole and on the disk.

    Conflict when the name is taken and not `force`; then nothing is asked. What broke off leaves nothing behind.
    """
    if path.exists() and not force:
        raise Conflict(f"{path} is there already", hint="--force replaces it")
    try:
        descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as problem:
        raise InvalidSpec("file", f"{path} cannot be written: {problem.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as out:
            found = _received(ask(), out, Meter(terminal, "received"))
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, path)
    except OSError as problem:
        raise Unavailable(f"{path} cannot be written: {problem.strerror}") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
    return found


def _received(response: Response, out: BinaryIO, meter: Meter) -> Sum:
    backup = Unwrapped()
    try:
        while (piece := response.receive(SILENCE)) != b"":
            if piece is None:
                raise silent("the control plane", SILENCE)
            out.write(piece)
            backup.take(piece)
            meter.add(len(piece))
    finally:
        meter.end()
        response.close()
    return backup.end()


@contextmanager
def opened(path: Path, terminal: Terminal) -> Iterator[tuple[Upload, Sum]]:
    """
    A backup ready to be sent, and what it is; a tar from elsewhere gets the last block that it lacks.

    All of it is read once before, so that a file that is not whole is refused before anything is asked.
    """
    try:
        with open(path, "rb") as source:
            found, rest = _looked_at(source)
            source.seek(0)
            total = found.size + BLOCK
            meter = Meter(terminal, "sent", total)
            yield Upload(pieces=_pieces(source, rest, meter), size=total), found
            meter.end()
    except OSError as problem:
        raise InvalidSpec("file", f"{path} cannot be read: {problem.strerror}") from None


def _looked_at(source: BinaryIO) -> tuple[Sum, bytes]:
    """What a file holds, and the last block that is to follow what is in it."""
    plain, backup = Sum(), Unwrapped()
    start = source.read(BLOCK)
    if start[257:262] != b"ustar":
        raise InvalidSpec("file", "is neither a backup of a volume nor a tar")
    source.seek(0)
    while piece := source.read(PIECE):
        plain.add(piece)
        backup.take(piece)
    if backup.ends_like_one:
        return backup.end(), b""
    _look_for_its_end(source)
    return plain, plain.last_block()


def _look_for_its_end(source: BinaryIO) -> None:
    """A tar without the last block may be one from elsewhere, or a backup that was cut: the first has an end."""
    source.seek(0)
    try:
        with tarfile.open(fileobj=source, mode="r:") as archive:
            for _ in archive:
                archive.members = []  # type: ignore[attr-defined]  # else all are kept
            end = archive.offset
    except tarfile.TarError as problem:
        raise InvalidSpec("file", f"is not a whole tar: {problem}") from None
    source.seek(end)
    if source.read(2 * BLOCK) != bytes(2 * BLOCK):
        raise InvalidSpec("file", "is not a whole tar: its end is missing")


def _pieces(source: BinaryIO, rest: bytes, meter: Meter) -> Iterator[bytes]:
    while piece := source.read(PIECE):
        yield piece
        meter.add(len(piece))
    if rest:
        yield rest
