"""The outermost layer: gives each request its id, counts it, and answers what nobody else did."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Iterable, Mapping

import anyio
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fledx import tracing
from fledx.control_plane.api.errors import refusal, unexpected
from fledx.control_plane.metrics import Metrics

LOG = logging.getLogger(__name__)
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
NO_TRACE = "0" * 32
MAX_HEADERS = 100
MAX_HEADER_BYTES = 16 * 1024
DRAIN_BYTES = 16 * 1024 * 1024
DRAIN_SECONDS = 5.0
READING = ("GET", "HEAD", "OPTIONS")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Upload:
    """
    A request's body on its way in.

    A client that still sends when the connection closes never sees the answer (TCP resets it), so what nobody read of a
    refused body is let run dry, within limits, before the answer ends.
    """

    def __init__(self, receive: Receive, headers: Mapping[str, str]) -> None:
        self._receive = receive
        self.whole = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers

    async def receive(self) -> Message:
        """The next message, as ASGI has it."""
        message = await self._receive()
        self.whole = self.whole or not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read on to the end, or to the limits."""
        left = DRAIN_BYTES
        with anyio.move_on_after(DRAIN_SECONDS):
            while left > 0 and not self.whole:
                left -= len((await self.receive()).get("body", b""))


class Edge:
    """
    ASGI around the whole application.

    Puts `fledx.request_id` and `fledx.headers` (lower-case names, repeated ones joined by a comma) into the scope.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, started = time.perf_counter(), False
        headers = joined(scope["headers"])
        scope["fledx.headers"] = headers
        request_id = scope["fledx.request_id"] = request_id_of(headers)
        upload = Upload(receive, headers)

        async def named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
                self._count(scope, message["status"], time.perf_counter() - began)
            elif not upload.whole and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await upload.drain()
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        with tracing.working_for(request_id):
            try:
                await self._answer(scope, upload, named, request_id)
            except ClientDisconnect:
                return
            except Exception:
                LOG.exception("a request failed unexpectedly", extra={**_facts(scope), tracing.FIELD: request_id})
                if not started:
                    await unexpected(request_id)(scope, receive, named)

    async def _answer(self, scope: Scope, upload: Upload, send: Send, request_id: str) -> None:
        if _too_much(scope["headers"]):
            refused = refusal(431, "the request's headers are too many or too large", request_id)
            await refused(scope, upload.receive, send)
        else:
            await self._app(scope, upload.receive, send)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        """What may change something is told in the log; reading is told where the log shows all."""
        facts = _facts(scope)
        method = facts["method"]
        self._metrics.answered(method, facts["route"], status, seconds)
        level = logging.DEBUG if method in READING else logging.INFO
        if LOG.isEnabledFor(level):
            LOG.log(level, "answered", extra={**facts, "status": status, "seconds": round(seconds, 4)})


def _facts(scope: Scope) -> dict[str, str]:
    """What was asked, in words from small sets."""
    return {"method": scope["method"] if scope["method"] in METHODS else "other", "route": route_of(scope)}


def route_of(scope: Scope) -> str:
    """The template of the path, never the path itself: a stranger could make as many of those as he likes."""
    route = scope.get("route")
    return "unmatched" if route is None else str(route.path)


def joined(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name."""
    found: dict[str, str] = {}
    for key, value in raw:
        name, text = key.decode("latin-1").lower(), value.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def _too_much(raw: list[tuple[bytes, bytes]]) -> bool:
    return len(raw) > MAX_HEADERS or sum(len(name) + len(value) for name, value in raw) > MAX_HEADER_BYTES


def request_id_of(headers: Mapping[str, str]) -> str:
    """The caller's own id (`x-request-id`, else the trace of a W3C `traceparent`), or a new one."""
    if tracing.REQUEST_ID.fullmatch(given := headers.get("x-request-id", "")):
        return given
    trace = TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return trace[1] if trace and trace[1] != NO_TRACE else secrets.token_hex(16)
