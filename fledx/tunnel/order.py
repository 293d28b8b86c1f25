"""
Whose frame goes next: urgent ones, then messages, then streams that were quiet, then bulk streams in turn.

Nothing of a stream is read from its source before it is its turn, so what waits here is small: frames of the session
itself, and a list of streams.
"""

from __future__ import annotations

from fledx.errors import LimitExceeded
from fledx.tunnel.flow import Flow

MAX_URGENT = 256 * 1024
MAX_MESSAGES = 2 * 1024 * 1024
SPARSE_RUN = 16
"""Frames of quiet streams in a row before one bulk stream gets its turn: many small ones must not starve it."""


class Order:
    """
    The lists of one session.

    Plain lists, because they are short and an empty one costs a tenth of an empty deque: ten thousand idle links count.
    """

    __slots__ = ("bulk", "message_bytes", "messages", "run", "sparse", "urgent", "urgent_bytes")

    def __init__(self) -> None:
        self.urgent: list[bytes] = []
        self.urgent_bytes = 0
        self.messages: list[bytes] = []
        self.message_bytes = 0
        self.sparse: list[Flow] = []
        self.bulk: list[Flow] = []
        self.run = 0

    def __bool__(self) -> bool:
        return bool(self.sparse or self.bulk or self.urgent or self.messages)

    def urge(self, frame: bytes) -> None:
        """Queue a frame that overtakes everything; raises LimitExceeded when the peer has long stopped taking them."""
        if self.urgent_bytes + len(frame) > MAX_URGENT:
            raise LimitExceeded(f"the peer leaves {MAX_URGENT} bytes of control frames unread")
        self.urgent.append(frame)
        self.urgent_bytes += len(frame)

    def tell(self, frame: bytes) -> None:
        """Queue a message; raises LimitExceeded when too many wait already."""
        if self.message_bytes + len(frame) > MAX_MESSAGES:
            raise LimitExceeded(f"{len(self.messages)} messages wait for the peer to take them", hint="try again later")
        self.messages.append(frame)
        self.message_bytes += len(frame)

    def ready(self, flow: Flow) -> None:
        """This stream, quiet until now, has something to send."""
        if not flow.queued:
            flow.queued = True
            flow.bulky = False
            self.sparse.append(flow)

    def again(self, flow: Flow) -> None:
        """This stream had a turn and has more to send."""
        if not flow.queued:
            flow.queued = True
            flow.bulky = True
            self.bulk.append(flow)

    def next(self) -> Flow | None:
        """The stream whose turn it is, taken off the list."""
        if self.sparse and (not self.bulk or self.run < SPARSE_RUN):
            self.run += 1
            flow = self.sparse.pop(0)
        elif self.bulk:
            self.run = 0
            flow = self.bulk.pop(0)
        else:
            return None
        flow.queued = False
        return flow

    def control_into(self, buffer: memoryview, quota: int) -> int:
        """Move urgent frames into `buffer`, then messages until `quota` bytes are reached; returns how many bytes."""
        used = _move(self.urgent, buffer, len(buffer))
        self.urgent_bytes -= used
        if self.messages and not self.urgent and used < quota:
            told = _move(self.messages, buffer[used:], quota - used)
            self.message_bytes -= told
            used += told
        return used


def _move(frames: list[bytes], buffer: memoryview, quota: int) -> int:
    """Copy whole frames until `quota` is reached or the next one does not fit; the last may go beyond the quota."""
    used = count = 0
    for frame in frames:
        end = used + len(frame)
        if used >= quota or end > len(buffer):
            break
        buffer[used:end] = frame
        used = end
        count += 1
    del frames[:count]
    return used
