"""Connections from this machine itself: told apart by their first byte, so that one port speaks TLS and cleartext."""

from __future__ import annotations

import logging
import socket
from collections import deque
from typing import Any

import anyio

log = logging.getLogger(__name__)
EVERYWHERE = {"0.0.0.0": ("127.0.0.1",), "::": ("127.0.0.1", "::1")}
TLS_RECORD = b"\x16"  # RFC 8446 5.1: a record of the handshake, the first thing a client of TLS sends
FIRST_BYTE_SECONDS = 30.0
RETRY_SECONDS = 0.5
BACKLOG = 1024
SILENT_MS = 60_000
"""How long what was sent may stay unacknowledged, or a reader take nothing, before the kernel gives a connection up."""


class Handed(socket.socket):
    """
    Stands where a server wants a listening socket, and holds connections that somebody else accepted.

    It has what asyncio's servers ask of one: it becomes readable when there is a connection, and `accept` gives it.
    """

    def __init__(self) -> None:
        waiting, self._waker = socket.socketpair()
        super().__init__(waiting.family, waiting.type, fileno=waiting.detach())
        self.setblocking(False)
        self._connections: deque[tuple[socket.socket, Any]] = deque()

    def put(self, connection: socket.socket, address: Any) -> None:
        """Hand over a connection; it is closed where nobody takes connections any more."""
        if self.fileno() < 0:
            connection.close()
            return
        self._connections.append((connection, address))
        if len(self._connections) == 1:
            self._waker.send(b"\0")

    def listen(self, backlog: int = 0, /) -> None:
        """Nothing: whoever accepts listens."""

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection; BlockingIOError while there is none."""
        if not self._connections:
            raise BlockingIOError
        if len(self._connections) == 1:
            self.recv(1)
        return self._connections.popleft()

    def close(self) -> None:
        """Close it and what nobody took."""
        super().close()
        self._waker.close()
        for connection, _ in self._connections:
            connection.close()
        self._connections.clear()


async def sort(opened: socket.socket, *, encrypted: Handed, plain: Handed) -> None:
    """Accept for ever, and hand each connection to whom its first byte is for."""
    async with anyio.create_task_group() as tasks:
        while True:
            await anyio.wait_readable(opened)
            try:
                connection, address = opened.accept()
            except BlockingIOError:
                continue
            except OSError as problem:
                log.warning("a connection could not be accepted", extra={"reason": str(problem)})
                await anyio.sleep(RETRY_SECONDS)
                continue
            connection.setblocking(False)
            tasks.start_soon(_sort_one, connection, address, encrypted, plain)


async def _sort_one(connection: socket.socket, address: Any, encrypted: Handed, plain: Handed) -> None:
    first = b""
    try:
        with anyio.move_on_after(FIRST_BYTE_SECONDS):
            await anyio.wait_readable(connection)
            first = connection.recv(1, socket.MSG_PEEK)
    except OSError:
        pass
    finally:
        if first:
            (encrypted if first == TLS_RECORD else plain).put(connection, address)
        else:
            connection.close()


def listen(opened: socket.socket) -> None:
    """
    Listen without blocking; what is accepted inherits that nothing waits for an acknowledgement, nor for one for ever.

    The server sends head and body of an answer one after the other. Of sockets that it did not open asyncio does not
    see to that, and every request on a kept connection took the 40 ms for which a client's kernel holds back its own.
    A connection that was closed with something unsent would stay for as long as a peer lives that reads no more.
    """
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_MS)
    opened.listen(BACKLOG)
    opened.setblocking(False)


def beside(opened: socket.socket) -> list[socket.socket]:
    """
    Listening sockets on loopback at the port of one that listens elsewhere; those that cannot be had are left out.

    Next to a wildcard's they win: the kernel prefers the more exact address. SO_REUSEPORT lets both be bound, and is
    set for that moment only, so that a second program still hears that the port is taken.
    """
    host, port = opened.getsockname()[:2]
    found = []
    for address in EVERYWHERE.get(host, ("127.0.0.1",)):
        try:
            found.append(_bound(opened, address, port, shared=host in EVERYWHERE))
        except OSError as problem:
            log.warning(
                "http://localhost will not answer: its port cannot be had",
                extra={"address": f"{address}:{port}", "reason": problem.strerror or str(problem)},
            )
    return found


def _bound(opened: socket.socket, address: str, port: int, *, shared: bool) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    pair = (opened, made)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for each in pair:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        made.bind((address, port))
        listen(made)
    except OSError:
        made.close()
        raise
    finally:
        for each in pair:
            if each.fileno() >= 0:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
    return made
