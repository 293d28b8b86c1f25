"""Dialling what is not there, not a tunnel, or not who it should be: what, which, and what to try."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from fledx.errors import Denied, FledxError, InvalidSpec, Unavailable
from fledx.tunnel import frames
from fledx.tunnel.authority import fetch_authority
from fledx.tunnel.dial import dial
from fledx.tunnel.tls import client_context, fingerprint
from tests.unit.tunnel.world import HELLO, Trust, call, failure_of, open_door

pytestmark = pytest.mark.anyio


@contextmanager
def answering(answer: bytes | None) -> Iterator[int]:
    """A port whose owner reads a little, says `answer` and closes; None never says anything."""
    done = threading.Event()

    def serve(listening: socket.socket) -> None:
        sock, _ = listening.accept()
        with sock:
            sock.recv(65536)
            if answer is None:
                done.wait(120)
            else:
                sock.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        done.set()
        thread.join(120)


async def failing(port: int, trust: Trust | None, host: str = "127.0.0.1", seconds: float = 60) -> FledxError:
    """What dialling there comes to."""
    async with anyio.create_task_group() as tasks:
        problem = await failure_of(
            dial(
                host,
                port,
                tls=trust.client() if trust else None,
                hello=HELLO,
                tasks=tasks,
                on_stream=nothing,
                on_message=print,
                connect_timeout=seconds,
            )
        )
    return problem


async def nothing(stream: object) -> None:
    """Serve no stream."""


async def test_a_port_nobody_listens_on(trust: Trust) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

    problem = await failing(port, trust)

    assert isinstance(problem, Unavailable)
    assert problem.text == f"127.0.0.1:{port} cannot be reached: connection refused"
    assert problem.hint == "is the control plane running there, and is this its tunnel port?"


async def test_a_host_nobody_knows(trust: Trust) -> None:
    problem = await failing(7443, trust, host="no-such-host.invalid")

    assert isinstance(problem, Unavailable)
    assert "the host no-such-host.invalid is not known" in problem.text


async def test_one_that_accepts_and_says_nothing(either: Trust | None) -> None:
    with answering(None) as port:
        problem = await failing(port, either, seconds=0.3)

    assert isinstance(problem, Unavailable)
    assert problem.text == f"127.0.0.1:{port} did not answer within 0.3 s"


@pytest.mark.parametrize(
    ("answer", "with_tls", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", True, "answers in HTTP: that is not a fledx tunnel port"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False, "answers in HTTP: that is not a fledx tunnel port"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", True, "does not keep to the tunnel protocol"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False, "does not keep to the tunnel protocol"),
        (b"", True, "closed the connection without a goodbye"),
        (b"", False, "closed the connection without a goodbye"),
        (frames.reason_frame(frames.GOODBYE, "closed", "come back later"), False, "come back later"),
        (frames.frame(frames.DATA, 2, b"x"), False, "this DATA frame is out of place here"),
    ],
)
async def test_one_that_is_no_tunnel(trust: Trust, answer: bytes, reason: str, *, with_tls: bool) -> None:
    with answering(answer) as port:
        problem = await failing(port, trust if with_tls else None)

    assert isinstance(problem, Unavailable)
    assert reason in problem.text


async def test_tls_to_a_tunnel_without_it(trust: Trust) -> None:
    async with open_door(None) as door:
        problem = await failing(door.port, trust)

    assert "speaks the tunnel without TLS, and this side does not" in problem.text


async def test_a_tunnel_with_tls_dialled_without(trust: Trust) -> None:
    async with open_door(trust) as door:
        problem = await failing(door.port, None)

    assert isinstance(problem, Unavailable)


async def test_somebody_else_with_a_certificate_for_the_same_name(trust: Trust, stranger: Trust) -> None:
    async with open_door(stranger) as door:
        problem = await failing(door.port, trust)

    assert isinstance(problem, Denied)
    assert problem.code == "certificate"
    assert f"the certificate of 127.0.0.1:{door.port} is not to be trusted" in problem.text


async def test_the_right_ca_for_another_name(tmp_path: Path) -> None:
    elsewhere = Trust.make(tmp_path / "elsewhere", "cp.example.org")
    async with open_door(elsewhere) as door:
        problem = await failing(door.port, elsewhere)

    assert problem.code == "certificate"
    assert "127.0.0.1" in problem.text


async def test_the_ca_is_found_by_its_fingerprint(trust: Trust, stranger: Trust) -> None:
    async with open_door(trust) as door, anyio.create_task_group() as tasks:
        door.listener.authority = stranger.pem + trust.pem

        pem = await fetch_authority("localhost", door.port, [trust.pin])

        assert stranger.pem not in pem
        link = await dial(
            "localhost",
            door.port,
            tls=client_context(pem),
            hello=HELLO,
            tasks=tasks,
            on_stream=nothing,
            on_message=print,
        )
        assert link.reason is None
        tasks.cancel_scope.cancel()


async def test_a_ca_with_another_fingerprint_is_denied(trust: Trust, stranger: Trust) -> None:
    async with open_door(stranger) as door:
        problem = await failure_of(fetch_authority("localhost", door.port, [trust.pin]))

    assert isinstance(problem, Denied)
    assert problem.code == "certificate"
    assert trust.pin in problem.text
    assert problem.hint
    assert "somebody stands in between" in problem.hint


async def test_asking_for_a_ca_is_not_noted_as_trouble(trust: Trust, caplog: pytest.LogCaptureFixture) -> None:
    async with open_door(trust) as door, anyio.create_task_group() as tasks:
        await fetch_authority("localhost", door.port, [trust.pin])
        await call(door, tasks)
        tasks.cancel_scope.cancel()

    assert caplog.text == ""


async def test_a_pin_that_is_none_is_the_users_fault(trust: Trust) -> None:
    with pytest.raises(InvalidSpec, match="'nonsense' is not a SHA-256"):
        await fetch_authority("localhost", 1, ["nonsense"])


async def test_no_ca_at_a_port_that_is_no_tunnel() -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        problem = await failure_of(fetch_authority("127.0.0.1", port, [fingerprint(b"")]))

    assert isinstance(problem, Unavailable)
    assert "that is not a fledx tunnel port" in problem.text
