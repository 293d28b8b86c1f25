"""Log entries out of a body, and what Docker leaves out at the end of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from fledx.agent.runtime.body import Body, frames
from fledx.agent.runtime.containers import LogEntry
from fledx.agent.runtime.shapes import log_entries


async def entries(body: Body) -> AsyncIterator[list[LogEntry]]:
    """Entries that have arrived together, together."""
    async for batch in frames(body):
        yield [entry for frame in batch for entry in log_entries(*frame)]


class Tally:
    """
    Where a reader has got to in a log.

    Docker 20.10 ends a followed log with its container even if the reader is behind, so that what is missing must be
    read again from the last stamp on. ``last`` is that stamp, None before the first entry.
    """

    def __init__(self) -> None:
        self.last: str | None = None
        self._same = 0

    def note(self, batch: Sequence[LogEntry]) -> None:
        """These have been read."""
        for entry in batch:
            self._same = self._same + 1 if entry.time == self.last else 1
            self.last = entry.time

    def unread(self, batch: list[LogEntry]) -> list[LogEntry]:
        """Of a batch read again from `last` on, the entries that were not read before; call it with each in order."""
        skipped = 0
        while skipped < len(batch) and self._same > 0 and batch[skipped].time == self.last:
            skipped += 1
            self._same -= 1
        if skipped < len(batch):
            self._same = 0
        return batch[skipped:]
