"""What an agent does from its join to its end, on a fake engine and a tunnel of its own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from fledx.agent.runtime.containers import LogEntry
from fledx.errors import Denied, FledxError, InvalidSpec
from tests.fakes.control_plane import read_lines
from tests.unit.agent.stage import port, replica
from tests.unit.agent.whole import WEB, World
from tests.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_node_joins_once_and_is_known_ever_after(world: World) -> None:
    async with world.cp.listening():
        async with world.agent(world.cp.join):
            await world.cp.connected()
        async with world.agent():
            await world.cp.connected()
        async with world.agent(world.cp.join):
            await world.cp.connected()
    assert ["join", "agent", "agent", "agent"] == [hello.role for hello in world.cp.hellos]
    assert {"edge-1"} == {hello.facts["name"] for hello in world.cp.hellos}
    assert 1 == len({hello.facts["host_key"] for hello in world.cp.hellos})
    kept = json.loads((world.directory / "data" / "identity.json").read_text())
    assert (world.cp.node_id, "node-secret") == (kept["node_id"], kept["node_token"])


async def test_what_is_pushed_runs_and_is_reported_at_once(world: World) -> None:
    async with world.cp.listening(), world.agent(world.cp.join):
        await world.cp.connected()
        took = 1.1
        while took >= 1 and world.cp.revision < 3:  # a machine that is held up is so now and then
            await world.cp.push()
            await until(lambda: not world.cp.instances)
            began = time.monotonic()
            await world.cp.push(replica(ports=(port(8080),)))
            await until(lambda: WEB in world.cp.instances and world.cp.instances[WEB].ready)
            took = time.monotonic() - began
        assert took < 1
        shown, revision = world.cp.instances[WEB], world.cp.revision
        assert ("running", ("127.0.0.1:8080",)) == (shown.state, shown.endpoints)
        assert revision == world.cp.reports[-1].revision
        world.runtime.exit(world.runtime.running()[0].id, 3)
        await until(lambda: world.cp.instances[WEB].restart_count == 1)
        assert world.cp.instances[WEB].exit_code == 3
        await world.cp.push()
        await until(lambda: not world.cp.instances)
        assert {"start", "crash", "restart", "stop"} <= {each.kind for each in world.cp.happenings}


async def test_the_node_goes_on_by_itself_while_the_link_is_cut_and_tells_afterwards(world: World) -> None:
    async with world.cp.listening():
        taken = world.cp.port
        async with world.agent(world.cp.join):
            await world.cp.connected()
            await world.cp.push(replica())
            await until(lambda: WEB in world.cp.instances and world.cp.instances[WEB].ready)
            world.cp.refuses_links = True
            world.cp.cut()
            first = world.runtime.running()[0].id
            world.runtime.exit(first, 1)
            await until(lambda: [each.id for each in world.runtime.running()] not in ([], [first]))
            second = world.runtime.running()[0].id
            world.cp.refuses_links = False
            await world.cp.connected()
            assert [second] == [each.id for each in world.runtime.running()]
            assert world.cp.reports[0].full
            await until(lambda: "restart" in {each.kind for each in world.cp.happenings})
    assert taken == world.cp.port


async def test_a_cold_start_without_any_control_plane_runs_what_was_last_wanted(world: World) -> None:
    async with world.cp.listening(), world.agent(world.cp.join):
        await world.cp.connected()
        await world.cp.push(replica(0), replica(1))
        await until(lambda: len(world.runtime.running()) == 2)
    world.runtime.go_away()
    world.runtime.come_back()
    assert world.runtime.running() == []
    async with world.agent():
        await until(lambda: len(world.runtime.running()) == 2)


async def test_an_engine_that_is_away_at_the_start_is_told_and_awaited(world: World) -> None:
    world.runtime.down = True
    async with world.cp.listening(), world.agent(world.cp.join):
        await world.cp.connected()
        facts = world.cp.reports[0].node
        assert facts is not None
        assert "Docker at fake does not answer" == facts.runtime_error
        await world.cp.push(replica())
        await until(lambda: WEB in world.cp.instances)
        assert "unknown" == world.cp.instances[WEB].state
        world.runtime.come_back()
        await until(lambda: world.cp.instances[WEB].state == "running")


async def test_containers_are_left_running_or_taken_along_as_the_settings_say(world: World) -> None:
    async with world.cp.listening():
        async with world.agent(world.cp.join):
            await world.cp.connected()
            await world.cp.push(replica(0), replica(1))
            await until(lambda: len(world.runtime.running()) == 2)
        assert len(world.runtime.running()) == 2
        async with world.agent(cleanup_on_shutdown=True):
            await world.cp.connected()
        assert world.runtime.all() == []


async def test_a_spent_join_string_is_fatal_and_a_control_plane_that_is_away_is_awaited(world: World) -> None:
    async with world.cp.listening():
        taken, join = world.cp.port, world.cp.join
    async with world.agent(join):
        await anyio.sleep(0.05)
        assert world.failure is None
        async with world.cp.listening(taken):
            await world.cp.connected()
    other = World(world.directory / "other")
    world.cp.token = None
    async with world.cp.listening(), other.agent(world.cp.join):
        await until(lambda: other.failure is not None)
    assert isinstance(other.failure, Denied)
    assert "not known here" in other.failure.text


@pytest.mark.parametrize("join", ["nonsense", "fledx-join.AAAA", ""])
async def test_a_bad_join_string_is_fatal_at_once(world: World, join: str) -> None:
    async with world.agent(join):
        await until(lambda: world.failure is not None)
    assert isinstance(world.failure, InvalidSpec)


async def test_a_refused_token_is_retried_slowly_and_a_fresh_join_string_used_once(world: World) -> None:
    async with world.cp.listening():
        async with world.agent(world.cp.join):
            await world.cp.connected()
            await world.cp.push(replica())
            await until(lambda: len(world.runtime.running()) == 1)
        world.cp.node_token = None
        async with world.agent():
            await until(lambda: len(world.cp.hellos) >= 3)
            assert world.failure is None
            assert len(world.runtime.running()) == 1
        world.cp.token = "again"
        async with world.agent(world.cp.join):
            await world.cp.connected()
        assert "node-secret-2" == world.cp.node_token
        assert len(world.runtime.running()) == 1


async def test_a_desired_state_that_is_none_is_refused_and_nothing_changes(world: World) -> None:
    async with world.cp.listening(), world.agent(world.cp.join):
        await world.cp.connected()
        await world.cp.push(replica())
        await until(lambda: len(world.runtime.running()) == 1)
        with pytest.raises(InvalidSpec, match="is not JSON"):
            await world.cp.push_raw(b"\x00\x01")
        assert world.cp.link is not None
        with pytest.raises(InvalidSpec, match="serves no streams of kind 'exec-nonsense'"):
            await world.cp.link.open("exec-nonsense", {})
        assert len(world.runtime.running()) == 1


async def _all(stream: Any) -> bytes:
    data = b""
    while piece := await stream.receive():
        data += piece
    return data


def _entry(number: int, stream: str = "stdout") -> LogEntry:
    return LogEntry(stream=stream, time=f"2026-11-25T12:00:{number:02d}.000000000Z", line=f"line {number}")


async def test_logs_are_the_containers_own_lines(world: World) -> None:
    async with world.running(replica()):
        container_id = world.runtime.running()[0].id
        world.runtime.written[container_id] = [_entry(1), _entry(2, "stderr"), _entry(3)]
        lines = read_lines(await _all(await world.cp.logs(WEB)))
        assert [("stdout", "line 1"), ("stderr", "line 2"), ("stdout", "line 3")] == [
            (each.stream, each.line) for each in lines
        ]
        assert "2026-11-25T12:00:01.000000000Z" == lines[0].time
        tail = read_lines(await _all(await world.cp.logs(WEB, tail=1)))
        assert ["line 3"] == [each.line for each in tail]
        with pytest.raises(FledxError, match="replica 7 of deployment d-web is not on this node"):
            await world.cp.logs(("d-web", 7))


async def test_a_tail_reaches_back_into_the_container_that_crashed(world: World) -> None:
    async with world.running(replica()):
        first = world.runtime.running()[0].id
        world.runtime.written[first] = [_entry(1), _entry(2)]
        world.runtime.exit(first, 1)
        await until(lambda: world.cp.instances[WEB].restart_count == 1)
        world.runtime.written[world.runtime.running()[0].id] = [_entry(3)]
        lines = read_lines(await _all(await world.cp.logs(WEB, tail=2)))
        assert ["line 2", "line 3"] == [each.line for each in lines]


async def test_following_goes_on_with_the_container_that_takes_over_and_ends_with_the_replica(world: World) -> None:
    async with world.running(replica()):
        first = world.runtime.running()[0].id
        world.runtime.written[first] = [_entry(1)]
        stream = await world.cp.logs(WEB, follow=True)
        assert ["line 1"] == [each.line for each in read_lines(await stream.receive())]
        world.runtime.written[first].append(_entry(2))
        assert ["line 2"] == [each.line for each in read_lines(await stream.receive())]
        await world.cp.push(replica(image="app:2", revision=2))
        await until(lambda: world.cp.instances[WEB].revision == 2)
        world.runtime.written.setdefault(world.runtime.running()[0].id, []).append(_entry(3))
        with anyio.fail_after(60):
            assert ["line 3"] == [each.line for each in read_lines(await stream.receive())]
            await world.cp.push()
            assert b"" == await stream.receive()
