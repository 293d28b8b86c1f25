"""
A bad line between two ends on loopback: a relay that delays, limits, queues and loses, from a seed.

It carries a TCP connection, so a lost segment cannot be missing; it comes a retransmission timeout late, and everything
behind it waits, which is what the ends of a real connection see. Runs in a thread of its own, so that the loops of the
ends do not disturb its clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

SEGMENT = 1448
READ = 8 * SEGMENT
RECEIVE_BUFFER = 32 * 1024
"""What the relay's own kernel may hold before it: small, or it would be a second queue."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """
    One way of a line: seconds of delay, bytes a second, bytes of the queue before it, and the share of segments lost.

    A segment that is lost comes ``retransmit_secs`` later, as often as it is lost again.
    """

    delay_secs: float = 0.0
    rate: float = float("inf")
    queue: int = 256_000
    loss: float = 0.0
    retransmit_secs: float = 0.2


class Wan:
    """A relay to ``127.0.0.1:target``; ``with Wan(...) as wan`` gives one that listens on `port`."""

    def __init__(self, target: int, *, up: Line, down: Line | None = None, seed: int = 1) -> None:
        self._target = target
        self._up = up
        self._down = down or up
        self._dice = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets: set[socket.socket] = set()
        self._listening = socket.socket()
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(64)
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self._light = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="wan", daemon=True)

    def __enter__(self) -> Wan:
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def cut(self) -> None:
        """Let nothing through any more, in either direction; the ends are told nothing."""
        self._loop.call_soon_threadsafe(self._light.clear)

    def heal(self) -> None:
        """Let through again, with what waited meanwhile."""
        self._loop.call_soon_threadsafe(self._light.set)

    def sever(self) -> None:
        """End every connection at once."""
        self._loop.call_soon_threadsafe(self._shut)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._light.set()
        self._begin(self._accept())
        self._loop.run_forever()
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        for sock in (*self._sockets, self._listening):
            sock.close()
        self._loop.close()

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _shut(self) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    async def _accept(self) -> None:
        while True:
            near, _ = await self._loop.sock_accept(self._listening)
            far = socket.socket()
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            far.setblocking(False)
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.add(sock)
            await self._loop.sock_connect(far, ("127.0.0.1", self._target))
            self._begin(self._carry(near, far, self._up))
            self._begin(self._carry(far, near, self._down))

    async def _carry(self, source: socket.socket, sink: socket.socket, line: Line) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        self._begin(self._deliver(under_way, sink))
        queued: deque[tuple[float, int]] = deque()
        departure = arrival = self._loop.time()
        with contextlib.suppress(OSError, ValueError):
            while True:
                await self._room(queued, line.queue)
                data = await self._loop.sock_recv(source, READ)
                now = self._loop.time()
                departure = max(now, departure) + len(data) / line.rate
                queued.append((departure, len(data)))
                arrival = max(arrival, departure + line.delay_secs + self._late(len(data), line))
                under_way.put_nowait((arrival, data))
                if not data:
                    break

    def _late(self, size: int, line: Line) -> float:
        """Seconds for which the worst of the segments has to be sent again."""
        worst = 0
        for _ in range(-(-size // SEGMENT)):
            times = 0
            while self._dice.random() < line.loss:
                times += 1
            worst = max(worst, times)
        return worst * line.retransmit_secs

    async def _room(self, queued: deque[tuple[float, int]], limit: int) -> None:
        while queued:
            now = self._loop.time()
            while queued and queued[0][0] <= now:
                queued.popleft()
            if sum(size for _, size in queued) < limit:
                return
            await asyncio.sleep(queued[0][0] - now)

    async def _deliver(self, under_way: asyncio.Queue[tuple[float, bytes]], sink: socket.socket) -> None:
        data = b"-"
        while data:
            arrival, data = await under_way.get()
            wait = arrival - self._loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            await self._light.wait()
            with contextlib.suppress(OSError):
                await self._loop.sock_sendall(sink, data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
