"""Gives the terminal back whole however the view ends: it runs in a child, and its parent outlives it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from types import FrameType

from fledx.child import end_with_parent

#: The main screen, a cursor, no reports of mouse, focus or pastes, long lines wrapped: ctlseqs of xterm.
OFF = (1049, 1000, 1002, 1003, 1006, 1015, 1004, 2004)
ON = (25, 7)
RESTORE = "".join([f"\x1b[?{mode}l" for mode in OFF] + [f"\x1b[?{mode}h" for mode in ON]) + "\x1b[0m\r"


def guarded(run: Callable[[], int]) -> int:
    """
    What `run` returns, from a child of this process.

    A child that is killed leaves the terminal in its mode, which is mended here; when this process is killed, the child
    is told to end and mends it itself.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _be_the_child(run, parent, lambda: termios.tcsetattr(descriptor, termios.TCSANOW, before))
    with _passed_on(child):
        _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
            os.write(sys.stdout.fileno(), RESTORE.encode())
        return 128 - code
    return code


def _be_the_child(run: Callable[[], int], parent: int, restore: Callable[[], None]) -> None:
    code = 1
    try:
        end_with_parent()
        if os.getppid() == parent:
            code = run()
    finally:
        # Without its parent it is in the background, where the library could not set the terminal's mode.
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        with contextlib.suppress(OSError, ValueError, termios.error):
            restore()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


@contextlib.contextmanager
def _passed_on(child: int) -> Iterator[None]:
    """Whoever wants this process to end means the view."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)

    wanted = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {number: signal.signal(number, pass_on) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
