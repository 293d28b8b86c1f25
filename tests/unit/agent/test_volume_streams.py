"""The content of a volume on its way out and in: what stands still meanwhile, and what a cut leaves behind."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from fledx.errors import Conflict, FledxError, InvalidSpec, NotFound
from fledx.models.archive import BLOCK, Sum, Unwrapped
from fledx.models.codec import encode
from fledx.models.desired import NodeDesiredState, ReplicaDesired
from fledx.models.volume import VolumeMount
from fledx.tunnel.stream import Stream
from tests.unit.agent.stage import replica
from tests.unit.agent.whole import World
from tests.waiting import until

pytestmark = pytest.mark.anyio

NAME = "fledx-web-data-0"
CONTENT = bytes(range(256)) * 40


def with_data(**changes: Any) -> ReplicaDesired:
    fields: dict[str, Any] = {
        "volumes": (VolumeMount(name="data", container_path="/data"),),
        "volume_names": {"data": NAME},
    }
    return replica(**{**fields, **changes})


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A node that runs one replica, with something in its volume."""
    world = World(tmp_path)
    async with world.running(with_data()):
        world.runtime.contents[NAME] = CONTENT
        yield world


async def opened(world: World, kind: str, **more: Any) -> Stream:
    assert world.cp.link is not None
    meta = {"deployment_id": "d-web", "replica_number": 0, "volume": "data", **more}
    return await world.cp.link.open(kind, meta)


async def read(stream: Stream) -> bytes:
    found = b""
    while piece := await stream.receive():
        found += piece
    return found


def whole(tar: bytes) -> bytes:
    found = Sum()
    found.add(tar)
    return tar + found.last_block()


def holders(world: World) -> list[str]:
    return [each.name for each in world.runtime.all() if each.name.startswith("fledx-volume-")]


@pytest.mark.parametrize(
    ("mode", "before", "after"), [("pause", "pause", "resume"), ("stop", "stop", "start"), ("live", None, None)]
)
async def test_a_replica_stands_still_while_its_volume_is_read(
    world: World, mode: str, before: str | None, after: str | None
) -> None:
    (container,) = world.runtime.running()
    world.runtime.done.clear()
    backup = Unwrapped()
    assert CONTENT == backup.take(await read(await opened(world, "volume_backup", mode=mode)))
    assert len(CONTENT) == backup.end().size
    await until(lambda: holders(world) == [])
    done = [each.partition(" fledx-volume-")[0] for each in world.runtime.done]
    still = [f"{word} {container.name}" for word in (before, after) if word]
    assert [*still[:1], "archive /fledx-volume/.", *still[1:]] == [
        each for each in done if each not in ("create", "remove")
    ]
    assert [container.id] == [each.id for each in world.runtime.running()]


async def test_a_replica_goes_on_when_whoever_reads_its_volume_is_gone(world: World) -> None:
    world.runtime.contents[NAME] = bytes(4_000_000)
    stream = await opened(world, "volume_backup")
    await stream.receive()
    await until(lambda: world.runtime.running() == [])
    with pytest.raises(Conflict, match="volume data is being backed up"):
        await opened(world, "volume_backup")
    stream.reset("the operator has gone")
    await until(lambda: len(world.runtime.running()) == 1 and holders(world) == [])
    assert "a drift" not in [each.kind for each in world.cp.happenings]


async def test_the_reconciler_leaves_a_replica_alone_while_its_volume_is_read(world: World) -> None:
    world.runtime.contents[NAME] = bytes(4_000_000)
    stream = await opened(world, "volume_backup")
    await stream.receive()
    await until(lambda: world.runtime.running() == [])
    await world.cp.push(with_data(env={"A": "1"}))
    await until(lambda: world.cp.instances["d-web", 0].message == "volume data is being backed up")
    assert len(world.runtime.all()) == 2
    await read(stream)
    await until(lambda: [each.state for each in world.runtime.all()].count("running") == 1)
    await until(lambda: [world.runtime.specs[each.id].env.get("A") for each in world.runtime.running()] == ["1"])


async def test_a_backup_fills_a_new_volume_and_leaves_the_present_one(world: World) -> None:
    stream = await opened(world, "volume_restore", name=f"{NAME}-r2")
    await stream.send_all(whole(b"something else"))
    await stream.send_eof()
    told = json.loads(await read(stream))
    assert told["bytes"] == len(b"something else")
    assert {NAME: CONTENT, f"{NAME}-r2": b"something else"} == world.runtime.contents
    assert "d-web" == world.runtime.volumes[f"{NAME}-r2"]["fledx.deployment_id"]
    await world.cp.push(with_data(volume_names={"data": f"{NAME}-r2"}))
    await until(lambda: _mounted(world) == [f"{NAME}-r2"])


def _mounted(world: World) -> list[str]:
    return [mount.source for each in world.runtime.running() for mount in world.runtime.specs[each.id].mounts]


@pytest.mark.parametrize(
    "sent", [b"", whole(CONTENT)[:5000], whole(CONTENT)[:-1], CONTENT, whole(CONTENT)[:-BLOCK] + whole(b"x")[-BLOCK:]]
)
async def test_a_restore_that_is_cut_or_false_leaves_no_volume(world: World, sent: bytes) -> None:
    stream = await opened(world, "volume_restore", name=f"{NAME}-r2")
    await stream.send_all(sent)
    await stream.send_eof()
    with pytest.raises(FledxError, match=r"not whole|digest differs"):
        await read(stream)
    await until(lambda: list(world.runtime.volumes) == [NAME] and holders(world) == [])
    assert {NAME: CONTENT} == world.runtime.contents


async def test_a_restore_whose_link_is_lost_leaves_no_volume(world: World) -> None:
    stream = await opened(world, "volume_restore", name=f"{NAME}-r2")
    await stream.send_all(whole(CONTENT)[:3000])
    await until(lambda: f"{NAME}-r2" in world.runtime.volumes)
    world.cp.cut()
    await until(lambda: list(world.runtime.volumes) == [NAME] and holders(world) == [])


@pytest.mark.parametrize(
    ("meta", "error"),
    [
        ({"volume": "other"}, NotFound),
        ({"replica_number": 1}, NotFound),
        ({"deployment_id": "d-other"}, NotFound),
        ({"mode": "asleep"}, InvalidSpec),
        ({"volume": None}, InvalidSpec),
        ({"replica_number": "0"}, InvalidSpec),
    ],
)
async def test_what_is_not_there_is_refused_before_anything_stands_still(
    world: World, meta: dict[str, Any], error: type[FledxError]
) -> None:
    world.runtime.done.clear()
    for kind in ("volume_backup", "volume_restore"):
        with pytest.raises(error):
            await opened(world, kind, **meta)
    assert world.runtime.done == []


async def test_sizes_are_told_of_this_nodes_volumes_by_the_control_planes_names(world: World) -> None:
    own = world.cp.node_id
    world.runtime.volumes |= {
        f"fledx-web-data-1-{own[:8]}": {"fledx.node_id": own},
        "somebody-elses": {"fledx.node_id": "another"},
    }
    assert {NAME: len(CONTENT), "fledx-web-data-1": 0} == json.loads(await read(await opened(world, "volume_sizes")))


async def test_dropped_volumes_are_deleted_once_their_container_is_gone_and_that_is_told(world: World) -> None:
    world.cp.revision += 1
    state = NodeDesiredState(node_id=world.cp.node_id, revision=world.cp.revision, dropped_volumes=(NAME, "other"))
    await world.cp.push_raw(json.dumps(encode(state)).encode())
    with anyio.fail_after(60):
        while not any(NAME in each.get("names", ()) for each in world.cp.messages):
            await anyio.sleep(0.05)
    assert {} == world.runtime.volumes
