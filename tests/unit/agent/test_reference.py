"""
What fledx-core's own tests ask of an agent holds here, with its time limits.

`SHOWN` says which test shows each of them; those of a whole agent stand here, on a fake engine. The limits are theirs.
"""

from __future__ import annotations

import ast
import itertools
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from anyio.abc import SocketStream

from fledx.models.health import DeploymentHealth, HealthProbe
from tests.ports import free_port
from tests.unit.agent.stage import replica
from tests.unit.agent.whole import WEB, World
from tests.waiting import in_time_async, until

TESTS = Path(__file__).resolve().parents[2]
AWAY_SECS = 3.0
"""After which the wait for the next redial, whose length is drawn, has more than 8 s left in one of fifty cases."""

HERE = "unit/agent/test_reference.py"
REAL = "acceptance/test_agent_docker.py"

LIMITS = {
    "the first word": 3.0,
    "running": 8.0,
    "running again": 5.0,
    "told again": 10.0,
    "healed": 8.0,
    "ended": 2.0,
}
"""Seconds, from the start of the agent or of what it waits for; theirs to end are 2 for a loop, 5 for a whole agent."""

SHOWN = {
    "an agent that is restarted adopts what runs": (HERE, "test_an_agent_that_is_restarted_adopts_what_runs"),
    "the same on real engines, killed": (
        "acceptance/test_agent_faults.py",
        "test_faults_8_and_14_an_agent_that_is_killed_frozen_or_cut_off_leaves_its_containers_alone",
    ),
    "a control plane that is away for three seconds": (HERE, "test_a_control_plane_that_was_away_is_told_again"),
    "a partition, and no hot loop in it": (HERE, "test_a_partition_is_no_hot_loop_and_heals"),
    "Docker restarted": (REAL, "test_an_engine_that_is_restarted_gets_its_containers_back_and_no_crash_is_counted"),
    "no engine at all": (HERE, "test_without_engine_and_control_plane_it_serves_its_pages_and_ends_at_once"),
    "a control plane that answers nonsense": ("unit/tunnel/test_dial.py", "test_one_that_is_no_tunnel"),
    "health within two seconds": (HERE, "test_health_is_known_within_two_seconds_and_goes_on_without_docker"),
    "the first word within three seconds": (HERE, "test_an_agent_that_is_restarted_adopts_what_runs"),
    "pull, create, start, inspect, stop, remove": (
        "contracts/test_runtime.py",
        "test_a_container_lives_through_its_states",
    ),
    "stop and remove of what has ended": ("contracts/test_runtime.py", "test_what_is_done_already_is_fine"),
    "a certificate renewed while links live": (
        "unit/tunnel/test_listen.py",
        "test_a_new_certificate_counts_for_the_next_connection",
    ),
    "somebody else's authority": (
        "unit/tunnel/test_dial.py",
        "test_somebody_else_with_a_certificate_for_the_same_name",
    ),
    "a failed start waits and recovers": (
        "unit/agent/test_reconcile.py",
        "test_a_new_one_that_does_not_start_gives_way_to_the_old_one",
    ),
    "a pass inside the wait starts nothing": (
        "unit/agent/test_restarts.py",
        "test_a_crash_loop_is_slowed_down_and_then_tried_every_five_minutes",
    ),
    "its own environment beats a config's": (
        "unit/control_plane/test_configs.py",
        "test_precedence_is_node_then_deployment_then_the_spec_each_level_by_name",
    ),
    "stopped removes nothing but runs nothing": (
        "unit/agent/test_reconcile.py",
        "test_a_stopped_deployment_keeps_nothing_running_and_starts_again_from_what_is_there",
    ),
    "a port conflict is named": ("unit/agent/test_reconcile.py", "test_a_port_that_is_taken_is_named_with_its_holder"),
    "another fingerprint is another container": (
        "unit/agent/test_reconcile.py",
        "test_a_new_template_replaces_the_container_and_keeps_the_old_one_until_the_new_one_is_stable",
    ),
    "a missing secret is an error": ("unit/agent/test_reconcile.py", "test_a_missing_secret_is_told_and_awaited"),
    "cleanup takes all along": (
        "unit/agent/test_agent.py",
        "test_containers_are_left_running_or_taken_along_as_the_settings_say",
    ),
    "adoption restores state": (
        "unit/agent/test_reconcile.py",
        "test_a_fresh_agent_adopts_what_fits_and_restarts_nothing",
    ),
    "a config that cannot be had keeps the old": (
        "unit/agent/test_agent.py",
        "test_a_desired_state_that_is_none_is_refused_and_nothing_changes",
    ),
    "`..`, relative and outside paths": ("unit/agent/test_volumes.py", "test_anything_else_is_refused_and_not_made"),
    "no prefix, no volume": ("unit/agent/test_volumes.py", "test_nothing_is_allowed_where_no_prefix_is"),
    "liveness at its threshold": (
        "unit/agent/test_probes.py",
        "test_liveness_gives_its_verdict_at_the_threshold_and_not_before",
    ),
    "readiness restarts nothing": ("unit/agent/test_probes.py", "test_readiness_never_restarts_anything"),
    "the start period": (
        "unit/agent/test_probes.py",
        "test_failures_in_the_start_period_count_for_nothing_until_the_first_success",
    ),
    "a dead Docker fails no probe": ("unit/agent/test_probes.py", "test_a_dead_docker_is_no_failed_probe"),
    "samples are bounded": (
        "unit/test_usage_wire.py",
        "test_what_was_not_taken_by_the_link_is_told_again_and_the_oldest_gives_way_after_a_week",
    ),
    "frames split and joined": (
        "unit/tunnel/test_small_parts.py",
        "test_short_and_long_heartbeats_are_read_between_frames_cut_anywhere",
    ),
    "secret files are private": (
        "unit/agent/test_secrets.py",
        "test_a_secret_file_lies_in_memory_for_its_owner_alone_and_is_mounted_read_only",
    ),
}


@pytest.mark.parametrize("behaviour", SHOWN)
def test_each_behaviour_has_its_test(behaviour: str) -> None:
    path, name = SHOWN[behaviour]
    tree = ast.parse((TESTS / path).read_text())
    defined = {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in defined


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def _in_time(story: Callable[[World], Awaitable[Mapping[str, float]]], directory: Path) -> None:
    """Of up to three worlds in which it is told, one keeps all the limits for which the story gives seconds."""
    worlds = (World(directory / str(number)) for number in itertools.count())

    async def over() -> float:
        took = await story(next(worlds))
        print(", ".join(f"{what}: {seconds:.2f} s" for what, seconds in took.items()))
        return max(seconds - LIMITS[what] for what, seconds in took.items())

    assert await in_time_async(over, 0.0) <= 0.0


def _told(world: World) -> bool:
    found = world.cp.instances.get(WEB)
    return found is not None and (found.state, found.generation) == ("running", 1)


@pytest.mark.anyio
async def test_an_agent_that_is_restarted_adopts_what_runs(tmp_path: Path) -> None:
    async def story(world: World) -> dict[str, float]:
        took: dict[str, float] = {}
        async with world.cp.listening():
            began = time.monotonic()
            async with world.agent(world.cp.join):
                await world.cp.connected()
                took["the first word"] = time.monotonic() - began
                await world.cp.push(replica())
                await until(lambda: _told(world))
                took["running"] = time.monotonic() - began
            took["ended"] = world.ended
            await until(lambda: world.cp.link is None)
            before = [each.id for each in world.runtime.all()]
            world.cp.instances.clear()
            began = time.monotonic()
            async with world.agent():
                await until(lambda: _told(world))
                took["running again"] = time.monotonic() - began
        assert before == [each.id for each in world.runtime.running()]
        assert len(before) == 1
        return took

    await _in_time(story, tmp_path)


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_control_plane_that_was_away_is_told_again(tmp_path: Path) -> None:
    async def story(world: World) -> dict[str, float]:
        before: list[str] = []

        async def away(port: int) -> None:
            before.extend(each.id for each in world.runtime.running())
            await anyio.sleep(AWAY_SECS)
            assert before == [each.id for each in world.runtime.running()]

        took = await _told_again_after(away, world)
        assert before == [each.id for each in world.runtime.all()]
        return {"told again": took, "ended": world.ended}

    await _in_time(story, tmp_path)


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_partition_is_no_hot_loop_and_heals(tmp_path: Path) -> None:
    async def story(world: World) -> dict[str, float]:
        took = await _told_again_after(_partition, world)
        assert [WEB] == list(world.cp.instances)
        assert len(world.runtime.all()) == 1
        return {"healed": took, "ended": world.ended}

    await _in_time(story, tmp_path)


async def _told_again_after(absence: Callable[[int], Awaitable[None]], world: World) -> float:
    """
    An agent runs a replica when its control plane goes; the seconds it takes until that one, back, has been told.

    `absence` is what happens meanwhile at the control plane's port.
    """
    port = free_port()
    async with anyio.create_task_group() as tasks:
        async with world.cp.listening(port):
            stop = await tasks.start(_agent, world)
            await world.cp.connected()
            await world.cp.push(replica())
            await until(lambda: _told(world))
        world.cp.instances.clear()
        await absence(port)
        assert not world.cp.instances
        async with world.cp.listening(port):
            began = time.monotonic()
            await until(lambda: _told(world))
            took = time.monotonic() - began
            stop.set()
    return took


async def _partition(port: int) -> None:
    """Somebody on the way takes every connection and closes it; there are some, and not too many."""
    tried: list[float] = []

    async def hang_up(stream: SocketStream) -> None:
        tried.append(time.monotonic())
        await stream.aclose()

    began = time.monotonic()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with listener, anyio.create_task_group() as way:
        way.start_soon(listener.serve, hang_up)
        await anyio.sleep(AWAY_SECS)
        await until(lambda: tried)
        way.cancel_scope.cancel()
    assert len(tried) <= 15 * (time.monotonic() - began)
    assert all(after - before >= 0.08 for before, after in itertools.pairwise(tried))


async def _agent(world: World, *, task_status: anyio.abc.TaskStatus[anyio.Event]) -> None:
    """An agent that outlives the control plane it joined; ends when the event it returns is set."""
    stop = anyio.Event()
    async with world.agent(world.cp.join):
        task_status.started(stop)
        await stop.wait()


@pytest.mark.anyio
async def test_without_engine_and_control_plane_it_serves_its_pages_and_ends_at_once(tmp_path: Path) -> None:
    async def story(world: World) -> dict[str, float]:
        async with world.cp.listening(), world.agent(world.cp.join):
            await world.cp.connected()
        world.runtime.down = True
        port = free_port()
        with anyio.fail_after(60):
            async with world.agent(metrics_port=port):
                page = ""
                while "fledx_agent_runtime_up 0.0" not in page:
                    page = await anyio.to_thread.run_sync(_page, port)
        return {"ended": world.ended}

    await _in_time(story, tmp_path)


def _page(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


@pytest.mark.anyio
async def test_health_is_known_within_two_seconds_and_goes_on_without_docker(world: World) -> None:
    asked = 0

    async def app(stream: SocketStream) -> None:
        nonlocal asked
        asked += 1
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def known() -> float:
        await world.cp.push()
        await until(lambda: not world.cp.instances)
        await world.cp.push(replica(health=DeploymentHealth(liveness=probe)))
        await until(lambda: _told(world))
        began = time.monotonic()
        await until(lambda: world.cp.instances[WEB].health is not None)
        return time.monotonic() - began

    world.runtime.address = "127.0.0.1"
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    probe = HealthProbe(type="http", path="/", port=port, interval_seconds=0.2)
    async with listener, world.cp.listening(), anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, app)
        async with world.agent(world.cp.join):
            await world.cp.connected()
            assert await in_time_async(known, 2) <= 2
            world.runtime.down = True
            before = asked
            await until(lambda: asked >= before + 2)
        tasks.cancel_scope.cancel()
    health = world.cp.instances[WEB].health
    assert health is None or health.healthy
    assert world.cp.instances[WEB].restart_count == 0
