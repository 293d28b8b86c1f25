"""One request and its answer over HTTP: those of others to the agent, and the agent's to Envoy."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import h11
from anyio.abc import ByteStream, SocketStream

from fledx.agent.answers import Answer, Asked, Page, as_json
from fledx.errors import Unavailable

MAX_ANSWER = 64 * 1024 * 1024


async def answer(stream: SocketStream, pages: Mapping[str, Page], asked: Mapping[str, Asked]) -> None:
    """One request a connection; whatever is not HTTP is answered with 400 and forgotten."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=16 * 1024)
    try:
        request = await _request(stream, connection)
        if request is None:
            return
        found, head = await _page(request, pages, asked), request.method == b"HEAD"
    except h11.RemoteProtocolError as problem:
        found, head = as_json(400, {"error": str(problem), "code": "invalid"}), False
    try:
        await stream.send(_encoded(connection, found, head=head))
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
