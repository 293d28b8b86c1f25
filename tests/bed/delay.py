"""
Delay packets in user space: ``delay.py PIDFILE QUEUE SECONDS JITTER``. It works once the file is there.

Stands in for `tc netem delay` where the kernel has no sch_netem. iptables sends packets to an NFQUEUE; only their
numbers come here, and each is accepted that much later. Runs as a file of its own inside the machines of the bed:
standard library only, nothing of the project. The constants are those of linux/netfilter/nfnetlink.h and
nfnetlink_queue.h. Ends on SIGTERM.
"""

from __future__ import annotations

import heapq
import os
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

NETLINK_NETFILTER, NFNL_SUBSYS_QUEUE = 12, 3
PACKET, VERDICT, CONFIG = 0, 1, 2
REQUEST, ACK = 1, 4
SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5
LONGEST_QUEUE = 20_000


class Queue:
    """One kernel packet queue."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        bind, copy_nothing, fail_open_and_gso = struct.pack("!BBH", 1, 0, socket.AF_INET), struct.pack("!IB", 0, 1), 5
        self._configure(attribute(1, bind))
        self._configure(attribute(2, copy_nothing))
        flags = struct.pack("!I", fail_open_and_gso)
        self._configure(attribute(3, struct.pack("!I", LONGEST_QUEUE)) + attribute(4, flags) + attribute(5, flags))

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept(self, packet: int) -> None:
        """Let the packet go on its way."""
        self._socket.send(self._message(VERDICT, attribute(2, struct.pack("!II", 1, packet)), REQUEST))

    def receive(self) -> Iterator[int]:
        """The numbers of the packets that have come."""
        data, at = self._socket.recv(1 << 20), 0
        while at + 16 <= len(data):
            size, kind = struct.unpack_from("=IH", data, at)
            if kind == NFNL_SUBSYS_QUEUE << 8 | PACKET:
                yield from packets(data[at + 20 : at + size])
            at += (size + 3) & ~3

    def _configure(self, body: bytes) -> None:
        self._socket.send(self._message(CONFIG, body, REQUEST | ACK))
        (error,) = struct.unpack_from("=i", self._socket.recv(4096), 16)
        if error:
            sys.exit(f"NFQUEUE {self._number}: {os.strerror(-error)}")

    def _message(self, kind: int, body: bytes, flags: int) -> bytes:
        head = struct.pack("=IHHII", 20 + len(body), NFNL_SUBSYS_QUEUE << 8 | kind, flags, 0, 0)
        return head + struct.pack("!BBH", socket.AF_UNSPEC, 0, self._number) + body


def attribute(kind: int, payload: bytes) -> bytes:
    """One netlink attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def packets(attributes: bytes) -> Iterator[int]:
    """The packet number among a message's attributes (NFQA_PACKET_HDR is the first kind)."""
    at = 0
    while at + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, at)
        if kind & 0x7FFF == 1:
            yield struct.unpack_from("!I", attributes, at + 4)[0]
        at += (length + 3) & ~3


def hold_back(queue: Queue, seconds: float, jitter: float) -> None:
    """Accept every packet when it is due, for ever."""
    waiting: list[tuple[float, int]] = []
    while True:
        while waiting and waiting[0][0] <= time.monotonic():
            queue.accept(heapq.heappop(waiting)[1])
        patience = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        if select.select([queue], [], [], patience)[0]:
            for packet in queue.receive():
                due = time.monotonic() + max(0.0, seconds + random.uniform(-jitter, jitter))
                heapq.heappush(waiting, (due, packet))


if __name__ == "__main__":
    packet_queue = Queue(int(sys.argv[2]))
    Path(sys.argv[1]).write_text(str(os.getpid()))
    hold_back(packet_queue, float(sys.argv[3]), float(sys.argv[4]))
