"""How containers are shut in and let out, and where they keep their data, held against the engine itself."""

from __future__ import annotations

import io
import json
import socket
import tarfile
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from fledx.agent.clock import Clock
from fledx.agent.mounted import strayed
from fledx.agent.reconcile.actions import Start
from fledx.agent.reconcile.execute import Attempt, Executor
from fledx.agent.runtime.base import Tell
from fledx.agent.runtime.containers import Mount
from fledx.agent.runtime.docker import DockerRuntime
from fledx.agent.secrets import NodeSecrets
from fledx.agent.spec import container_spec, marks_for
from fledx.agent.volumes import Policy, mounts_for
from fledx.errors import InvalidSpec, NotFound
from fledx.models.confinement import Device, Tmpfs, Ulimit
from fledx.models.desired import ReplicaDesired
from fledx.models.template import Limits
from fledx.models.volume import VolumeMount
from tests.contracts.engine import LIMIT, Engine, lines_of
from tests.unit.agent.stage import replica

pytestmark = pytest.mark.anyio

STATUS = 'while read -r key value rest; do [ "$key" = {key}: ] && echo "$value"; done < /proc/self/status; '


async def test_a_container_is_shut_in_as_it_was_asked_for(docker: Engine) -> None:
    """Seen from inside, and not only in what Docker shows of it."""
    script = (
        "".join(STATUS.format(key=key) for key in ("Uid", "Gid", "CapBnd"))
        + "ulimit -Sn; ulimit -Hn; (: > /file) 2>/dev/null || echo sealed; : > /scratch/file && echo scratch; "
        'while read -r _ at _ options _; do [ "$at" = /scratch ] && echo "$options"; done < /proc/mounts; '
        "read -r name < /proc/1/comm; echo $name"
    )
    container_id = await docker.running(
        script,
        user="1234:2345",
        read_only=True,
        init=True,
        tmpfs=(Tmpfs(path="/scratch", size_bytes=1024**2, mode="1777"),),
        ulimits=(Ulimit(name="nofile", soft=100, hard=200),),
        cap_drop=("ALL",),
        cap_add=("CHOWN",),
    )
    await docker.until(container_id, lambda each: each.state == "exited")
    lines = [entry.line for entry in await lines_of(docker.runtime, container_id) if entry.stream == "stdout"]
    assert ["1234", "2345", "0000000000000001", "100", "200", "sealed", "scratch"] == lines[:-2]
    assert "size=1024k" in lines[-2].split(",")
    assert lines[-1] in ("docker-init", "tini", "catatonit")


async def test_a_container_is_let_out_as_it_was_asked_for(docker: Engine) -> None:
    script = STATUS.format(key="CapBnd")
    container_id = await docker.running(
        script + "test -c /dev/inside && echo device; read -r name < /proc/sys/kernel/hostname; echo $name; sleep 60",
        devices=(Device(host_path="/dev/zero", container_path="/dev/inside", permissions="r"),),
        cap_add=("NET_ADMIN",),
        network_mode="host",
    )
    shown = await docker.until(container_id, lambda each: each.address is not None)
    assert shown.address == "127.0.0.1"
    with anyio.fail_after(LIMIT):
        while len(lines := [entry.line for entry in await lines_of(docker.runtime, container_id)]) < 3:
            await anyio.sleep(0.05)
    assert int(lines[0], 16) & 1 << 12
    assert ["device", socket.gethostname()] == lines[1:]


async def test_a_privileged_container_is_made_so(docker: Engine) -> None:
    """It is not started: that needs an engine which has every capability itself, and one in a container may not."""
    container_id = await docker.runtime.create(docker.spec(privileged=True))
    shown = await anyio.run_process(["docker", "inspect", "-f", "{{.HostConfig.Privileged}}", container_id])
    assert b"true" == shown.stdout.strip()


async def test_an_entry_point_takes_the_place_of_the_images_and_of_its_command(docker: Engine) -> None:
    """The image's own is `/bin/sh -c`; its command is made to be told apart, as `docker run --entrypoint` has it."""
    own = ("/bin/sh", "-c", 'echo "mine $*"', "sh")
    async with image_with_command(docker, "echo image") as image:
        assert ["image"] == await said_by(docker, image)
        assert ["given"] == await said_by(docker, image, command=("echo given",))
        assert ["mine "] == await said_by(docker, image, entrypoint=own)
        assert ["mine and more"] == await said_by(docker, image, entrypoint=own, command=("and", "more"))


@asynccontextmanager
async def image_with_command(docker: Engine, command: str) -> AsyncIterator[str]:
    """The usual image with a command in it."""
    name = f"fledx-test-command:{uuid.uuid4().hex[:12]}"
    container_id = await docker.runtime.create(docker.spec())
    await anyio.run_process(["docker", "commit", "--change", f"CMD {json.dumps([command])}", container_id, name])
    try:
        yield name
    finally:
        for left in await docker.runtime.look(docker.node_id):
            await docker.runtime.remove(left.id)
        await anyio.run_process(["docker", "rmi", name])


async def said_by(docker: Engine, image: str, **changes: Any) -> list[str]:
    """What a replica's container writes until it ends."""
    wanted = replica(image=image, **{"command": None, **changes})
    marks = marks_for(wanted, docker.node_id, 0)
    made = container_spec(wanted, marks, node="edge-1", secrets={}, mounts=())
    container_id = await docker.runtime.create(replace(made, name=f"fledx-test-{uuid.uuid4().hex[:12]}"))
    await docker.runtime.start(container_id)
    await docker.until(container_id, lambda each: each.state == "exited")
    return [entry.line for entry in await lines_of(docker.runtime, container_id)]


async def test_a_container_is_asked_to_end_by_its_own_signal_and_its_logs_are_cut(docker: Engine) -> None:
    script = "trap 'echo usr1; exit 5' USR1; yes 0123456789 | head -n 40000; echo ready; while :; do sleep 0.05; done"
    limits = Limits(log_bytes=65536, log_files=2)
    container_id = await docker.running(script, stop_signal="SIGUSR1", limits=limits)
    with anyio.fail_after(LIMIT):
        while "ready" not in [entry.line for entry in await lines_of(docker.runtime, container_id, tail=1)]:
            await anyio.sleep(0.05)
    await docker.runtime.stop(container_id, grace=10)
    assert (await docker.shown(container_id)).exit_code == 5
    lines = await lines_of(docker.runtime, container_id)
    assert "usr1" == lines[-1].line
    assert len(lines) < 10_000


@pytest.mark.docker_only("gives the files of a restored volume to root")
async def test_a_volume_keeps_its_content_when_its_container_goes(engine: Engine) -> None:
    name = f"fledx-test-{uuid.uuid4().hex[:12]}"
    assert await engine.runtime.volume(name) is None
    await engine.runtime.make_volume(name, {"fledx.node_id": engine.node_id})
    await engine.runtime.make_volume(name, {"fledx.node_id": "somebody else"})
    assert {"fledx.node_id": engine.node_id} == await engine.runtime.volume(name)
    mounts = (Mount(source=name, target="/data", volume=True),)
    first = await engine.runtime.create(engine.spec(mounts=mounts))
    await engine.runtime.unpack(first, "/data", _in_pieces(_tar({"file": b"content"})))
    sizes = await engine.runtime.volume_sizes(engine.node_id)
    assert [name] == [each for each, size in sizes.items() if size >= len(b"content") and each == name]
    assert name not in await engine.runtime.volume_sizes("somebody else")
    assert not await engine.runtime.remove_volume(name)
    await engine.runtime.remove(first)
    second = await engine.runtime.create(engine.spec(mounts=mounts))
    async with engine.runtime.archive(second, "/data/.") as pieces:
        whole = b"".join([piece async for piece in pieces])
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        found = {each.name.removeprefix("./"): each for each in archive if each.isfile()}
        (member,) = found.values()
        content = archive.extractfile(member)
        assert content is not None
        assert ("file", b"content", 0o640, 1234) == (member.name[-4:], content.read(), member.mode & 0o777, member.uid)
    await engine.runtime.remove(second)
    assert await engine.runtime.remove_volume(name)
    assert await engine.runtime.remove_volume(name)
    assert await engine.runtime.volume(name) is None


def _tar(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid = len(content), 0o640, 1234
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


async def _in_pieces(whole: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(whole), 3000):
        yield whole[start : start + 3000]


@pytest.mark.docker_only("says nothing but broken pipe")
async def test_what_is_unpacked_is_read_only_as_fast_as_it_is_taken(docker: Engine) -> None:
    """An engine that has nowhere to put it stops the reading."""
    container_id = await docker.runtime.create(docker.spec())
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1024 * 1024
            yield bytes(1024 * 1024)

    with pytest.raises(NotFound):
        await docker.runtime.unpack(container_id, "/no/such/directory", endless())
    assert taken < 64 * 1024 * 1024


async def test_a_paused_container_is_frozen_and_can_be_resumed(engine: Engine) -> None:
    container_id = await engine.running()
    await engine.runtime.pause(container_id)
    assert (await engine.shown(container_id)).state == "paused"
    await engine.runtime.pause(container_id)
    await engine.runtime.resume(container_id)
    assert (await engine.shown(container_id)).state == "running"


async def test_fault_42_a_directory_that_is_exchanged_while_it_is_mounted_is_found_out(
    docker: Engine, tmp_path: Path
) -> None:
    """Checked, exchanged for a link, mounted, and put back: only the container's own mounts tell of it."""
    data, outside = tmp_path / "data", tmp_path / "outside"
    data.mkdir()
    outside.mkdir()
    volume = VolumeMount(host_path=str(data), container_path="/data")
    honest = mounts_for([volume], [str(tmp_path)])
    container_id = await docker.running("sleep 60", mounts=honest)
    assert strayed(await docker.shown(container_id), honest) is None

    exchanged = await docker.runtime.create(docker.spec("sleep 60", mounts=mounts_for([volume], [str(data)])))
    data.rename(tmp_path / "aside")
    data.symlink_to(outside)
    await docker.runtime.start(exchanged)
    data.unlink()
    (tmp_path / "aside").rename(data)
    assert str(data) == strayed(await docker.shown(exchanged), mounts_for([volume], [str(data)]))


async def test_fault_42_a_replica_whose_directory_was_exchanged_does_not_go_on(docker: Engine, tmp_path: Path) -> None:
    data, outside = tmp_path / "data", tmp_path / "outside"
    data.mkdir()
    outside.mkdir()

    class Exchanging(DockerRuntime):
        """The engine, and somebody with good timing."""

        async def start(self, container_id: str) -> None:
            data.rename(tmp_path / "aside")
            data.symlink_to(outside)
            await super().start(container_id)
            data.unlink()
            (tmp_path / "aside").rename(data)

    class AtHand:
        """Images, all of them there."""

        async def ready(self, replica: ReplicaDesired, tell: Tell) -> str:
            return replica.image

    runtime, node_id = Exchanging(), str(uuid.uuid4())
    executor = Executor(
        node_id=node_id,
        node="edge-1",
        runtime=runtime,
        images=cast(Any, AtHand()),
        secrets=NodeSecrets({}, prefix="FLEDX_SECRET_", directory="/nonexistent"),
        policy=Policy(prefixes=(str(data),)),
        clock=Clock(),
    )
    volume = VolumeMount(host_path=str(data), container_path="/data")
    wanted = replica(image=docker.image, command=("sleep 60",), volumes=(volume,))
    action = Start(key=wanted.key, kind="start", reason="try it", replica=wanted)
    try:
        with pytest.raises(InvalidSpec, match=f"{data} was exchanged"):
            await executor.carry_out(action, Attempt(lambda: None))
        assert await runtime.look(node_id) == ()
    finally:
        for left in await runtime.look(node_id):
            await runtime.remove(left.id)
        await runtime.aclose()
