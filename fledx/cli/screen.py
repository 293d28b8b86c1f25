"""A whole screen drawn again and again without flicker, and the terminal given back as it was."""

from __future__ import annotations

import os
from types import TracebackType

from fledx.cli.terminal import Terminal

#: Another screen, no cursor, long lines cut off instead of wrapped; and all of it back.
ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"


class Screen:
    """The alternate screen of a terminal; each frame is one write that overwrites the last."""

    def __init__(self, terminal: Terminal) -> None:
        self._out = terminal.out

    def __enter__(self) -> Screen:
        self._out.write(ENTER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.write(LEAVE)
        self._out.flush()

    @property
    def columns(self) -> int:
        """The width there is now."""
        return self._size().columns

    def draw(self, text: str) -> None:
        """Show as many lines as fit, and say how many do not."""
        rows = max(self._size().lines - 1, 1)
        lines = text.split("\n")
        if len(lines) > rows:
            lines = [*lines[: rows - 1], f"... {len(lines) - rows + 1} more lines"]
        self._out.write("\x1b[H" + "\x1b[K\n".join(lines) + "\x1b[K\x1b[J")
        self._out.flush()

    def _size(self) -> os.terminal_size:
        try:
            return os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            return os.terminal_size((80, 24))
