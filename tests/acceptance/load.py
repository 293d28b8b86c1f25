"""Clients that keep asking at a steady pace over connections that are kept alive, and count what goes wrong."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

WORKERS = 20
RATE = 200.0
"""Requests a second, of all of them together."""
PATIENCE = 60.0


@dataclass(kw_only=True)
class Tally:
    """What came of the requests that ended: seconds of each that was answered 200, and the others in words."""

    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def slowest(self) -> float:
        """The longest wait."""
        return max(self.seconds, default=0.0)

    def __str__(self) -> str:
        return f"{len(self.seconds)} answered, {len(self.failed)} failed, slowest {self.slowest:.2f} s"


class Load:
    """So many requests a second for one host; `tally` is what came of them since the last `fresh`."""

    def __init__(self, address: str, port: int, host: str) -> None:
        self.tally = Tally()
        self._where = address, port
        self._host = host
        self._pause = WORKERS / RATE
        self._end = threading.Event()

    def answers(self) -> bool:
        """Whether one request by itself is answered; it is not counted."""
        connection = http.client.HTTPConnection(*self._where, timeout=PATIENCE)
        try:
            self._ask(connection)
        finally:
            connection.close()
        return bool(self.fresh().seconds)

    def fresh(self) -> Tally:
        """Begin to count anew; what was counted before."""
        before, self.tally = self.tally, Tally()
        return before

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Ask while the block runs."""
        workers = [threading.Thread(target=self._work, args=(i * self._pause / WORKERS,)) for i in range(WORKERS)]
        for each in workers:
            each.start()
        try:
            yield self
        finally:
            self._end.set()
            for each in workers:
                each.join()

    def _work(self, offset: float) -> None:
        """Due moments come whatever the answers take, as those of real clients do."""
        connection = http.client.HTTPConnection(*self._where, timeout=PATIENCE)
        due = time.monotonic() + offset
        while not self._end.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._pause, time.monotonic() - 1.0)
            self._ask(connection)
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        began = time.monotonic()
        try:
            connection.request("GET", "/", headers={"Host": self._host})
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as problem:
            connection.close()
            self.tally.failed.append(f"{type(problem).__name__}: {problem} after {time.monotonic() - began:.2f} s")
            return
        if answer.status == 200:
            self.tally.seconds.append(time.monotonic() - began)
        else:
            self.tally.failed.append(f"{answer.status} {body[:80]!r} after {time.monotonic() - began:.2f} s")
