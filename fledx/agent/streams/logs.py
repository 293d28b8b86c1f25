"""The `logs` stream: what the containers of one replica wrote, as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fledx.agent.reconcile.actions import Copy
from fledx.agent.runtime.base import Runtime
from fledx.agent.runtime.containers import LogEntry
from fledx.agent.spec import Key
from fledx.errors import InvalidSpec, NotFound
from fledx.tunnel.stream import Stream

MAX_TAIL = 100_000


@dataclass(frozen=True, kw_only=True)
class LogQuery:
    """The meta of the stream; bounds are RFC 3339, ``tail`` counts lines over all containers of the replica."""

    key: Key
    follow: bool = False
    since: str | None = None
    until: str | None = None
    tail: int | None = None

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> LogQuery:
        """Read it; InvalidSpec for what cannot be meant."""
        deployment_id, number, tail = meta.get("deployment_id"), meta.get("replica_number"), meta.get("tail")
        bounds = [meta.get("since"), meta.get("until")]
        if not isinstance(deployment_id, str) or not isinstance(number, int):
            raise InvalidSpec("meta", "a logs stream names a deployment_id and a replica_number")
        if not isinstance(tail, int | None) or not all(isinstance(each, str | None) for each in bounds):
            raise InvalidSpec("meta", "tail is a whole number, since and until are times")
        return cls(
            key=(deployment_id, number),
            follow=bool(meta.get("follow")),
            since=bounds[0],
            until=bounds[1],
            tail=None if tail is None else min(max(tail, 0), MAX_TAIL),
        )


class ReplicaLogs:
    """
    Serves `logs` streams.

    `copies` gives the containers of a replica, `wanted` whether it is to run here, `changed` waits until either may
    have changed.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        copies: Callable[[Key], Sequence[Copy]],
        wanted: Callable[[Key], bool],
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        self._runtime = runtime
        self._copies = copies
        self._wanted = wanted
        self._changed = changed

    async def serve(self, stream: Stream) -> None:
        """Send what there is, eldest container first; following goes on with each container that succeeds the last."""
        query = LogQuery.of(stream.meta)
        copies = self._in_order(query.key)
        if not copies and not self._wanted(query.key):
            raise NotFound(f"replica {query.key[1]} of deployment {query.key[0]} is not on this node")
        stream.accept()
        tails = await self._tails(copies, query)
        seen: set[str] = set()
        for copy, tail in zip(copies, tails, strict=True):
            last = copy is copies[-1]
            seen.add(copy.container.id)
            await self._send(stream, query, copy, tail=tail, follow=query.follow and last)
        while query.follow and (copy_ := await self._successor(query.key, seen)) is not None:
            seen.add(copy_.container.id)
            await self._send(stream, query, copy_, tail=None, follow=True)
        await stream.send_eof()

    def _in_order(self, key: Key) -> list[Copy]:
        made = [copy for copy in self._copies(key) if copy.container.state != "created"]
        return sorted(made, key=lambda copy: copy.container.created_at)

    async def _tails(self, copies: Sequence[Copy], query: LogQuery) -> list[int | None]:
        """How many lines to take from each container, so that those of all together are the last ones."""
        if query.tail is None:
            return [None] * len(copies)
        left, tails = query.tail, [0] * len(copies)
        for i in reversed(range(len(copies))):
            tails[i] = left
            if i and left:
                left = max(0, left - await self._count(copies[i], query, left))
        return list(tails)

    async def _count(self, copy: Copy, query: LogQuery, most: int) -> int:
        found = 0
        try:
            async with self._runtime.logs(
                copy.container.id, since=query.since, until=query.until, tail=most
            ) as batches:
                async for batch in batches:
                    found += len(batch)
        except NotFound:
            return found
        return found

    async def _send(self, stream: Stream, query: LogQuery, copy: Copy, *, tail: int | None, follow: bool) -> None:
        """One container's lines; `send_all` waits for the reader, and Docker waits for us."""
        if tail == 0 and not follow:
            return
        try:
            async with self._runtime.logs(
                copy.container.id, follow=follow, since=query.since, until=query.until, tail=tail
            ) as batches:
                async for batch in batches:
                    await stream.send_all(b"".join(_line(entry) for entry in batch))
        except NotFound:
            return

    async def _successor(self, key: Key, seen: set[str]) -> Copy | None:
        """The next container of this replica; None when there will be none."""
        while True:
            fresh = [copy for copy in self._in_order(key) if copy.container.id not in seen]
            if fresh:
                return fresh[0]
            if not self._wanted(key):
                return None
            await self._changed()


def _line(entry: LogEntry) -> bytes:
    return json.dumps({"s": entry.stream, "t": entry.time, "l": entry.line}, separators=(",", ":")).encode() + b"\n"
