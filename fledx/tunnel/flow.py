"""What the session knows of one stream, and the seam to whoever holds its local end."""

from __future__ import annotations

from typing import Protocol

from fledx.tunnel.credit import Window

DRY = 0
AT_END = -1
LEFT = "left"
"""Code of a RESET that follows an END: all was said, nothing more is read."""


class End(Protocol):
    """The local end of a stream: a socket, another stream, or a task that reads and writes."""

    def take(self, room: memoryview) -> int:
        """
        Put what is to be sent into `room`; returns how much, `DRY` for nothing now, `AT_END` for never again.

        Less than `room` means that there is no more now. An empty `room` asks whether the end is reached.
        """

    def arrived(self, piece: memoryview) -> None:
        """Bytes from the peer, valid only during the call."""

    def ended(self) -> None:
        """The peer sends nothing more."""

    def failed(self, code: str, reason: str) -> None:
        """The stream was reset or its link is lost; nothing follows."""


class Flow:
    """
    Credit, turn and ends of one stream.

    ``credit`` is what may be sent, ``window`` what may arrive. ``parked`` says that there is something to send and no
    credit for it; ``queued`` that it waits for its turn, and ``bulky`` that it does so because one was not enough.
    ``ended`` is the peer's half, ``sent_end`` ours; ``leaving`` when the peer need not send more after that.
    ``released`` when the local side is done with it, ``dead`` when it sends and receives nothing more.
    """

    __slots__ = (
        "accepted",
        "bulky",
        "credit",
        "dead",
        "end",
        "ended",
        "id",
        "leaving",
        "ours",
        "parked",
        "queued",
        "released",
        "sent_end",
        "window",
    )

    def __init__(self, id: int, *, ours: bool, credit: int, window: Window) -> None:
        self.id = id
        self.ours = ours
        self.credit = credit
        self.window = window
        self.accepted = False
        self.queued = False
        self.bulky = False
        self.parked = False
        self.leaving = False
        self.released = False
        self.sent_end = False
        self.ended = False
        self.dead = False
        self.end: End | None = None
