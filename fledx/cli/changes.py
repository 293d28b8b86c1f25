"""One deployment as it changes, over broken streams and restarts of the control plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fledx.cli.terminal import Terminal
from fledx.client.api import ControlPlane
from fledx.client.streams import ServerEvent, Stream
from fledx.errors import Unavailable

AGAIN = 1.0


class Changes:
    """The watch of one deployment; `note` is told of a trouble, once for as long as it lasts."""

    def __init__(self, api: ControlPlane, terminal: Terminal, ref: str, note: Callable[[str], None]) -> None:
        self._api = api
        self._terminal = terminal
        self._ref = ref
        self._note = note
        self._stream: Stream[ServerEvent] | None = None
        self._told = ""

    def next(self, wait: float) -> Sequence[ServerEvent]:
        """What came within so many seconds; where the watch breaks, nothing, and another is begun the next time."""
        found: Sequence[ServerEvent] = ()
        try:
            self._stream = self._stream or self._api.watch_deployment(self._ref)
            found = self._stream.take(wait)
            if not self._stream.ended:
                self._told = self._told if not found else ""
                return found
            problem = "the watch ended"
        except Unavailable as fault:
            problem = fault.text
        self.close()
        if problem != self._told and not found:
            self._told = problem
            self._note(f"{problem}; trying again")
        self._terminal.sleep(min(wait, AGAIN))
        return found

    def close(self) -> None:
        """Let go of the stream."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
