"""The file this process runs, for hosts that have none yet."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import anyio.to_thread

from fledx import _boot
from fledx.errors import NotFound

PIECE = 256 * 1024


def size() -> int:
    """Bytes of the file as it was when it started; NotFound in a checkout, which has none."""
    if _boot.archive() is None:
        raise NotFound(
            "this control plane runs from a checkout and has no file to give",
            hint="make one with `python3 build.py` and run dist/fledx.pyz cp",
        )
    return os.fstat(_boot.open_archive()).st_size


async def pieces() -> AsyncIterator[bytes]:
    """Its bytes; whatever lies under its name by now is not looked at."""
    descriptor, at = _boot.open_archive(), 0
    while piece := await anyio.to_thread.run_sync(os.pread, descriptor, PIECE, at):
        yield piece
        at += len(piece)
