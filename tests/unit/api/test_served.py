"""The API behind its real server, on loopback: what only bytes on a socket can show."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import anyio
import anyio.abc
import pytest

from fledx.control_plane import web
from tests.unit.api.site import Site

pytestmark = pytest.mark.anyio
HOST = b"Host: cp.example.com\r\n"
TOKEN = b"Authorization: Bearer operator\r\n"
CLOSE = b"Connection: close\r\n\r\n"
POST = b"POST /api/v1/deployments HTTP/1.1\r\nContent-Type: application/json\r\n" + HOST


class Served:
    """A site and the port it is served on."""

    def __init__(self, site: Site, port: int) -> None:
        self.site = site
        self.port = port

    async def says(self, *parts: bytes) -> bytes:
        """All that comes back until the server closes the connection."""
        async with await anyio.connect_tcp("127.0.0.1", self.port) as connection:
            for part in parts:
                await connection.send(part)
            found = b""
            with anyio.fail_after(60):
                while not found.endswith(b"0\r\n\r\n"):
                    try:
                        found += await connection.receive()
                    except anyio.EndOfStream:
                        break
            return found


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """Served as `run.py` does, until the test ends."""
    site = await Site().with_web()
    opened = web.listening("127.0.0.1", 0, "API", "--server-port")
    port = opened.getsockname()[1]
    async with anyio.create_task_group() as group:
        group.start_soon(web.serve, site.app, opened, None, site.stopping)
        yield Served(site, port)
        site.stopping.set()


@pytest.mark.parametrize("headers", [TOKEN, b""], ids=["too large", "no token"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_a_client_that_sends_its_whole_large_body_first_still_hears_why_it_was_refused(
    served: Served, headers: bytes, framing: str
) -> None:
    size, block = 4 * 2**20, b"x" * 65536
    if framing == "length":
        parts = [POST + headers + b"Content-Length: %d\r\n" % size + CLOSE, *[block] * (size // len(block))]
    else:
        chunk = b"%x\r\n%s\r\n" % (len(block), block)
        parts = [
            POST + headers + b"Transfer-Encoding: chunked\r\n" + CLOSE,
            *[chunk] * (size // len(block)),
            b"0\r\n\r\n",
        ]

    answer = await served.says(*parts)

    assert answer.startswith(b"HTTP/1.1 413 " if headers else b"HTTP/1.1 401 ")
    assert b'"request_id"' in answer


async def test_requests_on_a_kept_connection_are_answered_as_soon_as_those_on_new_ones(served: Served) -> None:
    async def answered(connection: anyio.abc.ByteStream) -> float:
        began = time.perf_counter()
        await connection.send(b"GET /api/v1/status HTTP/1.1\r\n" + HOST + TOKEN + b"\r\n")
        found = b""
        while not found.endswith(b"}"):
            found += await connection.receive()
        return time.perf_counter() - began

    fresh = []
    for _ in range(10):
        async with await anyio.connect_tcp("127.0.0.1", served.port) as connection:
            fresh.append(await answered(connection))
    async with await anyio.connect_tcp("127.0.0.1", served.port) as connection:
        kept = [await answered(connection) for _ in range(20)]

    assert min(kept[10:]) < 3 * min(fresh)


async def test_an_honest_create_over_a_socket(served: Served) -> None:
    body = b'{"image":"nginx","name":"shop"}'

    answer = await served.says(POST + TOKEN + b"Content-Length: %d\r\n" % len(body) + CLOSE + body)

    assert answer.startswith(b"HTTP/1.1 201 ")
    assert b"location: /api/v1/deployments/id-of-shop\r\n" in answer


async def test_a_head_has_the_length_of_the_body_it_leaves_out(served: Served) -> None:
    answer = await served.says(b"HEAD /health HTTP/1.1\r\n" + HOST + CLOSE)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b""
    assert b"content-length: 33" in head


async def test_headers_without_end_and_bytes_that_are_no_http_are_refused_and_harm_nobody(served: Served) -> None:
    for junk in (b"GET /health HTTP/1.1\r\nX: " + b"x" * 70_000, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"):
        assert (await served.says(junk)).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))

    assert (await served.says(b"GET /health HTTP/1.1\r\n" + HOST + CLOSE)).startswith(b"HTTP/1.1 200 ")


async def test_a_watcher_is_let_go_whole_when_the_control_plane_stops(served: Served) -> None:
    async with await anyio.connect_tcp("127.0.0.1", served.port) as connection:
        await connection.send(b"GET /api/v1/deployments/web/watch HTTP/1.1\r\n" + HOST + TOKEN + b"\r\n")
        found = b""
        with anyio.fail_after(60):
            while b"data: {" not in found:
                found += await connection.receive()
            served.site.stopping.set()
            while not found.endswith(b"\r\n0\r\n\r\n"):
                found += await connection.receive()
    assert b"event: gone" not in found
