"""Bytes that wait for whoever takes them, in the order they came."""

from __future__ import annotations

PIECE = 64 * 1024
"""Bytes are kept in pieces of at most this, so that a `receive` of the usual limit copies nothing again."""

CRUMB = 4 * 1024
"""Pieces up to this size are gathered: a peer must not make us hold an object for every byte."""


class Held:
    """How much may be held is the window's business; ``size`` is how much is."""

    __slots__ = ("_pieces", "_start", "size")

    def __init__(self) -> None:
        self._pieces: list[bytes | bytearray] = []
        self._start = 0
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def add(self, piece: memoryview) -> None:
        """Keep a copy of `piece`."""
        self.size += len(piece)
        if len(piece) > CRUMB:
            self._pieces += [bytes(piece[start : start + PIECE]) for start in range(0, len(piece), PIECE)]
            return
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, bytearray) and len(last) <= PIECE - CRUMB:
            last += piece
        else:
            self._pieces.append(bytearray(piece))

    def head(self) -> memoryview:
        """The first bytes, as many as lie together; at least one must be held."""
        first = self._pieces[0]
        if isinstance(first, bytearray):
            first = self._pieces[0] = bytes(first)
        return memoryview(first)[self._start :]

    def drop(self, count: int) -> None:
        """Forget the first `count` bytes, no more than `head` returned."""
        self.size -= count
        self._start += count
        if self._start >= len(self._pieces[0]):
            del self._pieces[0]
            self._start = 0

    def first(self, limit: int) -> bytes:
        """Take at most `limit` bytes off the front; at least one must be held."""
        piece = self._pieces[0]
        whole = not self._start and len(piece) <= limit
        data = bytes(piece if whole else self.head()[:limit])
        self.drop(len(data))
        return data

    def into(self, room: memoryview) -> int:
        """Move as much as fits into `room`; returns how much."""
        size = 0
        while self._pieces and size < len(room):
            part = self.head()[: len(room) - size]
            room[size : size + len(part)] = part
            size += len(part)
            self.drop(len(part))
        return size

    def clear(self) -> int:
        """Forget everything; returns how much it was."""
        size, self.size = self.size, 0
        self._pieces.clear()
        self._start = 0
        return size
