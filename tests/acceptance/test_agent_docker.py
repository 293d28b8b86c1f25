"""The agent on real engines: what Docker really does when it is restarted, frozen, full or meddled with."""

from __future__ import annotations

import itertools
import os
import re
import resource
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from fledx.agent.run import serve
from fledx.models.desired import ReplicaDesired
from fledx.models.health import DeploymentHealth, HealthProbe
from fledx.models.port import PortMapping
from fledx.models.registry import RegistryLogin
from fledx.models.template import Limits
from fledx.models.volume import VolumeMount
from fledx.sample.image import NAME as SAMPLE
from fledx.sample.image import PORT
from fledx.settings.agent import AgentSettings
from fledx.tunnel.stream import Stream
from tests.acceptance.agent_alone import LIMIT, Node, agent_and_engine, replica, shell
from tests.bed.commands import run
from tests.bed.engine import Engine
from tests.bed.engines import Engines
from tests.bed.front import Front
from tests.bed.registry import PASSWORD, USER
from tests.bed.shelf import Shelf
from tests.fakes.control_plane import read_lines
from tests.waiting import in_time_async, until

pytestmark = [pytest.mark.anyio, pytest.mark.docker, pytest.mark.slow]

SHARED = "unix:///var/run/docker.sock"
SOAK = os.environ.get("FLEDX_TEST_SOAK") == "1"
FILLING, PULL_SECS = 6_000_000, 60.0
PROGRESS = re.compile(r"pulling \S+ \(\S+\): \d+ % of \d+ MB, 0 of 1 layers")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A node on this machine's engine."""
    async with agent_and_engine(tmp_path, SHARED) as made:
        yield made


@pytest.fixture
async def own(tmp_path: Path, engines: Engines) -> AsyncIterator[Node]:
    """A node on an engine of its own, that a test may treat as it likes: `engines["e1"]`."""
    async with agent_and_engine(tmp_path, engines["e1"].docker_host) as made:
        yield made


async def test_a_push_becomes_a_running_container_about_as_fast_as_docker_run(node: Node) -> None:
    async with node.agent():
        ours, theirs = [], []
        for number in range(5):
            began = time.perf_counter()
            node.docker("run", "-d", "--label", f"fledx.node_id={node.cp.node_id}", SAMPLE)
            theirs.append(time.perf_counter() - began)
            began = time.perf_counter()
            await node.cp.push(*(replica(each) for each in range(number + 1)))
            await node.until(lambda found: found.state == "running", number)
            ours.append(time.perf_counter() - began)
        print(f"push to running {sorted(ours)[2]:.3f} s, docker run -d {sorted(theirs)[2]:.3f} s")
        assert sorted(ours)[2] < 2 * sorted(theirs)[2]


async def test_a_container_without_all_our_labels_is_left_alone(node: Node) -> None:
    """Fault 17."""
    theirs = node.docker("run", "-d", "--label", f"fledx.node_id={node.cp.node_id}", SAMPLE)
    async with node.agent():
        await node.running(replica())
        await node.cp.push()
        with anyio.fail_after(LIMIT):
            while len(node.ids()) > 1:
                await anyio.sleep(0.05)
        assert [theirs] == node.ids()


async def test_a_container_removed_or_stopped_by_hand_is_back_within_five_seconds(node: Node) -> None:
    """Fault 16."""
    async with node.agent():
        await node.running(replica())
        told: list[str] = []
        for words, deed in ((["rm", "-f"], "removed"), (["stop", "-t", "0"], "stopped"), (["pause"], "paused")):
            took = await in_time_async(partial(_back_after, node, words, deed, told), 5)
            assert took <= 5, f"docker {words[0]}: back after {took:.1f} s"
        await until(lambda: len(_reasons(node, "drift")) == len(told))
        assert told == [reason.split()[3] for reason in _reasons(node, "drift")]


async def _back_after(node: Node, words: list[str], deed: str, told: list[str]) -> float:
    """Seconds until the one replica serves again after this deed, which is noted, was done to its container."""
    told.append(deed)
    (container_id,) = node.ids()
    node.docker(*words, container_id)
    began = time.monotonic()
    with anyio.fail_after(LIMIT):
        while not await _serves(node, container_id, words[0]):
            await anyio.sleep(0.05)
    took = time.monotonic() - began
    await node.until(lambda found: found.state == "running")
    print(f"docker {words[0]}: back after {took:.2f} s")
    return took


def _reasons(node: Node, kind: str) -> list[str]:
    return [each.reason for each in node.cp.happenings if each.kind == kind]


async def _serves(node: Node, before: str, deed: str) -> bool:
    found = node.ids()
    if deed == "pause":
        return "false" == node.docker("inspect", "-f", "{{.State.Paused}}", before)
    return bool(found) and (deed != "rm" or found != [before])


async def test_a_crash_is_told_with_code_and_last_words(node: Node) -> None:
    async with node.agent():
        await node.cp.push(shell("echo starting; echo 'no database' >&2; exit 7", restart="never"))
        found = await node.until(lambda found: "no database" in (found.message or ""))
        assert ("failed", 7) == (found.state, found.exit_code)
        assert (found.message or "").startswith("exited with code 7 after ")
        await node.cp.push(shell("exit 0", restart="on_failure", revision=2))
        found = await node.until(lambda found: found.state == "stopped")
        assert found.exit_code == 0


async def test_too_much_memory_is_told_as_such(node: Node) -> None:
    async with node.agent():
        hungry = shell("head -c 200000000 /dev/zero | tail", limits=Limits(memory_bytes=16 * 1024**2), restart="never")
        await node.cp.push(hungry)
        found = await node.until(lambda found: found.state == "failed")
        assert (found.message or "").startswith("killed")  # Docker 20.10 now and then misses why


async def test_what_cannot_run_says_why_and_harms_nobody(node: Node, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cases = {
            1: (replica(1, image="localhost:1/none:1"), "image localhost:1/none:1: the registry cannot be reached"),
            2: (replica(2, ports=(PortMapping(container_port=80, host_port=port),)), f"port {port}/tcp of node edge-1"),
            3: (replica(3, volumes=(VolumeMount(host_path="/etc", container_path="/x"),)), "/etc lies outside what"),
        }
        async with node.agent(allowed_volume_prefixes=(str(tmp_path),)):
            await node.cp.push(replica(0), *(each for each, _ in cases.values()))
            await node.until(lambda found: found.ready)
            for number, (_, words) in cases.items():
                found = await node.until(lambda found: found.state == "failed", number)
                assert words in (found.message or "")
            assert len(node.ids()) == 1


@dataclass(frozen=True)
class Dawdler:
    """A registry behind a slow door."""

    shelf: Shelf
    front: Front

    def image(self, tag: str) -> str:
        """One by its digest that takes `PULL_SECS` to pull, as long as `hurry` is not called."""
        self.front.behave(rate=FILLING / PULL_SECS)
        return f"{self.front.address}/{tag}@{self.shelf.put(tag, note=tag, filling=FILLING)}"

    def hurry(self) -> None:
        """What is on its way comes at once."""
        self.front.behaviour.rate = None


@pytest.fixture
def dawdler() -> Iterator[Dawdler]:
    """On this machine; what was pulled from it is removed with it."""
    with Shelf() as shelf, closing(Front("127.0.0.1", registry=shelf.port)) as front:
        yield Dawdler(shelf, front)
        pulled = run("docker", "images", "-q", f"{front.address}/*").split()
        if pulled:
            run("docker", "rmi", "-f", *pulled)


async def test_nineteen_replicas_start_as_fast_while_the_image_of_a_twentieth_takes_a_minute(
    dawdler: Dawdler, node: Node
) -> None:
    """The minute is waited out in a soak; else the rest arrives at once, when the nineteen run."""
    node.cp.registries = (RegistryLogin(host=dawdler.front.address, username=USER, password=PASSWORD),)
    tags = (f"slow:{number}" for number in itertools.count(1))

    async def longer() -> float:
        image = await anyio.to_thread.run_sync(dawdler.image, next(tags))
        await _none(node)
        alone = await _nineteen(node)
        await _none(node)
        beside = await _nineteen(node, replica(0, image=image))
        print(f"19 replicas in {alone:.1f} s alone, in {beside:.1f} s beside the slow one")
        found = await node.until(lambda found: bool(PROGRESS.fullmatch(found.message or "")))
        assert "pending" == found.state
        assert image.partition("@")[0] in (found.message or "")
        if not SOAK:
            dawdler.hurry()
        await node.until(lambda found: found.state == "running", within=PULL_SECS + LIMIT)
        return beside - (1.5 * alone + 1)

    async with node.agent():
        assert await in_time_async(longer, 0.0) <= 0.0


async def _none(node: Node) -> None:
    """Nothing is wanted, and nothing is there."""
    await node.cp.push()
    with anyio.fail_after(LIMIT):
        while node.docker("ps", "-aq", "--filter", f"label=fledx.node_id={node.cp.node_id}"):
            await anyio.sleep(0.05)


async def _nineteen(node: Node, *more: ReplicaDesired) -> float:
    """Seconds until the replicas 1 to 19 run, wanted together with these."""
    began = time.monotonic()
    await node.cp.push(*more, *(replica(number) for number in range(1, 20)))
    for number in range(1, 20):
        await node.until(lambda found: found.state == "running", number)
    return time.monotonic() - began


async def test_probes_ask_the_container_itself_and_liveness_restarts_it(node: Node) -> None:
    probe = HealthProbe(type="http", port=PORT, path="/healthz", interval_seconds=0.3, failure_threshold=2)
    alive = ("sh", "-c", "! test -e /tmp/dead")
    check = HealthProbe(type="exec", command=alive, interval_seconds=0.3, failure_threshold=2)
    health = DeploymentHealth(readiness=probe, liveness=check)
    async with node.agent():
        await node.cp.push(replica(health=health, env={"READY_AFTER": "1"}))
        found = await node.until(lambda found: found.state == "running")
        assert not found.ready
        await node.until(lambda found: found.ready)
        (container_id,) = node.ids()
        node.docker("exec", container_id, "touch", "/tmp/unhealthy")
        found = await node.until(lambda found: not found.ready)
        assert "running" == found.state
        node.docker("exec", container_id, "rm", "/tmp/unhealthy")
        await node.until(lambda found: found.ready)
        node.docker("exec", container_id, "touch", "/tmp/dead")
        found = await node.until(lambda found: found.restart_count == 1 and found.ready)
        assert found.container_id != container_id
        assert ["liveness: sh ended with 1, 2 times in a row"] == _reasons(node, "unhealthy")


async def test_logs_come_whole_through_the_tunnel_and_a_slow_reader_costs_no_memory(node: Node) -> None:
    async with node.agent():
        count = 40_000
        await node.running(shell(f"yes 0123456789012345678901234567890123456789 | head -n {count}; exec sleep 600"))
        (container_id,) = node.ids()
        with anyio.fail_after(LIMIT):
            while "sleep 600" not in [
                " ".join(line.split()[-2:]) for line in node.docker("top", container_id).splitlines()
            ]:
                await anyio.sleep(0.05)
            while len(node.docker("logs", "--tail", str(count), container_id).splitlines()) < count:
                await anyio.sleep(0.05)  # the engine has not written down all of it
        began = time.perf_counter()
        assert count == await _count(await node.cp.logs(("d-web", 0)))
        print(f"{count / (time.perf_counter() - began):.0f} lines/s")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        slow = await node.cp.logs(("d-web", 0), follow=True)
        assert await slow.receive(1000)
        await anyio.sleep(1.0)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000
        slow.reset("enough")


async def _count(stream: Stream) -> int:
    lines = 0
    while data := await stream.receive():
        lines += data.count(b"\n")
    return lines


async def test_a_followed_log_goes_on_in_the_next_container(node: Node) -> None:
    async with node.agent():
        await node.running(shell("echo one; sleep 600"))
        stream = await node.cp.logs(("d-web", 0), follow=True)
        with anyio.fail_after(LIMIT):
            assert ["one"] == [each.line for each in read_lines(await stream.receive())]
            await node.cp.push(shell("echo two; sleep 600", revision=2))
            assert ["two"] == [each.line for each in read_lines(await stream.receive())]
            await node.cp.push()
            assert b"" == await stream.receive()


async def test_an_engine_that_is_restarted_gets_its_containers_back_and_no_crash_is_counted(
    own: Node, engines: Engines
) -> None:
    """Fault 15, restarted."""
    async with own.agent():
        await own.running(replica(0), replica(1))
        before = set(own.ids())

        async def restarted() -> float:
            await anyio.to_thread.run_sync(engines["e1"].restart)
            return await _all_back(own, before)

        assert await in_time_async(restarted, 10) <= 10, own.cp.happenings
        for number in (0, 1):
            await own.until(lambda found: found.state == "running", number)
        assert not _reasons(own, "crash")


async def _all_back(own: Node, before: set[str]) -> float:
    """Seconds until these run."""
    began = time.monotonic()
    with anyio.fail_after(LIMIT):
        while set(own.ids()) != before:
            await anyio.sleep(0.1)
    took = time.monotonic() - began
    print(f"all back {took:.1f} s after the engine")
    return took


async def test_a_cold_start_without_a_link_runs_everything_within_ten_seconds(own: Node, engines: Engines) -> None:
    """Fault 7."""
    async with own.agent():
        await own.running(replica(0), replica(1))
        before = set(own.ids())
    own.cp.node_token = "another, so that nobody is let in"
    assert await in_time_async(lambda: _cold_start(own, engines["e1"], before), 10) <= 10


async def _cold_start(own: Node, engine: Engine, before: set[str]) -> float:
    """Seconds from an engine that comes up after the agent until these run."""
    engine.stop()
    hellos = len(own.cp.hellos)
    given = AgentSettings(
        data_dir=str(own._directory / "data"),
        config_dir=str(own._directory / "config"),
        docker_host=own.docker_host,
        metrics_port=0,
        health_port=0,
    )
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: serve(given, environ={}, stop=stop))
        await until(lambda: len(own.cp.hellos) > hellos)
        await anyio.to_thread.run_sync(engine.start)
        took = await _all_back(own, before)
        stop.set()
    return took


async def test_a_frozen_engine_is_told_costs_no_threads_and_is_taken_up_again(own: Node, engines: Engines) -> None:
    """Fault 15, hung: it accepts and never answers."""

    async def told() -> float:
        engines["e1"].thaw()
        await own.until(lambda found: found.state == "running", within=120)
        engines["e1"].freeze()
        began = time.monotonic()
        found = await own.until(lambda found: found.state == "unknown", within=120)
        took = time.monotonic() - began
        print(f"told {took:.1f} s after the engine froze")
        assert "did not answer within" in (found.message or "")
        return took

    async with own.agent():
        await own.running(replica())
        before, threads = own.pids(), threading.active_count()
        try:
            assert await in_time_async(told, 30) <= 30
            await anyio.sleep(20)
            assert threading.active_count() - threads <= 10
        finally:
            engines["e1"].thaw()
        await own.until(lambda found: found.state == "running", within=120)
        assert before == own.pids()
        assert {"runtime"} <= {each.kind for each in own.cp.happenings}


async def test_a_lost_link_restarts_nothing_however_long_it_was_lost(own: Node) -> None:
    """Fault 8."""
    async with own.agent():
        await own.running(replica(0), replica(1))
        before = own.pids()
        for _ in range(3):
            own.cp.cut()
            await until(lambda: own.cp.link is not None and bool(own.cp.reports) and own.cp.reports[0].full)
            await anyio.sleep(0.3)
        assert before == own.pids()
