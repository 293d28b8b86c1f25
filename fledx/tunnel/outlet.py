"""Bytes on their way into the kernel: what it does not take at once waits here, and its rate sets the pace."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from fledx.tunnel.pace import Pace
from fledx.tunnel.tcp import limit_unsent, prepare


class Outlet:
    """
    What a socket that never blocks is given.

    ``backlog`` is what the kernel has yet to take, None while it takes everything. ``bytes_out`` is what it has taken.
    """

    __slots__ = ("_sock", "backlog", "bytes_out", "pace")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.backlog: list[memoryview] | None = None
        self.bytes_out = 0
        self.pace = Pace()
        prepare(sock, unsent=self.pace.unsent)

    def send(self, pieces: Sequence[bytes | memoryview]) -> bool:
        """Give the kernel all it takes, while there is no backlog; False when some is left. Raises OSError."""
        try:
            sent = self._sock.sendmsg(pieces)
        except (BlockingIOError, InterruptedError):
            sent = 0
        self.bytes_out += sent
        self.pace.sent(sent)
        self.backlog = _after(sent, pieces)
        return self.backlog is None

    def keep(self, pieces: Sequence[bytes | memoryview]) -> int:
        """Add to the backlog; returns how many bytes it has."""
        backlog = self.backlog = [*(self.backlog or ()), *(memoryview(piece) for piece in pieces)]
        return sum(map(len, backlog))

    def resume(self) -> bool:
        """The kernel takes more: give it the backlog; False when some is still left. Raises OSError."""
        backlog, self.backlog = self.backlog, None
        return backlog is None or self.send(backlog)

    def full(self, now: float) -> None:
        """The kernel took not all: learn its rate, and keep its queue as short as that allows."""
        if self.pace.full(now):
            limit_unsent(self._sock, self.pace.unsent)


def _after(sent: int, pieces: Sequence[bytes | memoryview]) -> list[memoryview] | None:
    """What of `pieces` comes after the first `sent` bytes, None when that is nothing."""
    for index, piece in enumerate(pieces):
        if sent < len(piece):
            return [memoryview(piece)[sent:], *(memoryview(later) for later in pieces[index + 1 :])]
        sent -= len(piece)
    return None
