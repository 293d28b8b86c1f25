"""Answers that go on: server-sent events and JSON lines, with signs of life, one slow reader harming nobody."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio
from starlette.types import Receive, Scope, Send

from fledx.control_plane.api.errors import body_of
from fledx.control_plane.api.replies import ALWAYS, dumped
from fledx.errors import FledxError

LOG = logging.getLogger(__name__)
T = TypeVar("T")
CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Pace:
    """
    The seconds of a stream.

    An error within `head` still becomes a status of its own; after `idle` without an item there is a sign of life; a
    reader that takes nothing for `send` is cut off, and one that does not take the end within `stop`, too. `rest` is no
    time but how many times what writing an item took passes before the next is asked for: where only the newest counts,
    a big item that changes all the time cannot hold the loop.
    """

    head: float = 0.25
    idle: float = 15.0
    send: float = 60.0
    stop: float = 1.0
    rest: float = 0.0
    linger: float = 0.01


STEADY = Pace()
NEWEST_ONLY = Pace(rest=10.0)


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How a kind of stream is written; `idle` is the sign of life that readers pass over."""

    media: str
    idle: bytes
    fault: Callable[[dict[str, Any]], bytes]


EVENTS = Framing(
    media="text/event-stream",
    idle=b": still here\n\n",
    fault=lambda body: sent(body, kind="error"),
)
LINES = Framing(media="application/x-ndjson", idle=b"\n", fault=lambda body: line(body))


def sent(value: Any, *, kind: str | None = None, number: int | None = None) -> bytes:
    """One server-sent event of JSON; `number` is what a reader comes back with as Last-Event-ID."""
    head = b"" if number is None else b"id: %d\n" % number
    name = b"" if kind is None else b"event: %s\n" % kind.encode()
    return b"%s%sdata: %s\n\n" % (head, name, dumped(value))


def line(value: Any) -> bytes:
    """One JSON line."""
    return dumped(value) + b"\n"


class Outbox:
    """What waits for the reader: filled item by item, taken all at once, bounded in bytes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._ended = False
        self._some, self._full, self._room = anyio.Event(), anyio.Event(), anyio.Event()

    async def put(self, part: bytes) -> None:
        """Add a part; returns when there is room for another."""
        self._parts.append(part)
        self._size += len(part)
        self._some.set()
        if self._size >= CHUNK_BYTES:
            self._full.set()
            await self._room.wait()

    def end(self) -> None:
        """Nothing will follow."""
        self._ended = True
        self._some.set()
        self._full.set()

    async def take(self, *, wait: float, linger: float) -> bytes | None:
        """
        All there is, empty when there is nothing for `wait` seconds, None at the end.

        What comes within `linger` seconds after the first part comes along, unless it is much.
        """
        with anyio.move_on_after(wait):
            await self._some.wait()
        if self._parts and linger > 0:
            with anyio.move_on_after(linger):
                await self._full.wait()
        if not self._parts and self._ended:
            return None
        taken = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        self._room.set()
        if not self._ended:
            self._some, self._full, self._room = anyio.Event(), anyio.Event(), anyio.Event()
        return taken


class Stream(Generic[T]):
    """
    An answer made of what a generator yields, as an ASGI application.

    An error that comes before anything was written is raised, later it is written as the last item. `last` is written
    when the generator ends by itself. The stream ends when the reader is gone, at once when `stopping` is set, and when
    the reader takes nothing for too long; the generator is unwound in each case.
    """

    def __init__(
        self,
        items: AsyncGenerator[T, None],
        write: Callable[[T], bytes],
        framing: Framing,
        *,
        stopping: anyio.Event,
        request_id: str,
        last: bytes = b"",
        pace: Pace = STEADY,
    ) -> None:
        self._items = items
        self._write = write
        self._framing = framing
        self._stopping = stopping
        self._request_id = request_id
        self._last = last
        self._pace = pace
        self._failed: Exception | None = None
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await self._start(send)
            await send({"type": "http.response.body", "body": b""})
            return
        outbox, filling = Outbox(), anyio.CancelScope()
        async with anyio.create_task_group() as group:
            group.start_soon(self._fill, outbox, filling)
            group.start_soon(_until_gone, receive, group.cancel_scope)
            group.start_soon(self._until_stopping, filling, group.cancel_scope)
            with contextlib.suppress(OSError):  # how some servers tell that the reader is gone
                await self._drain(outbox, send)
            group.cancel_scope.cancel()
        if self._failed is not None and not self._started:
            raise self._failed

    async def _fill(self, outbox: Outbox, filling: anyio.CancelScope) -> None:
        with filling:
            try:
                async for item in self._items:
                    began = time.perf_counter()
                    part = self._write(item)
                    spent = time.perf_counter() - began
                    await outbox.put(part)
                    if self._pace.rest:
                        await anyio.sleep(spent * self._pace.rest)
            except Exception as fault:
                self._failed = fault
            finally:
                outbox.end()
                await self._unwind()

    async def _unwind(self) -> None:
        """
        Cancel a generator that was left at a yield.

        Closing it instead would raise GeneratorExit there, on which a task group around that yield fails.
        """
        cancelled = anyio.get_cancelled_exc_class()
        with contextlib.suppress(cancelled, StopAsyncIteration):
            await self._items.athrow(cancelled())

    async def _until_stopping(self, filling: anyio.CancelScope, everything: anyio.CancelScope) -> None:
        await self._stopping.wait()
        filling.cancel()
        await anyio.sleep(self._pace.stop)
        everything.cancel()

    async def _drain(self, outbox: Outbox, send: Send) -> None:
        wait, sent_at = self._pace.head, float("-inf")
        while True:
            linger = sent_at + self._pace.linger - anyio.current_time()
            chunk = await outbox.take(wait=wait, linger=linger)
            if chunk is None and self._failed is not None and not self._started:
                return
            with anyio.move_on_after(self._pace.send) as limit:
                await self._pass_on(chunk, send)
            if chunk is None or limit.cancelled_caught:
                return
            wait, sent_at = self._pace.idle, anyio.current_time()

    async def _pass_on(self, chunk: bytes | None, send: Send) -> None:
        if not self._started:
            await self._start(send)
        body = self._end() if chunk is None else chunk or self._framing.idle
        await send({"type": "http.response.body", "body": body, "more_body": chunk is not None})

    def _end(self) -> bytes:
        if self._failed is None:
            return b"" if self._stopping.is_set() else self._last
        if isinstance(self._failed, FledxError):
            return self._framing.fault(body_of(self._failed, self._request_id))
        facts = {"request_id": self._request_id}
        LOG.error("a stream failed unexpectedly", extra=facts, exc_info=self._failed)
        text = "the control plane failed; its log names the cause"
        return self._framing.fault({"error": text, "code": "internal_error", "request_id": self._request_id})

    async def _start(self, send: Send) -> None:
        self._started = True
        headers = {**ALWAYS, "content-type": self._framing.media, "x-accel-buffering": "no"}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})


async def _until_gone(receive: Receive, everything: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    everything.cancel()
