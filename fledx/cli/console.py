"""This process's terminal or pipes for somebody else's program: raw, never held up, and given back as found."""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
import threading
import tty
from collections.abc import AsyncIterator, Iterator
from queue import SimpleQueue

PIECE = 64 * 1024


@contextlib.contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """A terminal that passes on every key, Ctrl-C too; afterwards it is as it was, whatever happens inside."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def size(descriptor: int) -> tuple[int, int] | None:
    """Rows and columns of a terminal; None where there is none, or it does not know."""
    try:
        found = os.get_terminal_size(descriptor)
    except OSError:
        return None
    return (found.lines, found.columns) if found.lines and found.columns else None


async def pieces(descriptor: int) -> AsyncIterator[bytes]:
    """What is typed or piped in, as it comes, to its end; a terminal that is gone is at its end, too."""
    while True:
        await _readable(descriptor)
        try:
            data = os.read(descriptor, PIECE)
        except BlockingIOError:
            continue
        except OSError:
            return
        if not data:
            return
        yield data


async def _readable(descriptor: int) -> None:
    """Wait until something can be read; a file always can, and epoll does not take one."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    try:
        loop.add_reader(descriptor, _settle, ready, None)
    except OSError:
        return
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


class Writer:
    """
    Writes to a descriptor in a thread of its own: while nobody reads there, the loop goes on.

    The thread holds up no exit. asyncio's own threads would, and a pipe set non-blocking would be so for others, too.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._queue: SimpleQueue[tuple[bytes, asyncio.Future[None]]] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._work, name=f"writer-{descriptor}", daemon=True).start()

    async def write(self, data: bytes) -> None:
        """Return when all is written; OSError when nobody will ever read it."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._queue.put((data, done))
        await done

    def _work(self) -> None:
        while True:
            data, done = self._queue.get()
            problem: OSError | None = None
            try:
                _write_all(self._descriptor, data)
            except OSError as caught:
                problem = caught
            try:
                self._loop.call_soon_threadsafe(_settle, done, problem)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _settle(done: asyncio.Future[None], problem: OSError | None) -> None:
    if done.done():
        return
    if problem is None:
        done.set_result(None)
    else:
        done.set_exception(problem)
