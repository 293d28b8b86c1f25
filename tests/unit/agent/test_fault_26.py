"""An agent whose control plane is two versions ahead: all that it knows is done, nothing is half done (fault 26)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fledx.errors import InvalidSpec
from fledx.models.codec import encode
from fledx.models.desired import NodeDesiredState, ReplicaDesired
from tests.unit.agent.stage import replica
from tests.unit.agent.whole import World
from tests.waiting import until

pytestmark = pytest.mark.anyio

WEB = ("d-web", 0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def told(world: World, *replicas: ReplicaDesired) -> dict[str, Any]:
    """The next desired state, as it travels."""
    world.cp.revision += 1
    state = NodeDesiredState(node_id=world.cp.node_id, revision=world.cp.revision, replicas=replicas)
    found: dict[str, Any] = json.loads(json.dumps(encode(state)))
    return found


async def push(world: World, state: dict[str, Any]) -> None:
    await world.cp.push_raw(json.dumps(state).encode())


async def test_fault_26_what_a_newer_control_plane_adds_is_passed_over_or_refused_by_name(world: World) -> None:
    async with world.cp.listening(), world.agent(world.cp.join):
        await world.cp.connected()
        link = world.cp.link
        assert link is not None
        link.send({"type": "brand_new", "data": [1, 2]})
        link.send({"type": ["no", "word"]})
        state = told(world, replica())
        state["brand_new"] = state["replicas"][0]["brand_new"] = {"a": 1}

        await push(world, state)
        with pytest.raises(InvalidSpec, match="this agent serves no streams of kind 'teleport'"):
            await link.open("teleport", {})

        await until(lambda: WEB in world.cp.instances and world.cp.instances[WEB].ready)
        assert world.cp.link is link


async def test_fault_26_a_state_that_cannot_be_read_is_refused_whole_and_the_one_before_stays(world: World) -> None:
    async with world.cp.listening():
        async with world.agent(world.cp.join):
            await world.cp.connected()
            await push(world, told(world, replica()))
            await until(lambda: WEB in world.cp.instances and world.cp.instances[WEB].ready)
            before = [each.id for each in world.runtime.running()]
            state = told(world, replica(image="web:2"), replica(1))
            state["replicas"][1]["ports"] = {"of": "another form"}

            with pytest.raises(InvalidSpec, match=r"replicas\[1\].ports"):
                await push(world, state)

            await push(world, state | told(world, replica()) | {"held": []})
            assert before == [each.id for each in world.runtime.running()]
            world.cp.revision += 1
            with pytest.raises(InvalidSpec, match=r"replicas\[1\].ports"):
                await push(world, state | {"revision": world.cp.revision})
        kept = json.loads((world.directory / "data" / "desired.json").read_text())
        assert (world.cp.revision - 1, 1) == (kept["revision"], len(kept["replicas"]))
        world.cp.refuses_links = True
        async with world.agent():
            await until(lambda: world.cp.hellos)
        assert before == [each.id for each in world.runtime.running()]
