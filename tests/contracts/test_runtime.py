"""What the agent relies on of a container engine, held against the fake and against the real one."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from fledx.agent.runtime.containers import ImageMissing, Mount, NameTaken, PortTaken, PullFailed, Refused, RuntimeEvent
from fledx.agent.runtime.docker import DockerRuntime
from fledx.errors import NotFound, Unavailable
from fledx.models.port import PortMapping
from fledx.models.template import Limits
from tests.contracts.engine import LIMIT, Engine, lines_of
from tests.ports import free_port

pytestmark = pytest.mark.anyio


async def test_a_container_lives_through_its_states(engine: Engine) -> None:
    container_id = await engine.runtime.create(engine.spec(labels={"fledx.node_id": engine.node_id, "a": "b"}))
    made = await engine.shown(container_id)
    assert (made.state, made.exit_code, made.labels["a"], made.stop_grace) == ("created", None, "b", 0.0)
    await engine.runtime.start(container_id)
    started = await engine.shown(container_id)
    assert (started.state, started.exit_code) == ("running", None)
    assert started.started_at is not None
    assert started.address is not None
    await engine.runtime.stop(container_id, grace=0)
    ended = await engine.shown(container_id)
    assert ended.state == "exited"
    assert ended.exit_code is not None
    assert ended.exit_code > 128
    await engine.runtime.start(container_id)
    assert (await engine.shown(container_id)).state == "running"
    await engine.runtime.remove(container_id)
    assert await engine.runtime.inspect(container_id) is None


async def test_what_is_done_already_is_fine(engine: Engine) -> None:
    container_id = await engine.running()
    await engine.runtime.start(container_id)
    await engine.runtime.resume(container_id)
    await engine.runtime.stop(container_id, grace=0)
    await engine.runtime.stop(container_id, grace=0)
    await engine.runtime.remove(container_id)
    await engine.runtime.remove(container_id)
    await engine.runtime.stop(container_id, grace=0)
    with pytest.raises(NotFound):
        await engine.runtime.start(container_id)


async def test_a_look_shows_this_nodes_containers_in_any_state_and_no_others(engine: Engine) -> None:
    one, two = await engine.running(), await engine.runtime.create(engine.spec())
    other = await engine.runtime.create(engine.spec(labels={"fledx.node_id": "another"}))
    try:
        found = await engine.runtime.look(engine.node_id)
        assert {one: "running", two: "created"} == {each.id: each.state for each in found}
    finally:
        await engine.runtime.remove(other)


async def test_a_look_is_never_older_than_what_was_done(engine: Engine) -> None:
    async with engine.runtime.events(engine.node_id):
        container_id = await engine.running()
        for expected in ("exited", "running") * 3:
            assert [expected] != [each.state for each in await engine.runtime.look(engine.node_id)]
            if expected == "exited":
                await engine.runtime.stop(container_id, grace=0)
            else:
                await engine.runtime.start(container_id)
            assert [expected] == [each.state for each in await engine.runtime.look(engine.node_id)]


async def test_a_missing_image_and_a_taken_name_are_told_apart(engine: Engine) -> None:
    with pytest.raises(ImageMissing):
        await engine.runtime.create(engine.spec(image="fledx-test-no-such-image:1"))
    await engine.runtime.create(engine.spec(name=f"fledx-test-{engine.node_id}"))
    with pytest.raises(NameTaken):
        await engine.runtime.create(engine.spec(name=f"fledx-test-{engine.node_id}"))


async def test_a_taken_port_is_told_and_its_holder_is_known(engine: Engine) -> None:
    port = PortMapping(container_port=80, host_port=free_port())
    first = await engine.running(ports=(port,))
    assert (port,) == (await engine.shown(first)).ports
    second = await engine.runtime.create(engine.spec(ports=(port,)))
    with pytest.raises(PortTaken):
        await engine.runtime.start(second)
    assert (await engine.shown(first)).name == await engine.runtime.holder(port)
    await engine.runtime.remove(first)
    await engine.runtime.start(second)
    assert (await engine.shown(second)).state == "running"


@pytest.mark.docker_only("tells of a stop that was asked for after the death")
async def test_events_tell_what_happens_and_a_wanted_end_comes_before_the_death(engine: Engine) -> None:
    async with engine.runtime.events(engine.node_id) as events:
        container_id = await engine.running()
        await engine.runtime.stop(container_id, grace=0)
        await engine.runtime.remove(container_id)
        seen: list[RuntimeEvent] = []
        with anyio.fail_after(LIMIT):
            async for event in events:
                seen.append(event)
                if event.kind == "destroy":
                    break
        assert {container_id} == {event.container_id for event in seen}
        kinds = [event.kind for event in seen]
        assert kinds[0] == "start"
        assert kinds.index("halt") < kinds.index("die") < kinds.index("destroy")


async def test_a_pull_of_nothing_fails_with_the_images_name(engine: Engine) -> None:
    if engine.fake:
        engine.fake.registry["localhost:1/none:1"] = PullFailed("unreachable", "image localhost:1/none:1: no registry")
    with pytest.raises(PullFailed, match="localhost:1/none:1") as failure:
        await engine.runtime.pull("localhost:1/none:1", lambda text: None)
    assert failure.value.kind == "unreachable"


async def test_a_command_inside_needs_a_running_container(engine: Engine) -> None:
    container_id = await engine.runtime.create(engine.spec())
    with pytest.raises(NotFound):
        await engine.runtime.execute(container_id, ["true"], limit=5, most=100)


async def test_an_exit_of_its_own_shows_its_code(docker: Engine) -> None:
    container_id = await docker.running("exit 7")
    assert (await docker.until(container_id, lambda each: each.state == "exited")).exit_code == 7


@pytest.mark.docker_only("does not tell that memory ran out")
async def test_memory_that_runs_out_is_seen(docker: Engine) -> None:
    """Docker 20.10 now and then misses that itself, in its state and in its events alike."""
    limits = Limits(memory_bytes=8 * 1024 * 1024, pids=20, cpu_millis=500)
    for _ in range(5):
        container_id = await docker.running("head -c 100000000 /dev/zero | tail", limits=limits)
        ended = await docker.until(container_id, lambda each: each.state == "exited")
        assert ended.exit_code != 0
        if ended.oom_killed:
            return
    raise AssertionError("five containers ran out of memory, and none was seen to")


@pytest.mark.docker_only("ends a line of the log wherever the output paused")
async def test_environment_and_mounts_arrive(docker: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    container_id = await docker.running(
        'echo "$A"; cat /data/file; touch /data/new || echo refused; exit 0',
        env={"A": "x y=z"},
        mounts=(Mount(source=str(tmp_path), target="/data", read_only=True),),
    )
    await docker.until(container_id, lambda each: each.state == "exited")
    lines = [entry.line for entry in await lines_of(docker.runtime, container_id) if entry.stream == "stdout"]
    assert lines == ["x y=z", "contentrefused"]


async def test_limits_of_memory_processes_and_processor_arrive(docker: Engine) -> None:
    """In the container's cgroup, of either version, as it is seen from inside."""
    files = (
        ("memory.max", "memory/memory.limit_in_bytes"),
        ("pids.max", "pids/pids.max"),
        ("cpu.max", "cpu/cpu.cfs_quota_us"),
    )
    script = "".join(
        f"for each in {new} {old}; do [ -e /sys/fs/cgroup/$each ] && read -r value _ < /sys/fs/cgroup/$each && "
        "echo $value; done; "
        for new, old in files
    )
    limits = Limits(memory_bytes=64 * 1024 * 1024, pids=77, cpu_millis=250)
    container_id = await docker.running(script, limits=limits)
    await docker.until(container_id, lambda each: each.state == "exited")
    lines = [entry.line for entry in await lines_of(docker.runtime, container_id)]
    assert [str(64 * 1024 * 1024), "77", "25000"] == lines


@pytest.mark.docker_only("makes a directory that is not there")
async def test_a_mount_that_is_not_there_is_refused_when_made(docker: Engine, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(Refused, match=missing):
        await docker.runtime.create(docker.spec(mounts=(Mount(source=missing, target="/x"),)))


async def test_a_command_that_does_not_exist_is_refused_with_dockers_words(docker: Engine) -> None:
    container_id = await docker.running()
    answer = await docker.runtime.execute(container_id, ["/no-such-command"], limit=5, most=400)
    assert answer.exit_code in (126, 127)
    assert "no such file" in answer.output


@pytest.mark.docker_only("stamps lines with whole seconds")
async def test_lines_come_with_their_stream_and_time_in_order(docker: Engine) -> None:
    expected = [f"{stream} {i}" for i in (1, 2, 3) for stream in ("out", "err")]
    for pause in ("0.05", "0.5", "2"):  # an engine that is held up between two lines may take the later one first
        script = "for i in 1 2 3; do echo out $i; sleep {0}; echo err $i >&2; sleep {0}; done"
        container_id = await docker.running(script.format(pause))
        await docker.until(container_id, lambda each: each.state == "exited")
        entries = await lines_of(docker.runtime, container_id)
        if expected == [entry.line for entry in entries]:
            break
    assert expected == [entry.line for entry in entries]
    assert ["stdout", "stderr"] * 3 == [entry.stream for entry in entries]
    assert sorted(entry.time for entry in entries) == [entry.time for entry in entries]
    assert ["err 2", "out 3", "err 3"] == [entry.line for entry in await lines_of(docker.runtime, container_id, tail=3)]
    since = entries[2].time
    assert 4 == len(await lines_of(docker.runtime, container_id, since=since))
    assert 3 == len(await lines_of(docker.runtime, container_id, until=since))


async def test_long_lines_come_in_pieces_and_bytes_that_are_no_text_are_replaced(docker: Engine) -> None:
    script = (
        "i=0; while [ $i -lt 4000 ]; do printf 0123456789; i=$((i+1)); done; echo; printf 'a\\377b\\r\\n'; printf end"
    )
    container_id = await docker.running(script)
    await docker.until(container_id, lambda each: each.state == "exited")
    lines = [entry.line for entry in await lines_of(docker.runtime, container_id)]
    assert "0123456789" * 4000 == "".join(lines[:-2])
    assert all(len(line) <= 16 * 1024 for line in lines)
    assert ["a�b", "end"] == lines[-2:]


async def test_following_ends_with_the_container_and_can_be_given_up(docker: Engine) -> None:
    container_id = await docker.running("for i in 1 2 3; do echo $i; sleep 0.1; done")
    with anyio.fail_after(LIMIT):
        assert ["1", "2", "3"] == [entry.line for entry in await lines_of(docker.runtime, container_id, follow=True)]
    endless = await docker.running("echo first; sleep 60")
    with anyio.fail_after(LIMIT):
        async with docker.runtime.logs(endless, follow=True) as batches:
            async for batch in batches:
                assert "first" == batch[0].line
                break
    with pytest.raises(NotFound):
        await lines_of(docker.runtime, "0" * 64)


@pytest.mark.docker_only("ends a line of the log wherever its buffer did")
async def test_a_flood_of_lines_is_read_only_as_fast_as_it_is_taken(docker: Engine) -> None:
    container_id = await docker.running("yes 0123456789012345678901234567890123456789 | head -n 60000")
    count, largest = 0, 0
    with anyio.fail_after(60):
        async with docker.runtime.logs(container_id, follow=True) as batches:
            async for batch in batches:
                count += len(batch)
                largest = max(largest, len(batch))
    assert count == 60000
    assert largest < 5000


async def test_a_command_inside_gives_its_code_and_the_beginning_of_its_output(docker: Engine) -> None:
    container_id = await docker.running()
    done = await docker.runtime.execute(container_id, ["sh", "-c", "echo hello; exit 3"], limit=10, most=3)
    assert (3, "hel") == (done.exit_code, done.output)


async def test_a_command_inside_that_takes_too_long_is_killed(docker: Engine) -> None:
    container_id = await docker.running("sleep 60")
    with anyio.fail_after(LIMIT):
        done = await docker.runtime.execute(container_id, ["sleep", "77"], limit=0.3, most=10)
        assert done.exit_code is None
        while "77" in _processes():
            await anyio.sleep(0.02)


def _processes() -> set[str]:
    """The last argument of every process."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.add(path.read_bytes().rstrip(b"\0").rpartition(b"\0")[2].decode(errors="replace"))
        except OSError:
            continue
    return found


@pytest.mark.docker_only("counts page cache as memory in use")
async def test_usage_is_counted_and_leaves_out_page_cache(docker: Engine) -> None:
    container_id = await docker.running("dd if=/dev/zero of=/tmp/file bs=1M count=60; while :; do :; done")
    with anyio.fail_after(LIMIT):
        while (first := await docker.runtime.usage(container_id)) is None or first.cpu_seconds < 0.3:
            await anyio.sleep(0.05)
        while (second := await docker.runtime.usage(container_id)) is None or second.at - first.at < 0.4:
            await anyio.sleep(0.05)
    assert second.cpu_seconds > first.cpu_seconds
    assert second.memory_bytes < 40e6
    await docker.runtime.stop(container_id, grace=0)
    assert await docker.runtime.usage(container_id) is None


async def test_an_engine_that_is_not_there_is_named_with_a_hint() -> None:
    runtime = DockerRuntime("unix:///nonexistent/docker.sock")
    with pytest.raises(
        Unavailable, match=r"unix:///nonexistent/docker\.sock does not answer: .*No such file"
    ) as failure:
        await runtime.describe()
    assert "is the engine running" in (failure.value.hint or "")
    await runtime.aclose()


@pytest.mark.parametrize("address", ["ssh://somewhere", "npipe:////x", "nonsense"])
async def test_an_address_that_is_none_is_said_so(address: str) -> None:
    runtime = DockerRuntime(address)
    with pytest.raises(Unavailable, match=r"only unix://PATH and tcp://HOST:PORT"):
        await runtime.describe()
    await runtime.aclose()
