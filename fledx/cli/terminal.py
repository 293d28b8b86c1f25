"""What a command has around it: two streams, an environment, a clock, and the way to a control plane."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from io import StringIO, TextIOBase

from fledx.errors import InvalidSpec

LONGEST = 1200


class Terminal:
    """
    Data goes to `out`, words go to `err`.

    `connect` makes a transport from an address (`cli/target.py`); `clock` gives monotonic and `now` unix seconds,
    `sleep` passes them. Tests put their own in place of each.
    """

    def __init__(
        self,
        *,
        out: TextIOBase | None = None,
        err: TextIOBase | None = None,
        inp: TextIOBase | None = None,
        environ: Mapping[str, str] | None = None,
        connect: Callable[..., object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.out = _standard(sys.stdout) if out is None else out
        self.err = _standard(sys.stderr) if err is None else err
        self.inp = _standard(sys.stdin) if inp is None else inp
        self.environ = os.environ if environ is None else environ
        self.connect = connect
        self.clock = clock
        self.now = now
        self.sleep = sleep
        self.plain = False
        self.quiet = False

    def data(self, text: str) -> None:
        """What was asked for, to stdout, whole lines."""
        if text:
            self.out.write(text if text.endswith("\n") else text + "\n")
            self.out.flush()

    def say(self, text: str) -> None:
        """Words about the work, to stderr; `--quiet` keeps them away."""
        if not self.quiet:
            self.err.write(text + "\n")
            self.err.flush()

    def complain(self, text: str) -> None:
        """An error, to stderr, in every case; what somebody put into it never fills the screen."""
        lines = [line if len(line) <= LONGEST else line[:LONGEST] + "…" for line in text.split("\n")]
        self.err.write("fledx: " + "\n".join(lines) + "\n")
        self.err.flush()

    @property
    def colour(self) -> bool:
        """Whether stdout takes colour: a terminal, and nobody said no."""
        return self._takes_colour(self.out)

    @property
    def interactive(self) -> bool:
        """Whether a person reads stdout."""
        return _is_tty(self.out)

    @property
    def full_screen(self) -> bool:
        """Whether there is a terminal to fill, with a person at its keys."""
        return _is_tty(self.out) and _is_tty(self.inp) and self.environ.get("TERM") not in (None, "", "dumb")

    @property
    def live(self) -> bool:
        """Whether stderr can be redrawn."""
        return not self.quiet and _is_tty(self.err) and self.environ.get("TERM") != "dumb"

    @property
    def width(self) -> int | None:
        """Columns of stdout; None where it is no terminal."""
        return columns(self.out)

    @property
    def unicode(self) -> bool:
        """Whether stdout can show more than ASCII."""
        encoding = getattr(self.out, "encoding", None) or "ascii"
        return "utf" in encoding.lower() and self.environ.get("TERM") not in ("dumb", "linux")

    def _takes_colour(self, stream: TextIOBase) -> bool:
        refused = self.plain or self.environ.get("NO_COLOR") or self.environ.get("TERM") == "dumb"
        return _is_tty(stream) and not refused

    def ask(self, question: str, *, yes: bool, for_good: bool = False) -> bool:
        """
        A yes from the person at the terminal; where there is none (a script), the answer is yes.

        InvalidSpec where a person cannot be shown the question, and in a script if data would be lost `for_good`.
        """
        if yes:
            return True
        if not (_is_tty(self.inp) and _is_tty(self.err)):
            if for_good or _is_tty(self.inp):
                raise InvalidSpec("", f"{question} Nobody can be asked here: --yes says so")
            return True
        self.err.write(f"{question} [y/N] ")
        self.err.flush()
        return self.inp.readline().strip().lower() in ("y", "yes")


def _standard(stream: object) -> TextIOBase:
    """One of the process's own streams; a process may have been started with it closed."""
    return stream if isinstance(stream, TextIOBase) else StringIO()


def columns(stream: TextIOBase) -> int | None:
    """The width of a terminal; None for anything else."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def _is_tty(stream: TextIOBase) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False
