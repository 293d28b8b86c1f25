"""Somebody who sits at a terminal and types: a process of the command line on a pseudo-terminal of its own."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence

SECONDS = 60.0


class Sitting:
    """One command on a terminal of 24 by 80; `seen` is all that it has shown, `seconds` how long one waits for more."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], *, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._far, self._near = os.openpty()
        self.resize(24, 80)
        self.before = termios.tcgetattr(self._near)
        self.seen = b""
        self.process = subprocess.Popen(
            command,
            env=dict(environ),
            stdin=self._near,
            stdout=self._near,
            stderr=self._near,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def __enter__(self) -> Sitting:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._far)
        os.close(self._near)

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._far, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Drag the window to another size."""
        fcntl.ioctl(self._far, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, text: str) -> str:
        """All that it shows from the last call on up to this text; fails when that does not come."""
        end = time.monotonic() + self._seconds
        start = len(self.seen)
        while text.encode() not in self.seen[start:]:
            assert self._read(end), f"no {text!r} in {self.seen[start:]!r}"
        return self.seen[start:].decode(errors="replace")

    def end(self) -> int:
        """The exit code."""
        end = time.monotonic() + self._seconds
        while self.process.poll() is None:
            self._read(min(end, time.monotonic() + 0.05))
            assert time.monotonic() < end, f"it does not end: {self.seen[-500:]!r}"
        self._read(time.monotonic())
        return self.process.returncode

    @property
    def now(self) -> list[object]:
        """The terminal's settings."""
        return termios.tcgetattr(self._near)

    def _read(self, end: float) -> bool:
        if not select.select([self._far], [], [], max(0.0, end - time.monotonic()))[0]:
            return False
        self.seen += os.read(self._far, 65536)
        return True
