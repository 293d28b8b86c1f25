"""Wakes whoever waits for news and carries none itself: a slow listener costs nothing, and re-reads what it missed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import anyio


class Ear:
    """One listener: rung since the last wait or not."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        """Note that there is news."""
        self._rung.set()

    async def wait(self) -> None:
        """Return once there has been news since the last return."""
        await self._rung.wait()
        self._rung = anyio.Event()


class Bell:
    """Topics are ids, or words such as `events`; listeners hear those they asked for."""

    def __init__(self) -> None:
        self._ears: defaultdict[str, set[Ear]] = defaultdict(set)

    def ring(self, topics: Iterable[str]) -> None:
        """Wake all listeners of these topics."""
        for topic in topics:
            for ear in self._ears.get(topic, ()):
                ear.ring()

    @contextmanager
    def listen(self, *topics: str) -> Iterator[Ear]:
        """An ear for as long as the block runs."""
        ear = Ear()
        for topic in topics:
            self._ears[topic].add(ear)
        try:
            yield ear
        finally:
            for topic in topics:
                self._ears[topic].discard(ear)
                if not self._ears[topic]:
                    del self._ears[topic]
