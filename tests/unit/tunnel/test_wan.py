"""Bad lines: slow, long, lossy, cut. Times are kept short; `bench_tunnel.py` measures the real ones."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from fledx.errors import Unavailable
from fledx.tunnel.greeting import Welcome
from fledx.tunnel.link import Link
from fledx.tunnel.stream import Stream
from tests.benchmarks.wan import Line, Wan
from tests.unit.tunnel.world import Door, Trust, call, echo, failure_of, open_door, read_all
from tests.waiting import until

pytestmark = pytest.mark.anyio
MBIT = 125_000
KIB = 1024


@asynccontextmanager
async def over(line: Line, trust: Trust, **options: Any) -> AsyncIterator[tuple[Wan, Door, Link]]:
    """A link whose bytes go over a bad line, and the agent's end of it."""
    async with open_door(trust, serve, **options) as door, anyio.create_task_group() as tasks:
        with Wan(door.port, up=line) as wan:
            agent = await call(door, tasks, port=wan.port)
            await door.link()
            yield wan, door, agent
            tasks.cancel_scope.cancel()


async def serve(stream: Stream) -> None:
    """Swallow bulk, echo the rest."""
    if stream.kind != "bulk":
        await echo(stream)
        return
    while await stream.receive(256 * KIB):
        pass


async def pour(link: Link) -> None:
    """A stream that sends as fast as it may."""
    async with await link.open("bulk", {}) as stream:
        while True:
            await stream.send_all(bytes(256 * KIB))


async def round_trips(link: Link, count: int) -> list[float]:
    """Seconds that a few bytes take to the peer and back, one after the other."""
    loop = asyncio.get_running_loop()
    took = []
    async with await link.open("echo", {}) as stream:
        for _ in range(count):
            begin = loop.time()
            await stream.send_all(b"ping")
            assert await stream.receive() == b"ping"
            took.append(loop.time() - begin)
    return took


@pytest.mark.slow
async def test_a_quiet_stream_passes_beside_eight_bulk_streams(trust: Trust) -> None:
    line = Line(delay_secs=0.01, rate=20 * MBIT)
    async with over(line, trust) as (_, _, agent), anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(pour, agent)
        await until(lambda: agent.bytes_out > 2_000_000)
        with anyio.fail_after(60):
            took = await round_trips(agent, 25)
        tasks.cancel_scope.cancel()

    assert statistics.median(took) < 0.8, "without order and a short queue it is about 2 s"


@pytest.mark.slow
async def test_a_long_thin_lossy_line_carries_everything_and_is_not_given_up(trust: Trust) -> None:
    """Fault 11, ten times faster: 30 % lost, 200 ms there and back, 640 kbit/s."""
    line = Line(delay_secs=0.1, rate=0.64 * MBIT, queue=64_000, loss=0.3, retransmit_secs=0.4)
    text = b"a line of the log\n" * 5000
    async with over(line, trust, silence_secs=9.0) as (_, door, agent):
        for number in range(20):
            agent.send({"number": number})
        async with await agent.open("echo", {}) as stream, anyio.create_task_group() as tasks:

            async def send() -> None:
                await stream.send_all(text)
                await stream.send_eof()

            tasks.start_soon(send)
            with anyio.fail_after(60):
                assert await read_all(stream) == text
        assert [message["number"] for message in door.messages] == list(range(20))
        assert agent.reason is None


async def test_a_line_that_goes_dead_is_given_up_and_dialled_anew(trust: Trust) -> None:
    async with over(Line(), trust, silence_secs=0.5) as (wan, door, agent):
        control_plane = await door.link()
        stream = await control_plane.open("echo", {})
        wan.cut()

        assert await control_plane.closed() == "nothing was heard for 0.5 s"
        assert "nothing was heard" in (await failure_of(stream.receive())).text
        assert agent.reason is None

        wan.heal()
        assert await agent.closed() == "nothing was heard for 0.5 s"
        async with anyio.create_task_group() as tasks:
            again = await call(door, tasks, port=wan.port)
            assert await round_trips(again, 1)
            tasks.cancel_scope.cancel()


async def test_a_connection_that_breaks_mid_stream_fails_both_ends(trust: Trust) -> None:
    async with over(Line(), trust) as (wan, door, agent):
        control_plane = await door.link()
        stream = await agent.open("echo", {})
        await stream.send_all(b"hello")
        assert await stream.receive() == b"hello"

        wan.sever()
        problem = await failure_of(stream.receive())

        assert isinstance(problem, Unavailable)
        assert "without a goodbye" in problem.text
        assert "without a goodbye" in await control_plane.closed()
        assert "without a goodbye" in await agent.closed()


@pytest.mark.slow
async def test_windows_grow_with_the_path(trust: Trust) -> None:
    async with over(Line(delay_secs=0.05, rate=200 * MBIT, queue=4_000_000), trust) as (_, door, agent):
        control_plane = await door.link()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pour, agent)
            await until(lambda: agent.bytes_out > 15_000_000)
            (flow,) = control_plane._wire.session.flows._by_id.values()
            await until(lambda: 0.1 <= (control_plane.round_trip or 0) < 0.5)
            tasks.cancel_scope.cancel()

    assert flow.window.size >= 1024 * KIB


async def test_a_metered_node_is_quiet(trust: Trust) -> None:
    async with open_door(trust) as door, anyio.create_task_group() as tasks:
        door.welcome = Welcome(session="s", heartbeat_secs=0.5)
        agent = await call(door, tasks)
        control_plane = await door.link()
        before = agent.bytes_out, control_plane.bytes_out
        heard = control_plane.last_heard()
        await until(lambda: control_plane.last_heard() > heard)

        assert agent.bytes_out - before[0] == 23, "one byte of frame and 22 of TLS"
        assert control_plane.bytes_out == before[1]
        tasks.cancel_scope.cancel()
