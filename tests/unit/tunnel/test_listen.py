"""Bad peers, strangers and the end of a listener: one line, a reason, and nobody else is harmed."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from fledx.errors import Conflict, Denied, InvalidSpec, Unavailable
from fledx.tunnel import frames, greeting
from fledx.tunnel.greeting import Hello, Refused, Welcome
from fledx.tunnel.link import Link
from fledx.tunnel.listen import NOTES, Listener
from fledx.tunnel.tls import unverified_context
from tests.unit.tunnel.world import HELLO, TOKEN, Door, Trust, call, failure_of, open_door
from tests.waiting import until

pytestmark = pytest.mark.anyio

Speak = Callable[[socket.socket], bytes]


def raw(data: bytes) -> Speak:
    """Say this without TLS, and hear what comes until the end."""

    def speak(sock: socket.socket) -> bytes:
        sock.sendall(data)
        return hear(sock)

    return speak


def in_tls(data: bytes) -> Speak:
    """Say this in TLS."""

    def speak(sock: socket.socket) -> bytes:
        with unverified_context().wrap_socket(sock) as tls:
            tls.sendall(data)
            return hear(tls)

    return speak


def hear(sock: socket.socket) -> bytes:
    heard = b""
    try:
        while more := sock.recv(65536):
            heard += more
    except (ConnectionError, ssl.SSLError):
        pass
    return heard


async def visit(port: int, speak: Speak) -> bytes:
    """Connect in a thread, as a foreign program would."""

    def work() -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
            return speak(sock)

    return await anyio.to_thread.run_sync(work)


async def still_serves(door: Door) -> bool:
    """Whether a real agent is welcome after all that."""
    async with anyio.create_task_group() as tasks:
        link = await call(door, tasks)
        async with await link.open("echo", {}) as stream:
            await stream.send_all(b"hello")
            served = await stream.receive() == b"hello"
        tasks.cancel_scope.cancel()
    return served


HTTP = b"GET /health HTTP/1.1\r\nHost: cp\r\n\r\n"
OVER = frames.HEADER.pack(0x93, 0xCC, frames.HELLO, 0xCE, 0, 0xC6, 2**32 - 1)
EARLY = frames.frame(frames.DATA, 1, b"x" * 1000)
BAD_HELLO = frames.map_frame(frames.HELLO, {"protocol": 1, "token": TOKEN})


@pytest.mark.parametrize(
    ("with_tls", "speak", "noted"),
    [
        (True, raw(b"\x00\x01garbage"), "does not keep to the tunnel protocol"),
        (True, raw(HTTP), "speaks HTTP"),
        (True, in_tls(HTTP), "speaks HTTP"),
        (True, in_tls(OVER), "HELLO frame of 4294967295 bytes is over the limit"),
        (True, in_tls(EARLY), "this DATA frame is out of place here"),
        (True, in_tls(BAD_HELLO), "HELLO.role is missing"),
        (True, raw(greeting.hello_frame(HELLO)), "speaks the tunnel without TLS"),
        (True, raw(b"\x16\x03\x01\x00\x05hello"), "TLS with 127.0.0.1"),
        (False, raw(b"\x00\x01 some more garbage"), "does not keep to the tunnel protocol"),
        (False, raw(HTTP), "speaks HTTP"),
        (False, raw(OVER), "HELLO frame of 4294967295 bytes is over the limit"),
        (False, raw(EARLY), "this DATA frame is out of place here"),
        (False, raw(b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03\x00\x00"), "speaks TLS, and this side"),
    ],
)
async def test_fault_25_a_bad_peer_is_turned_away_with_one_line(
    trust: Trust, caplog: pytest.LogCaptureFixture, speak: Speak, noted: str, *, with_tls: bool
) -> None:
    async with open_door(trust if with_tls else None) as door:
        heard = await visit(door.port, speak)
        await until(lambda: caplog.records)

        assert await still_serves(door)

    (line,) = [record.getMessage() for record in caplog.records]
    assert noted in line
    assert "127.0.0.1:" in line
    assert TOKEN not in line
    if "HTTP" in noted:
        assert heard.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"This is the tunnel port of a fledx control plane" in heard


@pytest.mark.parametrize("start", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "a byte", "a piece"])
async def test_one_that_dawdles_is_closed_in_time(trust: Trust, start: bytes) -> None:
    async with open_door(trust, greeting_secs=0.2) as door:
        assert await visit(door.port, raw(start)) == b""
        assert await still_serves(door)


async def test_one_that_says_no_hello_is_told_so(trust: Trust) -> None:
    async with open_door(trust, greeting_secs=0.2) as door:
        heard = await visit(door.port, in_tls(b"\x93"))

    assert b"did not say who it is within 0.2 s" in heard


@pytest.mark.slow
async def test_a_crowd_that_says_nothing_does_not_keep_agents_out(trust: Trust) -> None:
    async with open_door(trust, most_strangers=4) as door:
        crowd = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(5)]
        try:
            assert await still_serves(door)
        finally:
            for sock in crowd:
                sock.close()


async def test_a_scan_cannot_fill_the_log(trust: Trust, caplog: pytest.LogCaptureFixture) -> None:
    async with open_door(trust) as door:
        for _ in range(3 * NOTES):
            await visit(door.port, raw(b"garbage garbage"))

    assert len(caplog.records) == NOTES


async def test_a_wrong_token_is_denied_and_not_repeated(either: Trust | None, caplog: pytest.LogCaptureFixture) -> None:
    async with open_door(either) as door, anyio.create_task_group() as tasks:
        problem = await failure_of(call(door, tasks, hello=Hello(role="agent", token="wr0ng")))

    assert isinstance(problem, Denied)
    assert problem.code == "denied"
    assert problem.text == "the token is not known here"
    assert "wr0ng" not in caplog.text


async def test_an_error_while_judging_is_what_the_dialler_gets(trust: Trust, caplog: pytest.LogCaptureFixture) -> None:
    async def judge(hello: Hello, address: str) -> Welcome | Refused:
        if hello.role == "join":
            raise Conflict("the name edge-1 is taken")
        raise ZeroDivisionError

    async with open_door(trust, authenticate=judge) as door, anyio.create_task_group() as tasks:
        conflict = await failure_of(call(door, tasks, hello=Hello(role="join", token=TOKEN)))
        unavailable = await failure_of(call(door, tasks))

    assert isinstance(conflict, Conflict)
    assert conflict.text == "the name edge-1 is taken"
    assert isinstance(unavailable, Unavailable)
    assert "a hello could not be checked" in caplog.text


async def test_judging_has_its_time(trust: Trust) -> None:
    async def judge(hello: Hello, address: str) -> Welcome | Refused:
        await anyio.sleep_forever()
        raise AssertionError

    async with open_door(trust, authenticate=judge, greeting_secs=0.2) as door, anyio.create_task_group() as tasks:
        problem = await failure_of(call(door, tasks))

    assert "too busy to check the hello" in problem.text


async def test_a_role_that_fails_ends_its_link_only(trust: Trust, caplog: pytest.LogCaptureFixture) -> None:
    async def host(link: Link) -> None:
        raise ZeroDivisionError

    async with open_door(trust, on_link=host) as door, anyio.create_task_group() as tasks:
        for _ in range(2):
            agent = await call(door, tasks)
            assert await agent.closed() == "serving the link failed at the control plane"

    assert [record.message for record in caplog.records] == ["serving a link failed"] * 2


async def test_a_new_certificate_counts_for_the_next_connection(trust: Trust, tmp_path: Path) -> None:
    renewed = Trust.make(tmp_path / "renewed")
    async with open_door(trust) as door, anyio.create_task_group() as tasks:
        before = await call(door, tasks)
        door.listener.tls, door.listener.authority = renewed.server(), renewed.pem

        assert (await failure_of(call(door, tasks))).code == "certificate"
        door.trust = renewed
        assert (await call(door, tasks)).reason is None
        assert before.reason is None
        tasks.cancel_scope.cancel()


async def test_agents_are_told_when_the_listener_stops(either: Trust | None) -> None:
    async with anyio.create_task_group() as tasks:
        async with open_door(either) as door:
            agents = [await call(door, tasks) for _ in range(3)]
            await until(lambda: len(door.links) == 3)
        with anyio.fail_after(60):
            assert {await agent.closed() for agent in agents} == {"the control plane is shutting down"}
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", door.port))


async def test_listening_goes_wrong_with_a_sentence() -> None:
    async def nobody(*_: object) -> Refused:
        raise AssertionError

    listener = Listener(authenticate=nobody, on_link=ignore, tls=None)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Conflict, match=rf"127.0.0.1:{port} is in use"):
            listener.bind("127.0.0.1", port)
    with pytest.raises(InvalidSpec, match=r"192.0.2.1:0 is not an address of this machine"):
        listener.bind("192.0.2.1", 0)


async def ignore(link: Link) -> None:
    """Attend to nothing."""


async def test_the_wildcard_of_both_families_shows_plain_addresses(trust: Trust) -> None:
    async with anyio.create_task_group() as tasks:
        door = Door(trust=trust)
        door.open()
        both = door.listener.bind("::", 0)
        tasks.start_soon(door.listener.serve)
        await call(door, tasks, port=both)
        link = await door.link()
        assert link.address.startswith(("127.0.0.1:", "[::1]:"))
        tasks.cancel_scope.cancel()
