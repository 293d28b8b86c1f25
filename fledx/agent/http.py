"""The agent's own small HTTP endpoint, on loopback by default, and the questions it asks of Envoy's."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import h11
from anyio.abc import ByteStream, SocketStream

from fledx.errors import Unavailable

logger = logging.getLogger(__name__)

REQUEST_SECS = 10.0
MAX_CLIENTS = 32
MAX_ANSWER = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A whole response."""

    status: int
    kind: str
    body: bytes


Page = Callable[[], Answer]
Asked = Callable[[str], Awaitable[Answer]]
"""A page that somebody else answers; takes the query behind the path, without its `?`."""
NONE: Mapping[str, Asked] = {}


def as_json(status: int, content: Mapping[str, Any]) -> Answer:
    """An object as JSON, one line."""
    return Answer(status=status, kind="application/json", body=json.dumps(content).encode() + b"\n")


async def serve(
    host: str, port: int, pages: Mapping[str, Page], what: str, *, asked: Mapping[str, Asked] = NONE
) -> None:
    """
    Answer GET and HEAD for these paths until cancelled.

    A port that is taken is no reason for a node to stop working: it is warned of, and nothing is served.
    """
    try:
        listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
    except OSError as problem:
        logger.warning("%s is not served", what, extra={"address": f"{host}:{port}", "reason": _reason(problem)})
        return
    limit = anyio.CapacityLimiter(MAX_CLIENTS)

    async def client(stream: SocketStream) -> None:
        async with stream, limit:
            with anyio.move_on_after(REQUEST_SECS):
                await _answer(stream, pages, asked)

    async with listener:
        await listener.serve(client)


async def _answer(stream: SocketStream, pages: Mapping[str, Page], asked: Mapping[str, Asked]) -> None:
    """One request a connection; whatever is not HTTP is answered with 400 and forgotten."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=16 * 1024)
    try:
        request = await _request(stream, connection)
        if request is None:
            return
        answer, head = await _page(request, pages, asked), request.method == b"HEAD"
    except h11.RemoteProtocolError as problem:
        answer, head = as_json(400, {"error": str(problem), "code": "invalid"}), False
    try:
        await stream.send(_encoded(connection, answer, head=head))
    except (anyio.BrokenResourceError, h11.LocalProtocolError):
        return


async def _request(stream: SocketStream, connection: h11.Connection) -> h11.Request | None:
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        try:
            connection.receive_data(await stream.receive())
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return None


async def _page(request: h11.Request, pages: Mapping[str, Page], asked: Mapping[str, Asked]) -> Answer:
    path, _, query = request.target.decode("ascii", "replace").partition("?")
    if path not in pages and path not in asked:
        known = ", ".join(sorted({*pages, *asked}))
        return as_json(404, {"error": f"there are only {known}", "code": "not_found"})
    if request.method not in (b"GET", b"HEAD"):
        return as_json(405, {"error": "only GET is answered", "code": "invalid"})
    return pages[path]() if path in pages else await asked[path](query)


def _encoded(connection: h11.Connection, answer: Answer, *, head: bool) -> bytes:
    headers = [("Content-Type", answer.kind), ("Content-Length", str(len(answer.body))), ("Connection", "close")]
    data = connection.send(h11.Response(status_code=answer.status, headers=headers)) or b""
    if not head:
        data += connection.send(h11.Data(data=answer.body)) or b""
    return data + (connection.send(h11.EndOfMessage()) or b"")


async def ask(path: str, target: str, *, seconds: float) -> Answer:
    """What a server at a unix socket answers to a GET; Unavailable when nobody does in time."""
    try:
        with anyio.fail_after(seconds):
            async with await anyio.connect_unix(path) as stream:
                return await _asked(stream, target)
    except TimeoutError:
        raise Unavailable(f"no answer within {seconds:g} s") from None
    except (OSError, h11.ProtocolError, anyio.EndOfStream, anyio.BrokenResourceError) as problem:
        raise Unavailable(f"no answer: {problem or type(problem).__name__}") from None


async def _asked(stream: ByteStream, target: str) -> Answer:
    connection = h11.Connection(h11.CLIENT)
    headers = [("Host", "localhost"), ("Connection", "close")]
    await stream.send(
        (connection.send(h11.Request(method="GET", target=target, headers=headers)) or b"")
        + (connection.send(h11.EndOfMessage()) or b"")
    )
    head, body = h11.Response(status_code=502, headers=[]), bytearray()
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive())
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_ANSWER:
                raise Unavailable(f"the answer is longer than {MAX_ANSWER} bytes")
    kind = dict(head.headers).get(b"content-type", b"text/plain").decode("ascii", "replace")
    return Answer(status=head.status_code, kind=kind, body=bytes(body))


def _reason(problem: OSError) -> str:
    inner = problem.__cause__
    while inner is not None and getattr(inner, "exceptions", None):
        inner = inner.exceptions[0]  # type: ignore[attr-defined]
    return str(inner or problem)
