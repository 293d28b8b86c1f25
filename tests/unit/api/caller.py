"""Calls an ASGI application as a server would, in the same loop."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream
from starlette.types import ASGIApp, Message, Scope


@dataclass
class Answer:
    """What came back; header names are in lower case."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reading:
    """A stream that is being read: `head` came, `chunks` come, `leave` is the reader going away."""

    head: Answer
    chunks: MemoryObjectReceiveStream[bytes]
    leave: anyio.Event
    ended: anyio.Event

    async def until(self, text: bytes) -> bytes:
        """All that comes up to and with a chunk that holds `text`; fails after five seconds."""
        found = b""
        with anyio.fail_after(60):
            while text not in found:
                found += await self.chunks.receive()
        return found

    async def rest(self) -> bytes:
        """All that comes until the end; fails after five seconds."""
        with anyio.fail_after(60):
            return b"".join([chunk async for chunk in self.chunks])


class Caller:
    """One client of an application, at an address, with an operator's token."""

    def __init__(self, app: ASGIApp, *, address: str = "203.0.113.9", token: str | None = "operator") -> None:
        self.app = app
        self.address = address
        self.token = token

    async def __call__(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | list[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        raw_headers: list[tuple[bytes, bytes]] | None = None,
        token: str | None = "",
    ) -> Answer:
        """A request with a whole answer; `token` "" is the client's own, None is none."""
        pieces = _pieces(json, body)
        scope = self._scope(method, path, headers or {}, token, typed=json is not None)
        scope["headers"] += raw_headers or []
        answer, gone = Answer(), anyio.Event()

        async def receive() -> Message:
            if pieces:
                return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            _take(answer, message)

        with anyio.fail_after(60):
            await self.app(scope, receive, send)
        return answer

    @asynccontextmanager
    async def reading(
        self, path: str, *, headers: Mapping[str, str] | None = None, slow: bool = False
    ) -> AsyncIterator[Reading]:
        """A stream, entered once its head is there; `slow` readers take nothing before they are asked to."""
        send_side, receive_side = anyio.create_memory_object_stream[bytes](0 if slow else 1000)
        reading = Reading(Answer(), receive_side, anyio.Event(), anyio.Event())
        headed, asked = anyio.Event(), False

        async def receive() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await reading.leave.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            _take(reading.head, message)
            headed.set()
            if message["type"] == "http.response.body":
                await send_side.send(message.get("body", b""))

        async def run() -> None:
            with send_side:
                await self.app(self._scope("GET", path, headers or {}, ""), receive, send)
            headed.set()
            reading.ended.set()

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            with receive_side:
                with anyio.fail_after(60):
                    await headed.wait()
                yield reading
                reading.leave.set()
                await anyio.wait_all_tasks_blocked()
            with anyio.move_on_after(60) as limit:
                await reading.ended.wait()
            group.cancel_scope.cancel()
            assert not limit.cancelled_caught, "the stream did not end when its reader left"

    def _scope(
        self, method: str, path: str, headers: Mapping[str, str], token: str | None, *, typed: bool = False
    ) -> Scope:
        path, _, query = path.partition("?")
        found = {"host": "cp.example.com", **({"content-type": "application/json"} if typed else {}), **headers}
        if (token := self.token if token == "" else token) is not None:
            found.setdefault("authorization", f"Bearer {token}")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.1"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in found.items()],
            "client": (self.address, 40000),
            "server": ("127.0.0.1", 8080),
        }


def _pieces(value: Any, body: bytes | list[bytes] | None) -> list[bytes]:
    if value is not None:
        return [json.dumps(value).encode()]
    if isinstance(body, list):
        return list(body)
    return [body or b""]


def _take(answer: Answer, message: Message) -> None:
    if message["type"] == "http.response.start":
        assert not answer.status, "the answer was started twice"
        answer.status = message["status"]
        answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
    else:
        answer.body += message.get("body", b"")
