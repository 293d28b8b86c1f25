"""`fledx forward` from its listening ports on: where connections lead, and what outlives what."""

from __future__ import annotations

import io
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from fledx.cli.forwarding import Door, Forwarder
from fledx.cli.terminal import Terminal
from fledx.client.operator_session import WayIn
from fledx.control_plane.trust.operator_tokens import NewToken
from fledx.errors import Conflict, Denied, FledxError, InvalidSpec, NotFound
from fledx.models.forward import Forwarding, ReplicaRef
from tests.ports import free_port
from tests.unit.cli.entering import Fleet, fleet
from tests.unit.control_plane.conftest import ME
from tests.waiting import until

pytestmark = pytest.mark.anyio

LIMIT_SECS = 60.0


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(tmp_path) as made:
        yield made


@asynccontextmanager
async def shouting() -> AsyncIterator[int]:
    """A service that says everything back in capitals; yields its port."""

    async def answer(client: SocketStream) -> None:
        async with client:
            async for piece in client:
                await client.send(piece.upper())

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        yield int(listener.extra(SocketAttribute.local_port))
        tasks.cancel_scope.cancel()


@dataclass
class Running:
    """One `fledx forward`; `code` or `problem` say how it ended."""

    ports: list[int]
    err: io.StringIO
    out: io.StringIO
    code: int | None = None
    problem: FledxError | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)

    async def says(self, text: str) -> None:
        with anyio.fail_after(LIMIT_SECS):
            while text not in self.err.getvalue():
                await anyio.sleep(0.005)

    async def end(self) -> int | None:
        with anyio.fail_after(LIMIT_SECS):
            await self.ended.wait()
        return self.code

    async def ask(self, text: bytes, number: int = 0) -> bytes:
        """What comes back, to the end."""
        got = b""
        with anyio.fail_after(LIMIT_SECS):
            async with await anyio.connect_tcp("127.0.0.1", self.ports[number]) as client:
                await client.send(text)
                await client.send_eof()
                async for piece in client:
                    got += piece
        return got


@asynccontextmanager
async def forwarding(
    way: WayIn, *remotes: int, ref: str = "web", print_addresses: bool = False
) -> AsyncIterator[Running]:
    doors = [Door.opened(Forwarding(local=0, remote=remote)) for remote in remotes]
    err, out = io.StringIO(), io.StringIO()
    run = Running([door.sock.getsockname()[1] for door in doors], err, out)
    terminal = Terminal(out=out, err=err, inp=io.StringIO(), environ={})

    async def work() -> None:
        forwarder = Forwarder(way, ReplicaRef.parse(ref), doors, terminal, timeout=60.0)
        forwarder.print_addresses = print_addresses
        try:
            run.code = await forwarder.run()
        except FledxError as problem:
            run.problem = problem
        run.ended.set()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            yield run
            tasks.cancel_scope.cancel()
    finally:
        for door in doors:
            door.sock.close()


async def test_ports_lead_into_the_replica_many_connections_at_a_time_over_one_session(web: Fleet) -> None:
    async with shouting() as one, shouting() as two, forwarding(web.way, one, two, print_addresses=True) as run:
        await run.says(f"127.0.0.1:{run.ports[0]} leads to port {one} of web, replica 0 on edge-")
        await run.says(f"127.0.0.1:{run.ports[1]} leads to port {two} of web")
        assert [f"127.0.0.1:{port}" for port in run.ports] == run.out.getvalue().split()
        answers: list[bytes] = []

        async def ask(text: bytes, number: int) -> None:
            answers.append(await run.ask(text, number))

        async with anyio.create_task_group() as tasks:
            for number in range(60):
                tasks.start_soon(ask, b"n%d" % number, number % 2)
        assert sorted(answers) == sorted(b"N%d" % number for number in range(60))
        operators = [link for link in web.port.listener.links if getattr(link.peer, "role", "") == "operator"]
        assert len(operators) == 1


async def test_ctrl_c_ends_it_with_130(web: Fleet) -> None:
    async with shouting() as port, forwarding(web.way, port) as run:
        await run.says("leads to")
        os.kill(os.getpid(), signal.SIGINT)
        assert await run.end() == 130
        assert run.problem is None
    assert len(await web.port.until_audited("deployment.forward_end")) == 1


async def test_a_lost_session_is_dialled_again_and_connections_wait_for_it(web: Fleet) -> None:
    async with shouting() as port, forwarding(web.way, port) as run:
        await run.says("leads to")
        assert await run.ask(b"before") == b"BEFORE"
        for link in list(web.port.listener.links):
            if getattr(link.peer, "role", "") == "operator":
                link.close("restarting")
        assert await run.ask(b"after") == b"AFTER"
        await run.says("the session is over")
        await run.says("connected again")


async def test_when_its_replica_goes_connections_lead_to_another_and_that_is_said(web: Fleet) -> None:
    async with shouting() as port, forwarding(web.way, port) as run:
        await run.says("leads to")
        first = "edge-1" if "edge-1" in run.err.getvalue() else "edge-2"
        node_id, _ = web.port.tokens[first]
        session = web.port.dispatch.session(node_id)
        assert session is not None
        session.link.close("the node has gone")
        await until(lambda: web.port.dispatch.session(node_id) is None)
        assert await run.ask(b"still there?") == b"STILL THERE?"
        await run.says(f"leads to web, replica 1 on {'edge-2' if first == 'edge-1' else 'edge-1'} now")


async def test_a_port_that_nobody_serves_is_a_reset_with_a_reason_and_the_session_goes_on(web: Fleet) -> None:
    nobody = free_port()
    async with shouting() as port, forwarding(web.way, nobody, port) as run:
        await run.says("leads to port")
        with pytest.raises((anyio.BrokenResourceError, ConnectionError, OSError)):
            await run.ask(b"anybody?")
        await run.says(f"a connection to port {nobody} was given up: port {nobody} of container web does not answer")
        assert await run.ask(b"and here?", 1) == b"AND HERE?"


@pytest.mark.parametrize(
    ("ref", "error", "said"),
    [("wbe", NotFound, "no deployment 'wbe'"), ("web/9", NotFound, "web has no replica 9")],
)
async def test_what_is_not_there_keeps_it_from_beginning(
    web: Fleet, ref: str, error: type[FledxError], said: str
) -> None:
    async with forwarding(web.way, 80, ref=ref) as run:
        await run.end()
        assert isinstance(run.problem, error)
        assert said in run.problem.text
        assert run.problem.request_id


async def test_a_wrong_token_keeps_it_from_beginning_and_a_revoked_one_ends_it(web: Fleet) -> None:
    async with forwarding(replace(web.way, token="wrong"), 80) as run:
        await run.end()
        assert isinstance(run.problem, Denied)
    stage = web.port.stage
    made = await stage.operator_tokens.create(NewToken(name="ann"), by=ME)
    async with shouting() as port, forwarding(replace(web.way, token=made.token), port) as run:
        await run.says("leads to")
        await stage.operator_tokens.revoke("ann", by=ME)
        await run.end()
        assert isinstance(run.problem, Denied)
        assert "was revoked" in run.problem.text


def test_a_local_port_that_is_taken_or_is_not_ours_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Conflict, match=f"127.0.0.1:{port} is in use by another process"):
            Door.opened(Forwarding(local=port, remote=80))
    for host in ("192.0.2.1", "no such host", "x" * 300):
        with pytest.raises(InvalidSpec):
            Door.opened(Forwarding(host=host, local=0, remote=80))


@pytest.mark.parametrize(
    ("text", "host", "local", "remote"),
    [
        ("8080:80", "127.0.0.1", 8080, 80),
        ("80", "127.0.0.1", 80, 80),
        (":80", "127.0.0.1", 0, 80),
        ("0:80", "127.0.0.1", 0, 80),
        ("0.0.0.0:8080:80", "0.0.0.0", 8080, 80),
        ("localhost::80", "localhost", 0, 80),
        ("[::1]:8080:80", "::1", 8080, 80),
        ("::1:8080:80", "::1", 8080, 80),
    ],
)
def test_a_forwarding_is_written_as_one_would(text: str, host: str, local: int, remote: int) -> None:
    assert Forwarding.parse(text) == Forwarding(host=host, local=local, remote=remote)


@pytest.mark.parametrize(
    "text", ["", ":", "web", "8080:", "8080:0", "70000:80", "80:70000", "-1:80", "8080:80/tcp", "٣:٤"]
)
def test_a_forwarding_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec):
        Forwarding.parse(text)


@pytest.mark.parametrize("text", ["", "/0", "web/", "web/x", "web/-1", "web/1234567", "a\nb"])
def test_a_replica_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec):
        ReplicaRef.parse(text)
