"""
The load: a target that streams, swallows and answers small HTTP, and the clients that measure it.

Plain epoll loops in one thread each, so that they cost little beside what is measured, and the same for every tunnel.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHUNK = 64 * 1024
BODY = b"x" * 200
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 200\r\n\r\n" + BODY
ZEROS = bytes(1024 * 1024)
SOURCE, SINK, HTTP = b"<", b">", b"G"


def listen() -> socket.socket:
    """A listening socket on a free loopback port."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=512)
    sock.setblocking(False)
    return sock


class Target:
    """
    Answers by the first byte of a connection: ``<`` and a count sends so many bytes, ``>`` counts until the end and
    then tells how many, ``G`` is HTTP with keep-alive.
    """

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._poll = select.epoll()
        self._poll.register(listening, select.EPOLLIN)
        self._sockets: dict[int, socket.socket] = {}
        self._kinds: dict[int, bytes] = {}
        self._counts: dict[int, int] = {}
        self._room = bytearray(4 * CHUNK)

    def run(self) -> None:
        """Serve until the process ends."""
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._listening.fileno():
                    self._accept()
                else:
                    self._serve(fd)

    def _accept(self) -> None:
        sock, _ = self._listening.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self._sockets[sock.fileno()] = sock
        self._poll.register(sock, select.EPOLLIN)

    def _serve(self, fd: int) -> None:
        kind = self._kinds.get(fd)
        if kind == SOURCE:
            self._send(fd)
            return
        try:
            size = self._sockets[fd].recv_into(self._room)
        except ConnectionError:
            size = 0
        if kind is None and size:
            kind = self._begin(fd, size)
        if kind == HTTP and size:
            self._sockets[fd].send(RESPONSE)
        elif kind == SINK and size:
            self._counts[fd] += size
        elif kind != SOURCE and not size:
            self._end(fd, kind)

    def _begin(self, fd: int, size: int) -> bytes:
        kind = self._kinds[fd] = bytes(self._room[:1])
        self._counts[fd] = 0
        if kind == SOURCE:
            self._counts[fd] = int(self._room[1:size])
            self._poll.modify(fd, select.EPOLLOUT)
        return kind

    def _send(self, fd: int) -> None:
        left = self._counts[fd]
        if not left:
            self._end(fd, SOURCE)
            return
        try:
            self._counts[fd] = left - self._sockets[fd].send(ZEROS[: min(left, 4 * CHUNK)])
        except ConnectionError:
            self._end(fd, SOURCE)

    def _end(self, fd: int, kind: bytes | None) -> None:
        sock = self._sockets.pop(fd)
        count = self._counts.pop(fd, 0)
        self._kinds.pop(fd, None)
        self._poll.unregister(fd)
        if kind == SINK:
            sock.setblocking(True)
            sock.sendall(b"%d" % count)
        sock.close()


def cpu_seconds(roots: Iterable[int]) -> float:
    """What these processes and their living descendants have used of the processors so far."""
    parents: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            facts = stat.read_text().rpartition(")")[2].split()
            pid = int(stat.parent.name)
            parents.setdefault(int(facts[1]), []).append(pid)
            used[pid] = (int(facts[11]) + int(facts[12])) / os.sysconf("SC_CLK_TCK")
    total, waiting = 0.0, list(roots)
    while waiting:
        pid = waiting.pop()
        total += used.get(pid, 0.0)
        waiting += parents.get(pid, [])
    return total


def download(port: int, count: int) -> float:
    """Megabytes per second of `count` bytes from the target to us."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        room = bytearray(CHUNK)
        begin = time.perf_counter()
        sock.sendall(b"%b%d" % (SOURCE, count))
        left = count
        while left > 0:
            size = sock.recv_into(room)
            if not size:
                raise ConnectionError(f"{left} of {count} bytes are missing")
            left -= size
        return count / 1e6 / (time.perf_counter() - begin)


def upload(port: int, count: int) -> float:
    """Megabytes per second of `count` bytes from us to the target, until it says that it has them all."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        begin = time.perf_counter()
        sock.sendall(SINK)
        left = count - 1
        while left:
            part = min(left, CHUNK)
            sock.sendall(ZEROS[:part])
            left -= part
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while more := sock.recv(64):
            answer += more
        took = time.perf_counter() - begin
    if int(answer) not in (count, count - 1):
        raise ConnectionError(f"{answer!r} of {count} bytes arrived")
    return count / 1e6 / took


@contextmanager
def downloading(port: int, streams: int) -> Iterator[None]:
    """So many connections that receive as fast as they can, until the block ends; begins when all have begun."""
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(streams)]
    begun = threading.Barrier(streams + 1)

    def drain(sock: socket.socket) -> None:
        sock.sendall(b"%b%d" % (SOURCE, 10**12))
        room = bytearray(CHUNK)
        sock.recv_into(room)
        begun.wait(60)
        with contextlib.suppress(OSError):
            while sock.recv_into(room):
                pass

    threads = [threading.Thread(target=drain, args=(sock,), daemon=True) for sock in sockets]
    for thread in threads:
        thread.start()
    begun.wait(60)
    try:
        yield
    finally:
        for sock in sockets:
            sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
        for sock in sockets:
            sock.close()


@dataclass(frozen=True, kw_only=True)
class Requests:
    """What a run of small HTTP requests came to; times in seconds."""

    per_second: float
    median: float
    p99: float


def requests(port: int, connections: int, seconds: float, path: str = "/") -> Requests:
    """
    As many small GETs, answered with `BODY`, as `connections` kept alive can do in `seconds`, one at a time on each.

    By `wrk` where it is installed, for it costs the machine less than a client in Python.
    """
    wrk = shutil.which("wrk")
    return _wrk(wrk, port, connections, seconds, path) if wrk else _requests(port, connections, seconds, path)


def _wrk(wrk: str, port: int, connections: int, seconds: float, path: str) -> Requests:
    words = [wrk, "-t1", f"-c{connections}", f"-d{round(seconds)}", "--latency", f"http://127.0.0.1:{port}{path}"]
    text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    if "Socket errors" in text or "Non-2xx" in text:
        raise ConnectionError(text)

    def figure(label: str) -> tuple[float, str]:
        found = re.search(rf"{label}:?\s+([\d.]+)(us|ms|s|)", text)
        if found is None:
            raise ValueError(f"wrk did not print {label}:\n{text}")
        return float(found[1]), found[2]

    def latency(label: str) -> float:
        value, unit = figure(label)
        return value * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[unit]

    return Requests(per_second=figure("Requests/sec")[0], median=latency("50%"), p99=latency("99%"))


def _requests(port: int, connections: int, seconds: float, path: str) -> Requests:
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    sent: dict[int, float] = {}
    got: dict[int, bytes] = {}
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
        sent[sock.fileno()], got[sock.fileno()] = time.perf_counter(), b""
        sock.sendall(request)
    times: list[float] = []
    begin = now = time.perf_counter()
    while now - begin < seconds:
        for fd, _ in poll.poll(5) or _stuck():
            piece = sockets[fd].recv(CHUNK)
            if not piece:
                raise ConnectionError("a connection was closed under way")
            now = time.perf_counter()
            got[fd] += piece
            if got[fd].endswith(b"\r\n\r\n" + BODY):
                times.append(now - sent[fd])
                sent[fd], got[fd] = now, b""
                sockets[fd].send(request)
    for sock in sockets.values():
        sock.close()
    poll.close()
    times.sort()
    return Requests(
        per_second=len(times) / (now - begin), median=statistics.median(times), p99=times[int(len(times) * 0.99)]
    )


def _stuck() -> list[tuple[int, int]]:
    raise TimeoutError("no answer for 5 s")


if __name__ == "__main__":
    _front = listen()
    print(_front.getsockname()[1], flush=True)
    Target(_front).run()
