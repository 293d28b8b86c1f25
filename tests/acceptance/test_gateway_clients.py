"""What clients do to a gateway: speak gRPC, come through a load balancer, dawdle, and come in thousands."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import resource
import selectors
import socket
import time

import anyio
import anyio.to_thread
import pytest

from fledx.models.ingress import GatewayDesired
from tests.acceptance.gateways import Fleet, come_true, docker
from tests.acceptance.grpc import Call, echoing
from tests.acceptance.origin import Origin
from tests.unit.agent.gateways import backend, endpoint, route

pytestmark = [pytest.mark.anyio, pytest.mark.docker, pytest.mark.slow]

PLAIN = GatewayDesired(routes=(route(),), backends=(backend(endpoint()),))
IDLE = 10_000


async def test_grpc_talks_both_ways_and_ends_with_its_status(fleet: Fleet) -> None:
    async with echoing() as port, fleet.agent():
        fleet.ports["d-shop", 0] = port
        await fleet.serves(GatewayDesired(routes=(route(),), backends=(backend(endpoint(), protocol="h2c"),)))
        with anyio.fail_after(60):
            async with Call(fleet.http, "shop.example.com") as call:
                for message in (b"one", b"two" * 5_000, b"three"):
                    await call.say(message)
                    assert message == await call.hear(len(message))
                assert {"grpc-status": "0"} == await call.end()
                assert ("200", "application/grpc") == (call.head[":status"], call.head["content-type"])


async def test_behind_a_load_balancer_the_client_is_who_the_balancer_says(fleet: Fleet) -> None:
    async with Origin.serving("one") as origin, fleet.agent(gateway_proxy_protocol=True, gateway_trusted_hops=0):
        fleet.ports["d-shop", 0] = origin.port
        await fleet.serves(PLAIN)
        with pytest.raises(OSError, match=r"(?i)reset|closed|disconnected"):
            await fleet.get("/echo")
        for header, client in PROXIED:
            said = await _exchange(fleet.http, header + ASKED)
            assert f'"x-forwarded-for": "{client}"'.encode() in said
        said = await _exchange(fleet.http, LOCAL + ASKED)
        assert b'"server": "one"' in said
        assert b"203.0.113" not in said
        await _logged(fleet, {client for _, client in PROXIED})


ASKED = b"GET /echo HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""That of the PROXY protocol's version 2: version and command, family, length and addresses follow."""
FOUR, SIX = ipaddress.ip_address("203.0.113.8"), ipaddress.ip_address("2001:db8::7")
PROXIED = (
    (b"PROXY TCP4 203.0.113.7 203.0.113.1 40000 80\r\n", "203.0.113.7"),
    (b"PROXY TCP6 2001:db8::6 2001:db8::1 40000 80\r\n", "2001:db8::6"),
    (SIGNATURE + b"\x21\x11\x00\x0c" + FOUR.packed * 2 + b"\x9c\x40\x00\x50", str(FOUR)),
    (SIGNATURE + b"\x21\x21\x00\x24" + SIX.packed * 2 + b"\x9c\x40\x00\x50", str(SIX)),
)
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
"""A balancer that speaks for itself, as for its checks."""


async def _logged(fleet: Fleet, clients: set[str]) -> None:
    """Envoy writes its access log a little later."""

    def seen() -> bool:
        lines = docker("logs", *fleet.containers()).splitlines()
        return clients <= {json.loads(line)["client"] for line in lines if line.startswith("{")}

    await come_true(seen)


async def _exchange(port: int, data: bytes) -> bytes:
    """Everything that comes back until the other side closes."""
    said = b""
    with anyio.fail_after(60):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(data)
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    said += await stream.receive()
    return said


async def test_dawdlers_are_sent_away_and_ten_thousand_idle_clients_keep_nobody_out(fleet: Fleet) -> None:
    """A header that never ends is answered 408 after ten seconds; what is more than the limit is closed at once."""
    async with Origin.serving("one") as origin, fleet.agent(gateway_max_connections=IDLE + 100):
        fleet.ports["d-shop", 0] = origin.port
        await fleet.serves(PLAIN)
        dawdled: list[bytes] = []

        async def dawdle() -> None:
            dawdled.append(await _dripped(fleet.http))

        async with anyio.create_task_group() as tasks:
            began = time.monotonic()
            tasks.start_soon(dawdle)
            crowd = await anyio.to_thread.run_sync(_crowd, fleet.http)
            try:
                assert [200] * 5 == [(await fleet.get()).status for _ in range(5)]
                refused = await anyio.to_thread.run_sync(_one_too_many, fleet.http)
                assert refused
                assert 200 == (await anyio.to_thread.run_sync(fleet.page, "/ready"))[0]
            finally:
                for each in crowd:
                    each.close()
        assert dawdled[0].startswith(b"HTTP/1.1 408")
        print(f"an endless header was answered after {time.monotonic() - began:.1f} s")
        assert "serving" == (await fleet.until(lambda told: True)).state
        assert 200 == (await fleet.get()).status


async def _dripped(port: int) -> bytes:
    """The answer to a header that comes a byte a second: the client is never idle for longer, and never done."""
    with anyio.fail_after(60):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream, anyio.create_task_group() as tasks:
            await stream.send(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\nX-")

            async def drip() -> None:
                with contextlib.suppress(anyio.BrokenResourceError):
                    while True:
                        await anyio.sleep(1)
                        await stream.send(b"a")

            tasks.start_soon(drip)
            said = await stream.receive()
            tasks.cancel_scope.cancel()
    return said


def _crowd(port: int) -> list[socket.socket]:
    """Ten thousand clients that say nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, IDLE + 5000)), hard))
    return [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(IDLE)]


def _one_too_many(port: int) -> bool:
    """Whether of two hundred more, some are closed at once."""
    more = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(200)]
    try:
        with selectors.DefaultSelector() as waiting:
            for each in more:
                waiting.register(each, selectors.EVENT_READ)
            ready = waiting.select(10)
        return any(key.fileobj.recv(1) == b"" for key, _ in ready if isinstance(key.fileobj, socket.socket))
    except ConnectionResetError:
        return True
    finally:
        for each in more:
            each.close()
