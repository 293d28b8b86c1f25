"""The seam between the client and the network: a request goes in, a response comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fledx.client.http1 import Head, Request
from fledx.errors import LimitExceeded, Unavailable

MAX_BODY = 64 * 1024 * 1024


class Response:
    """
    An answer whose body is read when it is wanted; to be closed.

    `receive(wait)` gives the next bytes of the body, b"" at its end, and None when nothing came for `wait` seconds.
    """

    def __init__(
        self,
        head: Head,
        receive: Callable[[float | None], bytes | None],
        close: Callable[[], None] = lambda: None,
        *,
        silence: float | None = None,
        peer: str = "the control plane",
    ) -> None:
        self.status = head.status
        self.reason = head.reason
        self.headers = head.headers
        self.receive = receive
        self.close = close
        self._silence = silence
        self._peer = peer

    def read(self) -> bytes:
        """The whole body; Unavailable when it stops coming."""
        pieces: list[bytes] = []
        size = 0
        while (piece := self.receive(self._silence)) != b"":
            if piece is None:
                self.close()
                raise silent(self._peer, self._silence or 0)
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BODY:
                self.close()
                raise LimitExceeded(f"{self._peer} sent more than {MAX_BODY // 2**20} MiB")
        return b"".join(pieces)


class Transport(Protocol):
    """Carries requests to one control plane."""

    def send(self, request: Request) -> Response:
        """The head of the answer; Unavailable when none comes."""

    def close(self) -> None:
        """Let go of every connection."""


def silent(peer: str, seconds: float) -> Unavailable:
    """Nothing came for so long that it is an error."""
    return Unavailable(
        f"no answer from {peer} for {seconds:g} seconds", hint="it may be overloaded or cut off; --timeout waits longer"
    )
