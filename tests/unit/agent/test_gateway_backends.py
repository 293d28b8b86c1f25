"""Sockets to backends behind the tunnel: what is held, what is refused, and when an endpoint is back."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import UNIXSocketStream

from fledx.agent.clock import Clock
from fledx.agent.ingress.backends import Backends
from fledx.agent.ingress.shared import Owner, Shared
from fledx.errors import FledxError, Unavailable
from fledx.models.ingress import AWAY
from fledx.tunnel.link import Link
from fledx.tunnel.stream import Stream
from tests.unit.agent.gateways import backend, endpoint
from tests.unit.tunnel.world import tunnel
from tests.waiting import until

pytestmark = pytest.mark.anyio

NAME = "a.sock"


class World:
    """A gateway's sockets, and the control plane's end of its streams."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.problem: FledxError | None = None
        self.metas: list[object] = []
        self.changes = 0
        self.others = False
        self.silent = False
        self.heard: Link | None = None
        self.backends: Backends

    async def answer(self, stream: Stream) -> None:
        """The control plane: refuses with `problem`, else says everything back in capitals."""
        self.metas.append(dict(stream.meta))
        if self.problem is not None:
            raise self.problem
        if self.silent:
            await anyio.sleep_forever()
        while data := await stream.receive():
            await stream.send_all(data.upper())
        await stream.send_eof()

    async def speak(self) -> None:
        """The control plane has something to say from time to time."""
        while self.heard is not None:
            self.heard.send({"type": "news"})
            await anyio.sleep(0.2)

    def changed(self) -> None:
        """Somebody began or ceased to answer."""
        self.changes += 1

    def open(self, others: Callable[[], bool] | None = None) -> None:
        """Listen for the shop's first replica."""
        self.backends.open(NAME, backend(), endpoint(), others=others or (lambda: self.others))


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """With a link that works; the directory lies where sockets may."""
    made = World()
    place = Path("/dev/shm")
    shared = Shared([str(place)], f"fledx-test-{os.getpid()}", Owner(uid=0, gid=0, given=False, mode=0o600))
    shared.prepare()
    made.backends = Backends(shared, link=lambda: made.link, clock=Clock(), changed=made.changed, checks=(0.1, 0.5))
    try:
        async with tunnel(None, control_plane=made.answer) as (link, heard), anyio.create_task_group() as tasks:
            made.link, made.heard = link, heard
            tasks.start_soon(made.backends.run)
            await anyio.wait_all_tasks_blocked()
            made.open()
            yield made
            tasks.cancel_scope.cancel()
    finally:
        assert not list(shared.sockets.iterdir())
        for directory in (shared.sockets, shared.conf, shared.conf.parent):
            directory.rmdir()


async def connect(made: World) -> UNIXSocketStream:
    return await anyio.connect_unix(f"/dev/shm/fledx-test-{os.getpid()}/sock/{NAME}")


def reasons(caplog: pytest.LogCaptureFixture) -> str:
    """Why backends were taken out, as the agent's log has it."""
    return "\n".join(each.reason for each in caplog.records if each.message == "a backend does not answer")  # type: ignore[attr-defined]


def away() -> Unavailable:
    problem = Unavailable("its node has no link")
    problem.code = AWAY
    return problem


async def test_a_connection_is_a_stream_to_the_backend() -> None:
    async with world() as made, await connect(made) as envoy:
        await envoy.send(b"hello")
        assert b"HELLO" == await envoy.receive()
        await envoy.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await envoy.receive()
        assert [{"deployment_id": "d-shop", "replica_number": 0, "port": 8080, "node_id": "other"}] == made.metas


async def test_without_a_link_a_connection_waits_for_the_next_one() -> None:
    async with world() as made:
        link, made.link = made.link, None
        async with await connect(made) as envoy:
            await envoy.send(b"patience")
            made.link = link
            made.backends.linked()
            assert b"PATIENCE" == await envoy.receive()
        assert 0 == made.changes


async def test_an_owner_that_is_away_is_waited_for_if_there_is_no_other() -> None:
    async with world() as made, await connect(made) as envoy:
        made.problem = away()
        async with await connect(made) as second:
            await second.send(b"there")
            await until(lambda: len(made.metas) >= 3)
            made.problem = None
            assert b"THERE" == await second.receive()
        assert not made.backends.refused(NAME)
        await envoy.aclose()


async def test_nobody_waits_for_an_owner_that_is_away_where_another_serves() -> None:
    async with world() as made:
        made.problem, made.others = away(), True
        async with await connect(made) as envoy:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await envoy.receive()
        assert made.backends.refused(NAME)
        with pytest.raises(OSError, match=r"(?i)no such file|refused"):
            await connect(made)


async def test_who_refuses_is_refused_to_envoy_and_is_back_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with world() as made:
        made.problem = Unavailable("port 8080 of container shop does not answer: connection refused")
        async with await connect(made) as envoy:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await envoy.receive()
        assert made.backends.refused(NAME)
        assert "connection refused" in reasons(caplog)
        with pytest.raises(OSError, match=r"(?i)no such file|refused"):
            await connect(made)
        made.problem = None
        await until(lambda: not made.backends.refused(NAME))
        async with await connect(made) as envoy:
            await envoy.send(b"back")
            assert b"BACK" == await envoy.receive()
        assert 2 == made.changes


async def test_a_socket_that_is_closed_leaves_its_connections_alone() -> None:
    async with world() as made, await connect(made) as envoy:
        await envoy.send(b"one")
        assert b"ONE" == await envoy.receive()
        made.backends.close(NAME)
        with pytest.raises(OSError, match=r"(?i)no such file|refused"):
            await connect(made)
        await envoy.send(b"two")
        assert b"TWO" == await envoy.receive()


async def test_a_socket_left_by_an_agent_that_was_killed_is_taken_over() -> None:
    async with world() as made:
        made.backends.close(NAME)
        Path(f"/dev/shm/fledx-test-{os.getpid()}/sock/{NAME}").touch()
        made.open()
        async with await connect(made) as envoy:
            await envoy.send(b"mine")
            assert b"MINE" == await envoy.receive()


async def test_a_backend_in_use_that_says_nothing_any_more_is_left_to_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its node has lost its power: nobody refuses, nobody answers; the control plane is heard of all the same."""
    caplog.set_level("INFO")
    async with world() as made, await connect(made) as envoy:
        await envoy.send(b"one")
        assert b"ONE" == await envoy.receive()
        made.silent = made.others = True
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.speak)
            await until(lambda: made.backends.refused(NAME))
            await envoy.send(b"two")
            assert b"TWO" == await envoy.receive()
            with anyio.fail_after(60), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await envoy.receive()
            tasks.cancel_scope.cancel()
        assert "nobody took the stream" in reasons(caplog)
        made.silent = False
        await until(lambda: not made.backends.refused(NAME))
