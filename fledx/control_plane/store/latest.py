"""What was made of a source that is read again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Source = TypeVar("Source")
Made = TypeVar("Made")


class Latest(Generic[Source, Made]):
    """
    For each id its last source and what was made of it, which serves for as long as the source is the `same`.

    It is as large as there are ids, and of more than `LIMIT` the first goes. Any thread may ask.
    """

    LIMIT = 4096

    def __init__(self, same: Callable[[Source, Source], bool]) -> None:
        self._same = same
        self._made: dict[str, tuple[Source, Made]] = {}
        self._lock = threading.Lock()

    def of(self, id: str, source: Source, make: Callable[[Source], Made]) -> Made:
        """What this source makes."""
        found = self._made.get(id)
        if found is not None and self._same(found[0], source):
            return found[1]
        return self.keep(id, source, make(source))

    def keep(self, id: str, source: Source, made: Made) -> Made:
        """Remember what this source makes, which somebody knows already."""
        with self._lock:
            if id not in self._made and len(self._made) >= self.LIMIT:
                del self._made[next(iter(self._made))]
            self._made[id] = source, made
        return made
