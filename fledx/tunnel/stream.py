"""One multiplexed stream, for tasks that read and write it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fledx.errors import FledxError, Unavailable
from fledx.tunnel.flow import AT_END, DRY, LEFT, End, Flow
from fledx.tunnel.frames import error_for
from fledx.tunnel.held import PIECE, Held

TURN = 1024 * 1024
"""Bytes after which a sender that never had to wait lets others run."""


class Carrier(Protocol):
    """What a stream needs of its link."""

    def accept(self, flow: Flow, meta: Mapping[str, Any]) -> None:
        """Tell the peer that its stream is taken."""

    def ready(self, flow: Flow) -> None:
        """The stream has something to send."""

    def eaten(self, flow: Flow, amount: int) -> None:
        """The stream has used what arrived."""

    def leave(self, flow: Flow) -> None:
        """The stream reads no more."""

    def reset(self, flow: Flow, code: str, reason: str) -> None:
        """The stream is given up."""


class Stream:
    """
    A pipe of bytes each way, closed each way on its own.

    One task may receive and one may send at a time. What the peer sent before it reset the stream is still received;
    then the error it was reset with is raised (`frames.error_for`). ``answer`` is what the acceptor said on accepting.
    """

    __slots__ = (
        "_cargo",
        "_carrier",
        "_deaf",
        "_ended",
        "_ending",
        "_failure",
        "_inbox",
        "_reader",
        "_sender",
        "_since_turn",
        "answer",
        "flow",
        "kind",
        "meta",
        "on_failure",
    )

    def __init__(self, carrier: Carrier, flow: Flow, kind: str, meta: Mapping[str, Any]) -> None:
        self.kind = kind
        self.meta = meta
        self.answer: Mapping[str, Any] = {}
        self.flow = flow
        self.on_failure: Callable[[], None] | None = None
        self._carrier = carrier
        self._inbox = Held()
        self._cargo: memoryview | None = None
        self._since_turn = 0
        self._deaf = False
        self._ended = False
        self._ending = False
        self._failure: FledxError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._sender: asyncio.Future[None] | None = None
        flow.end = self

    @property
    def id(self) -> int:
        """The number of the stream on its link."""
        return self.flow.id

    @property
    def failure(self) -> FledxError | None:
        """What sending raises, and receiving once the rest is read: None while the stream is whole."""
        return self._failure

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: object) -> None:
        """Close after success; otherwise reset, so that the peer does not take a part for the whole."""
        if problem is None:
            await self.aclose()
        elif isinstance(problem, FledxError):
            self.reset(problem.text, code=problem.code)
        else:
            self.reset("the other side gave up")

    def accept(self, answer: Mapping[str, Any] | None = None) -> None:
        """
        Take the stream, before receiving or sending anything: the opener's `open` returns, with `answer`.

        Receiving or sending does so too; `reset` instead refuses it.
        """
        self._carrier.accept(self.flow, answer or {})

    async def receive(self, limit: int = PIECE) -> bytes:
        """
        At least one and at most `limit` bytes, ``b""`` when the peer has ended its side.

        Raises what the peer reset the stream with, or Unavailable when the link is lost.
        """
        self.accept()
        while not self._inbox:
            if self._ended:
                return b""
            if self._failure is not None:
                raise self._failure
            if self._reader is not None:
                raise RuntimeError("another task receives from this stream")
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self._inbox.first(limit)
        self._carrier.eaten(self.flow, len(data))
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """
        Send all of `data`, which must not change meanwhile; returns when the last byte has been framed.

        Raises what the peer reset the stream with, or Unavailable when the link is lost or the peer reads no more.
        """
        self._may_send()
        self.accept()
        self._cargo = memoryview(data).cast("B")
        self._carrier.ready(self.flow)
        self._since_turn += len(data)
        if self._cargo:
            await self._drained()
        elif self._since_turn > TURN:
            await asyncio.sleep(0)
        else:
            return
        self._since_turn = 0

    def _may_send(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._ending:
            raise RuntimeError("this stream's sending side is closed")
        if self._cargo:
            raise RuntimeError("another task sends on this stream")

    async def _drained(self) -> None:
        self._sender = asyncio.get_running_loop().create_future()
        try:
            if self._failure is None:
                await self._sender
        finally:
            self._sender = None
            unsent, self._cargo = self._cargo, None
        if unsent and self._failure is not None:
            raise self._failure

    async def send_eof(self) -> None:
        """Nothing more will be sent; the peer's side stays open."""
        self.accept()
        self._ending = True
        self._carrier.ready(self.flow)

    def reset(self, reason: str, *, code: str = "failed") -> None:
        """
        Give the stream up both ways, at once; what is unread or unsent is lost. On a finished stream it does nothing.

        The peer's calls raise the error of that `code` (`frames.error_for`) with `reason` as its text.
        """
        if self._failure is None:
            self._failure = Unavailable(f"this side has reset the stream: {reason}")
            self._inbox.clear()
            self._wake()
            if self.flow.end is not None and self.flow.end is not self:
                self.flow.end.failed(code, reason)
        self._carrier.reset(self.flow, code, reason)

    async def aclose(self) -> None:
        """End our side and read no more; what was sent still arrives. Never fails and may be repeated."""
        await self.send_eof()
        self._deaf = True
        self._carrier.eaten(self.flow, self._inbox.clear())
        self._carrier.leave(self.flow)

    def ready(self) -> None:
        """Whoever was handed the end has something to send."""
        self._carrier.ready(self.flow)

    def eaten(self, amount: int) -> None:
        """Whoever was handed the end has used `amount` bytes of what arrived."""
        self._carrier.eaten(self.flow, amount)

    def leave(self) -> None:
        """Whoever was handed the end reads no more."""
        self._carrier.leave(self.flow)

    def take(self, room: memoryview) -> int:
        """Part of what `send_all` was given (`End`)."""
        cargo = self._cargo
        if not cargo:
            return AT_END if self._ending else DRY
        size = min(len(room), len(cargo))
        room[:size] = cargo[:size]
        self._cargo = cargo[size:]
        if not self._cargo:
            _wake(self._sender)
        return size

    def arrived(self, piece: memoryview) -> None:
        """Keep a copy until it is received (`End`)."""
        if self._deaf or self._failure is not None:
            self._carrier.eaten(self.flow, len(piece))
            return
        self._inbox.add(piece)
        _wake(self._reader)

    def ended(self) -> None:
        """The peer sends nothing more (`End`)."""
        self._ended = True
        _wake(self._reader)

    def failed(self, code: str, reason: str) -> None:
        """The peer has reset the stream, or the link is lost (`End`)."""
        if self._failure is not None:
            return
        self._failure = error_for(code, reason)
        self._wake()
        if code == LEFT:
            self._ended = True
        elif self.on_failure is not None:
            self.on_failure()

    def _wake(self) -> None:
        _wake(self._reader)
        _wake(self._sender)

    def hand_over(self, end: End) -> None:
        """Give the stream's end to `end`, with what has arrived and happened so far."""
        self.accept()
        inbox, self._inbox = self._inbox, Held()
        self.flow.end = end
        while inbox:
            piece = inbox.head()
            end.arrived(piece)
            inbox.drop(len(piece))
        if self._ended:
            end.ended()
        if self._failure is not None:
            end.failed(self._failure.code, self._failure.text)


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
