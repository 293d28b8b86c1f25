"""An API over TLS, asked by the machine it runs on: what answers there in the clear, and what only over TLS."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.streams.tls import TLSStream

from fledx.control_plane import web
from fledx.control_plane.doorway import Handed, beside, listen
from fledx.control_plane.trust.pki import authority, server_certificate, utc_now
from fledx.settings.control_plane import ControlPlaneSettings
from fledx.tunnel.tls import client_context, server_context
from tests.unit.api.site import Site

pytestmark = pytest.mark.anyio
ELSEWHERE = "127.0.0.2"  # of this machine, but no address that counts as its own: there only TLS is spoken


@dataclass
class Asked:
    """The status and the body of an answer."""

    status: int
    body: bytes


@dataclass
class Secured:
    """A site over TLS, and how to ask it."""

    site: Site
    host: str
    port: int
    trust: ssl.SSLContext
    ended: anyio.Event = field(default_factory=anyio.Event)

    async def ask(self, path: str, *, host: str = "127.0.0.1", tls: bool = False, extra: str = "") -> Asked:
        """GET a path."""
        async with await anyio.connect_tcp(host, self.port) as plain:
            connection = await TLSStream.wrap(plain, hostname=host, ssl_context=self.trust) if tls else plain
            await connection.send(f"GET {path} HTTP/1.1\r\nHost: cp\r\n{extra}Connection: close\r\n\r\n".encode())
            found = b""
            with anyio.fail_after(60):
                async for piece in connection:
                    found += piece
        head, _, body = found.partition(b"\r\n\r\n")
        return Asked(int(head.split()[1]), body)


@pytest.fixture(params=[ELSEWHERE, "127.0.0.1"], ids=["beside loopback", "on loopback alone"])
async def secured(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Secured]:
    """Served as `run.py` does, on an address with TLS."""
    settings = ControlPlaneSettings(server_host=request.param, server_tls=True)
    site = Site(settings=settings)
    ca = authority(tmp_path, utc_now())
    chain, key, _ = server_certificate(tmp_path, ca, ["127.0.0.1", ELSEWHERE], utc_now())
    opened = web.listening(request.param, 0, "API", "--server-port")
    port = opened.getsockname()[1]
    made = Secured(site, request.param, port, client_context(ca.pem))

    async def serve() -> None:
        await web.serve(site.app, opened, server_context(str(chain), str(key)), site.stopping)
        made.ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        yield made
        site.stopping.set()


async def test_health_and_metrics_answer_in_the_clear_on_the_port_that_speaks_tls(secured: Secured) -> None:
    health, metrics = await secured.ask("/health"), await secured.ask("/metrics")

    assert (200, "ok") == (health.status, json.loads(health.body)["status"])
    assert 200 == metrics.status
    assert b"fledx_nodes" in metrics.body


async def test_everything_else_says_in_the_clear_that_it_is_to_be_asked_over_tls(secured: Secured) -> None:
    for path in ("/api/v1/status", "/docs", "/", "/artifact/fledx.pyz", "/healthy"):
        refused = await secured.ask(path, extra="Authorization: Bearer operator\r\n")
        assert 426 == refused.status
        assert "https_required" == json.loads(refused.body)["code"]
        assert "https://" in json.loads(refused.body)["hint"]


async def test_the_same_port_of_loopback_speaks_tls_to_who_does(secured: Secured) -> None:
    found = await secured.ask("/api/v1/status", tls=True, extra="Authorization: Bearer operator\r\n")
    assert 200 == found.status
    assert 200 == (await secured.ask("/metrics", tls=True)).status
    assert 401 == (await secured.ask("/api/v1/status", tls=True)).status


async def test_one_who_says_nothing_does_not_hold_up_the_end(secured: Secured) -> None:
    async with await anyio.connect_tcp(secured.host, secured.port):
        await secured.ask("/health", tls=True)
        secured.site.stopping.set()
        with anyio.fail_after(40):  # less than a handshake may take
            await secured.ended.wait()


async def test_what_is_accepted_inherits_how_the_door_listens() -> None:
    with socket.socket() as door, socket.socket() as client:
        door.bind(("127.0.0.1", 0))
        listen(door)
        client.connect(door.getsockname())
        accepted, _ = door.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert 60_000 == accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


async def test_one_who_says_nothing_and_one_who_leaves_keep_nobody_waiting(secured: Secured) -> None:
    async with await anyio.connect_tcp("127.0.0.1", secured.port):
        gone = await anyio.connect_tcp("127.0.0.1", secured.port)
        await gone.aclose()
        answers: list[int] = []

        async def ask(*, tls: bool) -> None:
            answers.append((await secured.ask("/health", tls=tls)).status)

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(partial(ask, tls=bool(number % 2)))
    assert [200] * 20 == answers


@pytest.mark.parametrize("secured", [ELSEWHERE], indirect=True)
async def test_from_elsewhere_nothing_is_said_in_the_clear(secured: Secured) -> None:
    with contextlib.suppress(anyio.BrokenResourceError):
        async with await anyio.connect_tcp(ELSEWHERE, secured.port) as connection:
            await connection.send(b"GET /health HTTP/1.1\r\nHost: cp\r\n\r\n")
            with anyio.fail_after(60):
                async for piece in connection:
                    assert not piece.startswith(b"HTTP")
    assert 200 == (await secured.ask("/health", host=ELSEWHERE, tls=True)).status


def has_six() -> bool:
    """Whether loopback speaks IPv6 here."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


six = pytest.mark.skipif(not has_six(), reason="this machine has no IPv6")


@pytest.mark.parametrize(
    ("wildcard", "loopbacks"), [("0.0.0.0", ["127.0.0.1"]), pytest.param("::", ["127.0.0.1", "::1"], marks=six)]
)
def test_beside_a_wildcard_loopback_is_listened_to_and_the_port_stays_taken(
    wildcard: str, loopbacks: list[str]
) -> None:
    opened = web.listening(wildcard, 0, "API", "--server-port")
    port = opened.getsockname()[1]
    doors = beside(opened)
    try:
        assert loopbacks == [door.getsockname()[0] for door in doors]
        for door in doors:
            with socket.create_connection((door.getsockname()[0], port), timeout=60) as connection:
                door.setblocking(True)
                accepted, _ = door.accept()
                assert connection.getsockname() == accepted.getpeername()
                accepted.close()
        with socket.socket() as second:
            second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with pytest.raises(OSError, match="in use"):
                second.bind(("0.0.0.0", port))
    finally:
        for each in (opened, *doors):
            each.close()


def test_where_loopback_has_the_port_taken_the_api_itself_still_listens(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        opened = web.listening(ELSEWHERE, taken.getsockname()[1], "API", "--server-port")
        with opened:
            assert [] == beside(opened)
    assert "http://localhost will not answer" in caplog.text


def test_what_is_handed_over_after_the_end_is_closed() -> None:
    handed, (near, far) = Handed(), socket.socketpair()
    with far:
        handed.close()
        handed.put(near, "")
        assert b"" == far.recv(1)
