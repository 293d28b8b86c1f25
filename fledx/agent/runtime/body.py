"""
The body of an engine's streaming answer (logs, events, pulls), read by the event loop and not by a thread.

docker-py asks the question and reads the headers; then the socket is taken from under it. So a stream that is silent
for a week costs no thread, and cancelling one is closing its socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from fledx.errors import Unavailable

PIECE = 64 * 1024
MAX_LINE = 1024 * 1024
MAX_SIZE_LINE = 4096


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
        self._left = length if not chunked else 0
        self._between = False
        self._ended = not chunked and length == 0

    async def receive(self) -> bytes:
        """All that has arrived, at least a byte; b"" at the end. Raises Unavailable if the engine hung up before it."""
        while True:
            data = self._unwrapped() if self._chunked else self._counted()
            if data or self._ended:
                return data
            if not await self._fill():
                if self._chunked or self._left:
                    raise Unavailable("Docker hung up in the middle of an answer")
                self._ended = True

    async def send(self, data: bytes) -> None:
        """Write to the engine, where it has let us (an upgraded connection); Unavailable once it reads no more."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._sock, data)
        except OSError as problem:
            raise Unavailable(f"Docker takes no more input: {problem.strerror or problem}") from None

    def end(self) -> None:
        """Nothing more will be written; what comes is still read."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def _counted(self) -> bytes:
        data = bytes(self._raw if self._left is None else self._raw[: self._left])
        del self._raw[: len(data)]
        if self._left is not None:
            self._left -= len(data)
            self._ended = self._left == 0
        return data

    def _unwrapped(self) -> bytes:
        """
        The content of all chunks that are here, as far as it is here (RFC 9112, 7.1).

        A chunk is its size in hex, CRLF, the content, CRLF; the last one has size 0, and nobody needs the trailers.
        """
        data = bytearray()
        while self._raw and not self._ended:
            if self._left:
                piece = self._raw[: self._left]
                data += piece
                del self._raw[: len(piece)]
                self._left -= len(piece)
                self._between = self._left == 0
                continue
            if (end := self._raw.find(b"\r\n", 2 if self._between else 0)) < 0:
                if len(self._raw) > MAX_SIZE_LINE:
                    raise Unavailable("Docker sent an answer that is not HTTP")
                break
            self._left = _size(bytes(self._raw[2 if self._between else 0 : end]))
            del self._raw[: end + 2]
            self._between, self._ended = False, self._left == 0
        return bytes(data)

    async def _fill(self) -> bool:
        try:
            data = await asyncio.get_running_loop().sock_recv(self._sock, PIECE)
        except OSError as problem:
            raise Unavailable(f"Docker hung up: {problem}") from None
        self._raw += data
        return bool(data)


def _size(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        raise Unavailable("Docker sent an answer that is not HTTP") from None


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


async def frames(body: Body) -> AsyncIterator[list[tuple[str, bytes]]]:
    """
    The frames of Docker's multiplexed stream, those that have arrived together as one list.

    A frame is ``stdout`` or ``stderr`` and what was written: 8 bytes of header (stream, three zeros, length as
    big-endian 32 bits) and the payload. A log entry is one frame. Payloads over 64 KiB are handed on in pieces.
    """
    buffer = bytearray()
    stream, left = "stdout", 0
    while data := await body.receive():
        buffer += data
        found: list[tuple[str, bytes]] = []
        at = 0
        while len(buffer) - at >= (8 if left == 0 else min(left, PIECE)):
            if left == 0:
                stream = "stderr" if buffer[at] == 2 else "stdout"
                left = int.from_bytes(buffer[at + 4 : at + 8], "big")
                at += 8
                continue
            size = min(left, PIECE)
            found.append((stream, bytes(buffer[at : at + size])))
            at += size
            left -= size
        del buffer[:at]
        if found:
            yield found
    if left and buffer:
        yield [(stream, bytes(buffer))]
