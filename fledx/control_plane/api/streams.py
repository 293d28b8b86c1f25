"""Answers that go on: server-sent events and JSON lines, with signs of life, one slow reader harming nobody."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from starlette.types import Receive, Scope, Send

from fledx.control_plane.api.errors import body_of
from fledx.control_plane.api.replies import ALWAYS, dumped
from fledx.errors import FledxError

LOG = logging.getLogger(__name__)
T = TypeVar("T")
IDLE_SECONDS = 15.0
HEAD_SECONDS = 0.25  # an error that shows within it still becomes a status of its own
SEND_SECONDS = 60.0
STOP_SECONDS = 1.0
WAITING = 64  # items between the producer and the reader
CHUNK_BYTES = 64 * 1024


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


class Stream(Generic[T]):
    """
    An answer made of what a generator yields, as an ASGI application.

    An error that comes before anything was written is raised, later it is written as the last item. `last` is written
    when the generator ends by itself. The stream ends when the reader is gone, at once when `stopping` is set, and when
    the reader takes nothing for a minute; the generator is closed in each case.
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
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._items = items
        self._write = write
        self._framing = framing
        self._stopping = stopping
        self._request_id = request_id
        self._last = last
        self._idle_seconds = idle_seconds
        self._failed: Exception | None = None
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await self._start(send)
            await send({"type": "http.response.body", "body": b""})
            return
        outbox, inbox = anyio.create_memory_object_stream[bytes](WAITING)
        async with anyio.create_task_group() as group:
            filling = anyio.CancelScope()
            group.start_soon(self._fill, outbox, filling)
            group.start_soon(_until_gone, receive, group.cancel_scope)
            group.start_soon(self._until_stopping, filling, group.cancel_scope)
            with inbox, anyio.move_on_after(None) as too_slow:
                await self._drain(inbox, send, too_slow)
            group.cancel_scope.cancel()
        if self._failed is not None and not self._started:
            raise self._failed

    async def _fill(self, outbox: MemoryObjectSendStream[bytes], filling: anyio.CancelScope) -> None:
        cancelled = anyio.get_cancelled_exc_class()
        with outbox, filling:
            try:
                async for item in self._items:
                    await outbox.send(self._write(item))
            except Exception as fault:
                self._failed = fault
            finally:
                # A generator left at a yield is cancelled there. Closing it instead would raise GeneratorExit, on which
                # a task group around that yield fails.
                with contextlib.suppress(cancelled, StopAsyncIteration):
                    await self._items.athrow(cancelled())

    async def _until_stopping(self, filling: anyio.CancelScope, everything: anyio.CancelScope) -> None:
        await self._stopping.wait()
        filling.cancel()
        await anyio.sleep(STOP_SECONDS)
        everything.cancel()

    async def _drain(self, inbox: MemoryObjectReceiveStream[bytes], send: Send, too_slow: anyio.CancelScope) -> None:
        wait = HEAD_SECONDS
        while (chunk := await self._next(inbox, wait)) is not None:
            too_slow.deadline = anyio.current_time() + SEND_SECONDS
            if not self._started:
                await self._start(send)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            too_slow.deadline, wait = float("inf"), self._idle_seconds
        if self._failed is not None and not self._started:
            return
        too_slow.deadline = anyio.current_time() + SEND_SECONDS
        if not self._started:
            await self._start(send)
        await send({"type": "http.response.body", "body": self._end()})

    async def _next(self, inbox: MemoryObjectReceiveStream[bytes], wait: float) -> bytes | None:
        """All that is ready as one chunk, a sign of life after `wait` seconds without any, None at the end."""
        parts: list[bytes] = []
        try:
            with anyio.move_on_after(wait) as waited:
                parts.append(await inbox.receive())
            if waited.cancelled_caught:
                return self._framing.idle
            size = len(parts[0])
            while size < CHUNK_BYTES:
                parts.append(inbox.receive_nowait())
                size += len(parts[-1])
        except anyio.WouldBlock:
            pass
        except anyio.EndOfStream:
            return None if not parts else b"".join(parts)
        return b"".join(parts)

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
