"""
The backup of a volume: a tar, and behind it one block that says how long the tar is and what its digest is.

Readers of tar pass over what follows the end of the archive. Without a right last block a file is not whole: so a
stream that was cut is found out at either end, and long after, too.
"""

from __future__ import annotations

import hashlib
import re

from fledx.errors import InvalidSpec, Unavailable

BLOCK = 512
MEDIA = "application/x-tar"
WHOLE = re.compile(rb"fledx volume 1\nsize=(\d{1,18})\nsha256=([0-9a-f]{64})\n\0*")
FAILED = b"fledx volume failed\n"


class Sum:
    """The size and the digest of a tar on its way."""

    def __init__(self) -> None:
        self.size = 0
        self._digest = hashlib.sha256()

    def add(self, piece: bytes) -> None:
        """Count a piece of it."""
        self.size += len(piece)
        self._digest.update(piece)

    @property
    def sha256(self) -> str:
        """Of everything so far, in hex."""
        return self._digest.hexdigest()

    def last_block(self) -> bytes:
        """What follows the tar."""
        return f"fledx volume 1\nsize={self.size}\nsha256={self.sha256}\n".encode().ljust(BLOCK, b"\0")


def failure(reason: str) -> bytes:
    """What follows a tar that did not get to its end, and why."""
    return (FAILED + reason.encode()[: BLOCK - len(FAILED) - 2] + b"\n").ljust(BLOCK, b"\0")


class Unwrapped:
    """Takes a backup in pieces of any size, gives the tar, and knows at the end whether it is whole."""

    def __init__(self) -> None:
        self.sum = Sum()
        self._held = b""

    def take(self, piece: bytes) -> bytes:
        """The part of the tar that is surely none of the last block."""
        self._held += piece
        ready, self._held = self._held[:-BLOCK], self._held[-BLOCK:]
        self.sum.add(ready)
        return ready

    @property
    def ends_like_one(self) -> bool:
        """Whether what came last looks like the last block of a backup, right or wrong."""
        return self._held.startswith(b"fledx volume ")

    def end(self) -> Sum:
        """What the tar was; Unavailable where the sender failed or the stream was cut, InvalidSpec for a false one."""
        if self._held.startswith(FAILED):
            reason = self._held[len(FAILED) :].rstrip(b"\0").decode("utf-8", "replace").strip()
            raise Unavailable(f"the backup broke off: {reason}")
        found = WHOLE.fullmatch(self._held)
        if found is None:
            raise Unavailable(
                "the backup is not whole: its last block is missing", hint="the stream was cut; try again"
            )
        if (int(found[1]), found[2].decode()) != (self.sum.size, self.sum.sha256):
            raise InvalidSpec("", "the backup is not what was written: its digest differs", hint="take another file")
        return self.sum
