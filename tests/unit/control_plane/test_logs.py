"""Logs as the control plane gathers them from nodes that come and go while somebody follows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from fledx.control_plane.logs import LogRequest, Logs, Place
from fledx.errors import NotFound
from fledx.models.codec import encode
from fledx.models.event import LogLine
from fledx.tunnel.greeting import Hello
from fledx.tunnel.stream import Stream
from tests.builders import facts
from tests.unit.control_plane.conftest import ME, Stage
from tests.unit.control_plane.entered import Port, tunnel_port
from tests.waiting import until

pytestmark = pytest.mark.anyio
LIMIT_SECS = 10.0


class Container:
    """What the agents of a test serve: each replica's lines so far, and those that come."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str | None, int | None]] = []
        self.unknown: set[int] = set()
        self._lines: dict[int, list[str]] = {}
        self._news = anyio.Event()

    def write(self, number: int, *lines: str) -> None:
        """The replica writes."""
        self._lines.setdefault(number, []).extend(lines)
        news, self._news = self._news, anyio.Event()
        news.set()

    async def serve(self, stream: Stream) -> None:
        """A `logs` stream; times are the numbers of lines, and `since` and `tail` are kept as Docker does."""
        if stream.kind == "desired":
            while await stream.receive():
                pass
            return
        number, since = stream.meta["replica_number"], stream.meta["since"]
        self.asked.append((number, since, stream.meta["tail"]))
        if number in self.unknown:
            raise NotFound(f"replica {number} is not on this node")
        stream.accept()
        sent = int(since or 0)
        while True:
            for at, text in enumerate(self._lines.get(number, [])[sent:], sent):
                await stream.send_all(json.dumps({"s": "stdout", "t": f"{at:03}", "l": text}).encode() + b"\n")
            sent = len(self._lines.get(number, []))
            if not stream.meta["follow"]:
                await stream.send_eof()
                return
            await self._news.wait()


class Reader:
    """What somebody who reads has seen so far: `replica: line`, or the notice."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def read(self, logs: Logs, wanted: LogRequest) -> None:
        async for item in logs.read(wanted):
            self.seen.append(f"{item.replica_number}: {item.line}" if isinstance(item, LogLine) else item)

    async def sees(self, *expected: str) -> None:
        """Until exactly these have come, in any order; what was seen is forgotten then."""
        with anyio.move_on_after(LIMIT_SECS):
            while len(self.seen) < len(expected):
                await anyio.sleep(0.002)
        assert sorted(expected) == sorted(self.seen)
        self.seen.clear()


@asynccontextmanager
async def followed(stage: Stage, port: Port, *names: str) -> AsyncIterator[Reader]:
    """Somebody follows these deployments, or all."""
    reader = Reader()
    async with anyio.create_task_group() as tasks:
        logs = Logs(stage.store, port.dispatch, stage.bell, tasks)
        tasks.start_soon(reader.read, logs, LogRequest(deployments=names, follow=True, tail=5))
        yield reader
        tasks.cancel_scope.cancel()


async def back(port: Port, name: str, container: Container) -> None:
    """The node dials again as itself and tells all it has."""
    node_id, token = port.tokens[name]
    hello = Hello(role="agent", node_id=node_id, token=token, facts=encode(facts(name=name)))
    await port.dial(hello, container.serve)
    await until(lambda: port.dispatch.session(node_id))
    await port.stage.runs(node_id)


async def test_a_node_that_was_away_when_following_began_joins_in_when_it_is_back(stage: Stage) -> None:
    container = Container()
    async with tunnel_port(stage) as port:
        link = await port.node("edge-1", container.serve)
        await port.deploy()
        link.close("a cut")
        await until(lambda: port.dispatch.session(port.tokens["edge-1"][0]) is None)
        container.write(0, "one")
        async with followed(stage, port, "web") as reader:
            await reader.sees("no logs of web/0 on edge-1: the node is not connected")
            await back(port, "edge-1", container)
            await reader.sees("0: one")
            container.write(0, "two")
            await reader.sees("0: two")


async def test_a_node_that_is_lost_while_followed_goes_on_where_it_stopped(stage: Stage) -> None:
    container = Container()
    async with tunnel_port(stage) as port:
        link = await port.node("edge-1", container.serve)
        await port.deploy()
        container.write(0, "one", "two")
        async with followed(stage, port, "web") as reader:
            await reader.sees("0: one", "0: two")
            link.close("a cut")
            await until(lambda: len(reader.seen) == 1)
            assert "no logs of web/0 on edge-1: the link to" in reader.seen.pop()
            container.write(0, "three")
            await stage.runs(port.tokens["edge-1"][0])
            await back(port, "edge-1", container)
            await reader.sees("0: three")
    assert [(0, None, 5), (0, "001", None)] == container.asked


def test_a_reader_goes_on_behind_the_lines_of_the_last_second_that_it_has_seen() -> None:
    place = Place()
    assert place.resume() is None
    assert all(place.is_new(time) for time in ("1", "2", "2"))
    assert place.resume() == "2"
    assert [False, False, True, True] == [place.is_new(time) for time in ("2", "2", "2", "3")]
    assert place.resume() == "3"
    assert [True, True] == [place.is_new(time) for time in ("4", "3")]


async def test_a_replica_that_is_made_later_joins_in_once_its_node_has_it(stage: Stage) -> None:
    container = Container()
    container.unknown.add(1)
    async with tunnel_port(stage) as port:
        await port.node("edge-1", container.serve)
        await port.deploy()
        container.write(0, "one")
        async with followed(stage, port, "web") as reader:
            await reader.sees("0: one")
            await stage.deployments.patch("web", {"replicas": 2}, by=ME)
            await until(lambda: (1, None, 5) in container.asked)
            container.unknown.clear()
            container.write(1, "hello")
            await stage.runs(port.tokens["edge-1"][0])
            await reader.sees("1: hello")


async def test_who_follows_everything_sees_deployments_that_are_made_later(stage: Stage) -> None:
    container = Container()
    async with tunnel_port(stage) as port:
        await port.node("edge-1", container.serve)
        async with followed(stage, port) as reader:
            await anyio.wait_all_tasks_blocked()
            container.write(0, "one")
            await port.deploy()
            await reader.sees("0: one")
