"""
The body of an engine's streaming answer (logs, events, pulls), read by the event loop and not by a thread.

docker-py asks the question and reads the headers; then the socket is taken from under it. So a stream that is silent
for a week costs no thread, and cancelling one is closing its socket.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

from fledx.errors import Unavailable

PIECE = 64 * 1024
MAX_LINE = 1024 * 1024


class Body:
    """
    The bytes of one answer, without HTTP's framing.

    `head` is what was read from the socket beyond the headers; `chunked` and `length` are what the headers said, and
    with neither the body ends with the connection.
    """

    def __init__(self, sock: socket.socket, head: bytes, *, chunked: bool, length: int | None) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._raw = bytearray(head)
        self._chunked = chunked
        self._left = 0 if chunked else length
        self._first = True
        self._ended = False

    async def receive(self) -> bytes:
        """What has arrived, at least a byte; b"" at the end. Raises Unavailable when the engine hung up before it."""
        if not self._chunked:
            return await self._plain()
        if self._left == 0:
            await self._next_chunk()
        if self._ended:
            return b""
        return await self._some(self._left or 0)

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    async def _plain(self) -> bytes:
        if self._left is not None:
            return b"" if self._left == 0 else await self._some(self._left)
        if not self._raw and not await self._fill():
            return b""
        data = bytes(self._raw)
        self._raw.clear()
        return data

    async def _some(self, most: int) -> bytes:
        if not self._raw and not await self._fill():
            raise Unavailable("Docker hung up in the middle of an answer")
        data = bytes(self._raw[:most])
        del self._raw[:most]
        self._left = most - len(data)
        return data

    async def _next_chunk(self) -> None:
        """Read a chunk's size line (RFC 9112, 7.1); the last chunk has size 0, and nobody needs the trailers."""
        if not self._first:
            await self._line()
        self._first = False
        size = (await self._line()).partition(b";")[0]
        try:
            self._left = int(size, 16)
        except ValueError:
            raise Unavailable("Docker sent an answer that is not HTTP") from None
        self._ended = self._left == 0

    async def _line(self) -> bytes:
        while (end := self._raw.find(b"\r\n")) < 0:
            if len(self._raw) > PIECE or not await self._fill():
                raise Unavailable("Docker hung up in the middle of an answer")
        line = bytes(self._raw[:end])
        del self._raw[: end + 2]
        return line

    async def _fill(self) -> bool:
        try:
            data = await asyncio.get_running_loop().sock_recv(self._sock, PIECE)
        except OSError as problem:
            raise Unavailable(f"Docker hung up: {problem}") from None
        self._raw += data
        return bool(data)


async def lines(body: Body) -> AsyncIterator[bytes]:
    """The lines of a body without their ends; one over 1 MiB ends the stream."""
    buffer = bytearray()
    while data := await body.receive():
        buffer += data
        if len(buffer) > MAX_LINE:
            raise Unavailable("Docker sent a line over 1 MiB")
        *whole, rest = buffer.split(b"\n")
        buffer = bytearray(rest)
        for line in whole:
            if line.strip():
                yield bytes(line)
    if buffer.strip():
        yield bytes(buffer)


async def frames(body: Body) -> AsyncIterator[tuple[str, bytes]]:
    """
    The frames of Docker's multiplexed stream: ``stdout`` or ``stderr``, and what was written.

    A frame is 8 bytes of header (stream, three zeros, length as big-endian 32 bits) and its payload; a log entry is one
    frame. Payloads over 64 KiB are handed on in pieces.
    """
    buffer = bytearray()
    stream, left = "stdout", 0
    while data := await body.receive():
        buffer += data
        while buffer:
            if left == 0:
                if len(buffer) < 8:
                    break
                stream, left = ("stderr" if buffer[0] == 2 else "stdout"), int.from_bytes(buffer[4:8], "big")
                del buffer[:8]
                continue
            if len(buffer) < min(left, PIECE):
                break
            size = min(left, PIECE)
            yield stream, bytes(buffer[:size])
            del buffer[:size]
            left -= size
    if left and buffer:
        yield stream, bytes(buffer)
