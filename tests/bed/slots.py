"""
Room for several beds on one machine: each claims a number, and its names and addresses follow from that.

A claim is a lock on a file: it ends with the processes that hold it, however they end. One of them is the keeper, which
outlives the run by as long as it takes to remove what the run left; it shares the lock, so nobody claims the number in
the meantime. What even the keeper did not live to remove is removed at the next claim.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

SLOTS = 16
HERE = Path(__file__).resolve()


class Slot:
    """One claimed number of a kind of bed; the module ``tests.bed.<kind>`` has a ``sweep(number)`` that empties it."""

    def __init__(self, kind: str, number: int, lock: int) -> None:
        self.number = number
        self._lock = lock
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, kind, str(number)],
            cwd=HERE.parents[2],
            stdin=subprocess.PIPE,
            pass_fds=[lock],
            start_new_session=True,
        )

    @classmethod
    def claim(cls, kind: str) -> Slot:
        """The lowest free number, emptied."""
        for number in range(SLOTS):
            lock = os.open(f"{tempfile.gettempdir()}/fledx-{kind}-{number}.lock", os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            empty(kind, number)
            return cls(kind, number, lock)
        raise RuntimeError(f"all {SLOTS} beds of {kind} are taken")

    def release(self) -> None:
        """Have the keeper look once more, and give the number back."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait(timeout=300)
        os.close(self._lock)


def empty(kind: str, number: int) -> None:
    """Remove whatever the bed of that number left."""
    importlib.import_module(f"tests.bed.{kind}").sweep(number)


def keep(kind: str, number: int) -> None:
    """Wait until the other end of standard input is gone, then clean up."""
    with suppress(KeyboardInterrupt):
        sys.stdin.buffer.read()
    empty(kind, number)


if __name__ == "__main__":
    keep(sys.argv[1], int(sys.argv[2]))
