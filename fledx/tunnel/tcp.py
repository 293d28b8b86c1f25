"""What the tunnel asks of the kernel's TCP, and what it learns from it."""

from __future__ import annotations

import socket
import sys

NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
THIN_LINEAR_TIMEOUTS = 16
"""While little is under way, six tries at an even pace before TCP doubles its wait (cubic and reno; bbr ignores it)."""


def prepare(sock: socket.socket, *, unsent: int) -> None:
    """For a link: never blocks, sends at once, tries evenly on a bad line, and queues no more than `unsent` bytes."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, THIN_LINEAR_TIMEOUTS, 1)
    limit_unsent(sock, unsent)


def limit_unsent(sock: socket.socket, unsent: int) -> None:
    """The kernel takes no more while so many bytes wait to be sent: no frame overtakes those."""
    sock.setsockopt(socket.IPPROTO_TCP, NOTSENT_LOWAT, unsent)


def be_patient(sock: socket.socket, seconds: float) -> None:
    """How long the peer may take to acknowledge what we send before the connection counts as dead."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def round_trip(sock: socket.socket) -> float:
    """Seconds TCP reckons with for one round trip, its variation included; 0 when it does not know."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 76)
    average, variation = int.from_bytes(info[68:72], sys.byteorder), int.from_bytes(info[72:76], sys.byteorder)
    return (average + 4 * variation) / 1e6
