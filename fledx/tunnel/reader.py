"""Cuts a byte stream into frames, whatever pieces it arrives in."""

from __future__ import annotations

from collections.abc import Iterator

from fledx.tunnel.frames import DATA, HEADER_SIZE, HEARTBEAT, NIL, RULES, malformed, read_header


class FrameReader:
    """
    Holds at most one header and one control payload; DATA is handed on as it arrives, never gathered.

    ``allowed`` are the kinds that may come now. It is asked as soon as a header is whole, so that a stranger cannot
    make us hold what it may not send.
    """

    __slots__ = ("_head", "_kind", "_left", "_payload", "_stream", "allowed")

    def __init__(self, allowed: frozenset[int]) -> None:
        self.allowed = allowed
        self._head = b""
        self._kind = 0
        self._stream = 0
        self._left = 0
        self._payload: bytearray | None = None

    def read(self, data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
        """
        Yield kind, stream and payload: views into `data`, DATA perhaps in several pieces, all others whole.

        Raises Unavailable or LimitExceeded where the bytes stop being frames; nothing may be read after that.
        """
        offset, size = 0, len(data)
        while offset < size:
            if not self._left:
                offset = self._begin(data, offset)
                if self._head:
                    return
                if not self._left:
                    yield self._kind, self._stream, data[offset:offset]
                if not self._left or offset == size:
                    continue
            end = min(size, offset + self._left)
            piece = data[offset:end]
            offset = end
            self._left -= len(piece)
            if self._kind == DATA:
                yield DATA, self._stream, piece
            elif not self._left and self._payload is None:
                yield self._kind, self._stream, piece
            else:
                yield from self._gather(piece)

    def _begin(self, data: memoryview, offset: int) -> int:
        """Read the next header, perhaps begun before `data`; returns the offset behind it."""
        if data[offset] == NIL and not self._head:
            kind, stream, length = HEARTBEAT, 0, 0
            offset += 1
        elif self._head or len(data) - offset < HEADER_SIZE:
            missing = HEADER_SIZE - len(self._head)
            head = self._head + data[offset : offset + missing]
            offset += len(head) - len(self._head)
            if len(head) < HEADER_SIZE:
                self._head = head
                return offset
            self._head = b""
            kind, stream, length = read_header(head)
        else:
            kind, stream, length = read_header(data, offset)
            offset += HEADER_SIZE
        if kind not in self.allowed:
            raise malformed(f"this {RULES[kind].name} frame is out of place here")
        self._kind, self._stream, self._left = kind, stream, length
        return offset

    def _gather(self, piece: memoryview) -> Iterator[tuple[int, int, memoryview]]:
        if self._payload is None:
            self._payload = bytearray()
        self._payload += piece
        if not self._left:
            payload, self._payload = self._payload, None
            yield self._kind, self._stream, memoryview(payload)
