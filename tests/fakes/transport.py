"""A transport without a network: a function turns each request into an answer, and silences cost no time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fledx.client.http1 import Head, Request
from fledx.client.transport import Response


class Clock:
    """Seconds that pass only when something waits."""

    def __init__(self, at: float = 0.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


@dataclass(frozen=True, kw_only=True)
class Answer:
    """
    What a request gets.

    ``pieces`` are the body as it arrives: bytes, seconds of silence, or an exception that breaks the stream.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: Iterable[bytes | float | BaseException] = ()


def json_answer(value: Any, status: int = 200, **headers: str) -> Answer:
    """A JSON body, whole."""
    kind = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    return Answer(status=status, headers=kind, pieces=[json.dumps(value).encode()])


def error_answer(status: int, text: str, code: str = "error", **more: Any) -> Answer:
    """An error as the API tells it."""
    return json_answer({"error": text, "code": code, "request_id": "r-1", **more}, status)


def events_answer(*items: Any) -> Answer:
    """A stream of server-sent events: dicts are data, pairs are (event, data), numbers are seconds of silence."""
    return Answer(headers={"content-type": "text/event-stream"}, pieces=[_event(item) for item in items])


def lines_answer(*items: Any) -> Answer:
    """A stream of newline-delimited JSON; numbers are seconds of silence."""
    pieces = [item if isinstance(item, float | BaseException) else json.dumps(item).encode() + b"\n" for item in items]
    return Answer(headers={"content-type": "application/x-ndjson"}, pieces=pieces)


def _event(item: Any) -> bytes | float | BaseException:
    if isinstance(item, float | BaseException):
        return item
    kind, data = item if isinstance(item, tuple) else (None, item)
    head = f"event: {kind}\n" if kind else ""
    number = f"id: {data['id']}\n" if isinstance(data, dict) and "id" in data else ""
    return f"{head}{number}data: {json.dumps(data)}\n\n".encode()


class FakeTransport:
    """Answers by a function, remembers every request, and moves a clock where a reader waits."""

    def __init__(self, answer: Callable[[Request], Answer], clock: Clock | None = None) -> None:
        self._answer = answer
        self.clock = clock or Clock()
        self.requests: list[Request] = []
        self.closed = False

    def send(self, request: Request) -> Response:
        self.requests.append(request)
        answer = self._answer(request)
        head = Head(status=answer.status, reason="", headers=answer.headers)
        return Response(head, _Pieces(iter(answer.pieces), self.clock).receive, silence=30.0, peer="the fake")

    def close(self) -> None:
        self.closed = True

    def asked(self) -> list[str]:
        """The requests so far, as `METHOD target`."""
        return [f"{request.method} {request.target}" for request in self.requests]


class _Pieces:
    def __init__(self, pieces: Iterator[bytes | float | BaseException], clock: Clock) -> None:
        self._pieces = pieces
        self.clock = clock
        self._quiet = 0.0

    def receive(self, wait: float | None) -> bytes | None:
        left = float("inf") if wait is None else wait
        while True:
            passed = min(left, self._quiet)
            self.clock.at += passed
            self._quiet -= passed
            left -= passed
            if left <= 0 and wait is not None:
                return None
            piece = next(self._pieces, b"")
            if isinstance(piece, BaseException):
                raise piece
            if isinstance(piece, bytes):
                return piece
            self._quiet = piece
