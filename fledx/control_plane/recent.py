"""What was asked of this process in the last minute."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable

WINDOW_SECONDS = 60
Asked = tuple[str, str, int]


class Recent:
    """
    Requests by method, route template and status, in a sliding window of a minute.

    A count for each second, so that what a window costs does not grow with the number of requests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds: deque[tuple[int, Counter[Asked]]] = deque()

    def count(self, method: str, route: str, status: int) -> None:
        """One more."""
        second = int(self._clock())
        if not self._seconds or self._seconds[-1][0] != second:
            self._forget(second)
            self._seconds.append((second, Counter()))
        self._seconds[-1][1][method, route, status] += 1

    def top(self, limit: int) -> list[tuple[Asked, int]]:
        """The most frequent so many, by count, then by name."""
        self._forget(int(self._clock()))
        total: Counter[Asked] = Counter()
        for _, counted in self._seconds:
            total.update(counted)
        return sorted(total.items(), key=lambda item: (-item[1], item[0]))[:limit]

    def per_second(self) -> list[int]:
        """How many there were in each second of the window, the oldest first."""
        now = int(self._clock())
        self._forget(now)
        counted = {second: sum(each.values()) for second, each in self._seconds}
        return [counted.get(second, 0) for second in range(now - WINDOW_SECONDS + 1, now + 1)]

    def _forget(self, second: int) -> None:
        while self._seconds and self._seconds[0][0] <= second - WINDOW_SECONDS:
            self._seconds.popleft()
