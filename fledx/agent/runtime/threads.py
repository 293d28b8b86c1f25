"""Threads for calls that block and may hang."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from fledx.agent.runtime.body import Body

T = TypeVar("T")
Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


SPARE = 2
"""Threads that are kept when nothing is asked: each holds 100 KiB and more of the allocator's memory."""


class Threads:
    """
    At most `limit` daemon threads, made when needed.

    A caller may be cancelled or give up while its call hangs; the thread then stays counted until the call returns, so
    that an engine which never answers can take `limit` threads and not one more. Being daemons they hold up no exit.
    anyio's own threads do neither.
    """

    def __init__(self, limit: int, name: str) -> None:
        self._slots = asyncio.Semaphore(limit)
        self._name = name
        self._idle: deque[SimpleQueue[Job | None]] = deque()
        self._closed = False

    async def run(self, call: Callable[[], T]) -> T:
        """The result of `call`, made in a thread; waits for a free one."""
        await self._slots.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        try:
            queue = self._idle.pop() if self._idle else self._thread()
        except BaseException:
            self._slots.release()
            raise
        queue.put((loop, future, call))
        return await future

    def close(self) -> None:
        """Let idle threads end now, and busy ones when their call returns."""
        self._closed = True
        while self._idle:
            self._idle.pop().put(None)

    def _thread(self) -> SimpleQueue[Job | None]:
        queue: SimpleQueue[Job | None] = SimpleQueue()
        threading.Thread(target=self._work, args=(queue,), name=self._name, daemon=True).start()
        return queue

    def _work(self, queue: SimpleQueue[Job | None]) -> None:
        while (job := queue.get()) is not None:
            loop, future, call = job
            value, problem = None, None
            try:
                value = call()
            except BaseException as caught:
                problem = caught
            try:
                loop.call_soon_threadsafe(self._hand_over, queue, future, value, problem)
            except RuntimeError:
                return  # the loop has been closed: nobody waits any more
            del job, future, call, value, problem

    def _hand_over(
        self, queue: SimpleQueue[Job | None], future: asyncio.Future[Any], value: Any, problem: BaseException | None
    ) -> None:
        self._slots.release()
        if self._closed or len(self._idle) >= SPARE:
            queue.put(None)
        else:
            self._idle.append(queue)
        if future.cancelled():
            if isinstance(value, Body):
                value.close()
            return
        if problem is None:
            future.set_result(value)
        else:
            future.set_exception(problem)
