"""Streams of a control plane, read on threads and taken up again when they break."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from fledx.cli.views.text import harmless
from fledx.client.api import ControlPlane
from fledx.client.streams import Stream
from fledx.errors import FledxError, Unavailable

T = TypeVar("T")
AGAIN_SECONDS = 1.0


class News:
    """What feeds want done on the screen's own thread, in the order in which they said it."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def soon(self, work: Callable[[], None]) -> None:
        """Have it done at the next `catch_up`; for any thread."""
        self._waiting.put(work)

    def catch_up(self) -> bool:
        """Do all that waits; whether there was anything."""
        some = False
        while not self._waiting.empty():
            self._waiting.get()()
            some = True
        return some


class Feed(Generic[T]):
    """
    One stream on a thread of its own.

    `begun` is called when it flows (again), `came` with what arrived together, `broke` with the reason in words when it
    does not flow; all on that thread. `stop` ends it soon; nobody needs to wait.
    """

    def __init__(
        self,
        connect: Callable[[], ControlPlane],
        follow: Callable[[ControlPlane], Stream[T]],
        *,
        begun: Callable[[], None] = lambda: None,
        came: Callable[[Iterable[T]], None],
        broke: Callable[[str], None],
    ) -> None:
        self._connect = connect
        self._follow = follow
        self._begun = begun
        self._came = came
        self._broke = broke
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Call nobody any more."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._read()
                problem = "the stream ended"
            except Unavailable as fault:
                problem = fault.text
            except FledxError as fault:
                if not self._stopped.is_set():
                    self._broke(harmless(fault.text))
                return
            if not self._stopped.is_set():
                self._broke(harmless(problem))
            self._stopped.wait(AGAIN_SECONDS)

    def _read(self) -> None:
        api = self._connect()
        try:
            stream = self._follow(api)
            if not self._stopped.is_set():
                self._begun()
            while not stream.ended and not self._stopped.is_set():
                if (found := stream.take(1.0)) and not self._stopped.is_set():
                    self._came(found)
        finally:
            api.close()
