"""Streams joined to sockets and to each other: ends, resets and slow sides travel through."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from fledx.errors import FledxError, NotFound, Unavailable
from fledx.tunnel.link import Link
from fledx.tunnel.relay import relay
from fledx.tunnel.splice import splice
from fledx.tunnel.stream import Stream
from tests.unit.tunnel.world import Door, Trust, call, echo, failure_of, open_door, read_all, socket_pair, tunnel
from tests.waiting import until

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024
RESET = struct.pack("ii", 1, 0)


class Application:
    """A program that talks to one end of a splice over its own socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        with anyio.fail_after(60):
            await self._loop.sock_sendall(self.sock, data)

    def end(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    async def read_all(self) -> bytes:
        got = bytearray()
        with anyio.fail_after(60):
            while data := await self._loop.sock_recv(self.sock, 65536):
                got += data
        return bytes(got)

    def break_off(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.close()


async def send_in_vain(application: Application | Stream, size: int) -> None:
    """Send to one that will not take it all."""
    with contextlib.suppress(ConnectionError, FledxError):
        if isinstance(application, Stream):
            await application.send_all(b"x" * size)
        else:
            await application.send(b"x" * size)


class Spliced:
    """An application at the control plane's side of a stream that is spliced at both ends, and one at the agent's."""

    def __init__(self) -> None:
        ours, self._near_end = socket_pair()
        self._far_end, theirs = socket_pair()
        self.near, self.far = Application(ours), Application(theirs)
        self.problems: dict[str, FledxError | None] = {}
        self.stream: Stream | None = None

    async def serve(self, stream: Stream) -> None:
        """The agent's side."""
        if stream.kind == "forward":
            await self._join("far", stream, self._far_end)
        else:
            await echo(stream)

    async def run(self, link: Link) -> None:
        """The control plane's side."""
        self.stream = await link.open("forward", {})
        await self._join("near", self.stream, self._near_end)

    async def _join(self, name: str, stream: Stream, sock: socket.socket) -> None:
        try:
            await splice(stream, sock)
            self.problems[name] = None
        except FledxError as problem:
            self.problems[name] = problem

    def close(self) -> None:
        """Whatever is still open."""
        for sock in (self.near.sock, self.far.sock, self._near_end, self._far_end):
            sock.close()


@asynccontextmanager
async def spliced(trust: Trust | None) -> AsyncIterator[tuple[Spliced, Link]]:
    """A link and a pair of spliced ends on it."""
    both = Spliced()
    try:
        async with tunnel(trust, agent=both.serve) as (_, control_plane), anyio.create_task_group() as tasks:
            tasks.start_soon(both.run, control_plane)
            await until(lambda: both.stream)
            yield both, control_plane
            tasks.cancel_scope.cancel()
    finally:
        both.close()


async def test_bytes_go_through_both_ways_and_each_end_on_its_own(either: Trust | None) -> None:
    question, answer = b"q" * 3 * MIB, b"a" * 5 * MIB
    async with spliced(either) as (both, link):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(both.near.send, question)
            with anyio.fail_after(60):
                got = bytearray()
                while len(got) < len(question):
                    got += await asyncio.get_running_loop().sock_recv(both.far.sock, 65536)
        both.near.end()
        assert bytes(got) + await both.far.read_all() == question
        assert not both.problems

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_and_end, both.far, answer)
            assert await both.near.read_all() == answer
        await until(lambda: both.problems == {"near": None, "far": None})
        assert link.streams == 0


async def send_and_end(application: Application, data: bytes) -> None:
    await application.send(data)
    application.end()


async def test_a_broken_socket_is_a_reset_at_the_other_side(trust: Trust) -> None:
    async with spliced(trust) as (both, _):
        await both.near.send(b"half a request")
        await until(lambda: both.stream and both.stream.flow.credit < 2**18)
        both.near.break_off()

        with pytest.raises(ConnectionResetError):
            await both.far.read_all()
        await until(lambda: len(both.problems) == 2)

    assert "the local connection broke" in str(both.problems["near"])
    assert "the local connection broke" in str(both.problems["far"])


async def test_a_lost_link_is_a_reset_at_both_sides(trust: Trust) -> None:
    async with spliced(trust) as (both, link):
        await both.near.send(b"half a request")
        link.close("the control plane is shutting down")

        for application in (both.near, both.far):
            with pytest.raises(ConnectionResetError):
                await application.read_all()
        await until(lambda: len(both.problems) == 2)

    assert all("shutting down" in str(problem) for problem in both.problems.values())


async def test_a_reader_that_stops_holds_its_own_stream_and_no_other(trust: Trust) -> None:
    async with spliced(trust) as (both, link):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_in_vain, both.near, 64 * MIB)
            await until(lambda: both.stream and both.stream.flow.parked)

            async with await link.open("echo", {}) as other:
                await other.send_all(b"still served")
                assert await other.receive() == b"still served"
            tasks.cancel_scope.cancel()
        both.near.break_off()
        await until(lambda: both.problems.get("near"))


async def test_a_stream_reset_while_its_socket_drains_lets_go_of_the_socket(trust: Trust) -> None:
    async with spliced(trust) as (both, _), anyio.create_task_group() as tasks:
        tasks.start_soon(send_in_vain, both.near, 64 * MIB)
        await until(lambda: both.stream and both.stream.flow.parked)
        assert both.stream
        both.stream.reset("the user has gone", code="not_found")

        with pytest.raises(ConnectionResetError):
            await both.far.read_all()
        await until(lambda: len(both.problems) == 2)
        tasks.cancel_scope.cancel()

    assert isinstance(both.problems["far"], NotFound)
    assert str(both.problems["far"]) == "the user has gone"


async def test_what_arrived_before_the_splice_goes_first(trust: Trust) -> None:
    application, ours = socket_pair()
    peer = Application(application)

    async def chat(stream: Stream) -> None:
        await stream.send_all(b"early words, ")
        assert await stream.receive() == b"go"
        await stream.send_all(b"late words")

    async with tunnel(trust, agent=chat) as (_, control_plane), anyio.create_task_group() as tasks:
        stream = await control_plane.open("chat", {})
        await stream.send_all(b"go")
        await until(lambda: stream._ended)
        tasks.start_soon(splice, stream, ours)
        assert await peer.read_all() == b"early words, late words"
        peer.sock.close()


@asynccontextmanager
async def relayed(trust: Trust) -> AsyncIterator[tuple[Door, Link, Link, list[FledxError]]]:
    """Two agents; a stream the first opens is relayed by the control plane to the second."""
    problems: list[FledxError] = []

    async def pass_on(stream: Stream) -> None:
        other = await door.links[1].open(stream.kind, stream.meta)
        stream.accept(other.answer)
        try:
            await relay(stream, other)
        except FledxError as problem:
            problems.append(problem)
            raise

    async with open_door(trust, pass_on) as door, anyio.create_task_group() as tasks:
        first = await call(door, tasks)
        await until(lambda: len(door.links) == 1)
        second = await call(door, tasks, serve=serve_by_kind)
        await until(lambda: len(door.links) == 2)
        yield door, first, second, problems
        tasks.cancel_scope.cancel()


async def serve_by_kind(stream: Stream) -> None:
    """What the second agent does."""
    if stream.kind == "missing":
        raise NotFound("there is no such replica")
    if stream.kind == "breaks":
        await stream.send_all(b"the first half")
        raise Unavailable("the container has died")
    if stream.kind == "stops":
        stream.accept()
        await anyio.sleep_forever()
    if stream.kind == "tail":
        await stream.send_all(b"the last lines")
        return
    stream.accept({"pid": 7})
    data = await read_all(stream)
    await stream.send_all(data.upper())


async def test_a_relayed_stream_is_like_a_direct_one(trust: Trust) -> None:
    async with relayed(trust) as (door, first, second, _):
        stream = await first.open("shout", {"a": 1})
        assert stream.answer == {"pid": 7}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send_all, b"abcdef" * 1_000_000)
            tasks.start_soon(end_after, stream)
            assert await read_all(stream) == b"ABCDEF" * 1_000_000
        await stream.aclose()
        await until(lambda: first.streams == second.streams == 0)
        assert all(link.streams == 0 for link in door.links)


async def end_after(stream: Stream) -> None:
    await until(lambda: not stream._cargo)
    await stream.send_eof()


async def test_a_relayed_end_comes_after_the_last_byte(trust: Trust) -> None:
    async with relayed(trust) as (_, first, second, _):
        stream = await first.open("tail", {})
        assert await read_all(stream) == b"the last lines"
        await stream.aclose()
        await until(lambda: first.streams == second.streams == 0)


async def test_a_refusal_is_relayed(trust: Trust) -> None:
    async with relayed(trust) as (_, first, _, _):
        problem = await failure_of(first.open("missing", {}))

    assert isinstance(problem, NotFound)
    assert problem.text == "there is no such replica"


async def test_a_reset_is_relayed_after_what_came_before_it(trust: Trust) -> None:
    async with relayed(trust) as (_, first, _, problems):
        stream = await first.open("breaks", {})
        problem = await failure_of(read_all(stream))
        await until(lambda: problems)

    assert problem.text == problems[0].text == "the container has died"


async def test_a_reader_that_stops_is_felt_through_the_relay_and_costs_no_memory(trust: Trust) -> None:
    async with relayed(trust) as (door, first, _, _), anyio.create_task_group() as tasks:
        stream = await first.open("stops", {})
        tasks.start_soon(send_in_vain, stream, 64 * MIB)
        await until(lambda: stream.flow.parked)
        before = door.links[0].bytes_in

        stream.reset("the user has gone", code="cancelled")
        await until(lambda: all(link.streams == 0 for link in door.links))
        assert before < 12 * MIB
        tasks.cancel_scope.cancel()


async def test_a_lost_link_fails_the_relayed_stream(trust: Trust) -> None:
    async with relayed(trust) as (_, first, second, problems):
        stream = await first.open("stops", {})
        second.close("its node restarts")
        problem = await failure_of(stream.receive())
        await until(lambda: problems)

    assert isinstance(problem, Unavailable)
    assert "its node restarts" in problem.text
