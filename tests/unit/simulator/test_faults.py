"""Faults of the list that need hours: a simulated clock has them."""

from __future__ import annotations

import pytest

from fledx.models.deployment import ReschedulePolicy
from tests.builders import spec
from tests.unit.simulator.agents import Agent
from tests.unit.simulator.story import ME
from tests.unit.simulator.world import STALE, World, template

pytestmark = pytest.mark.anyio


async def passing(world: World, seconds: int, *, every: int = 1) -> None:
    """Time passes and the loops look."""
    for _ in range(seconds // every):
        world.now += every
        await world.communicate()
        await world.reachability.sweep(world.now)
        await world.rollouts.look()


async def two_nodes(on_return: str) -> tuple[World, Agent]:
    """A replica on one of two nodes; the world and its owner."""
    world = World(template())
    for name in ("edge-1", "edge-2"):
        await world.join(name, 1000, {})
    await world.deployments.create(spec(image="good:1", reschedule=ReschedulePolicy(on_return=on_return)), by=ME)
    await passing(world, 60)
    (given,) = world.deployments.get("web").assignments
    return world, world.sessions.agents[given.node_id]


def count(world: World, kind: str) -> int:
    rows = world.memory.sql.execute("SELECT count(*) FROM event WHERE kind = ?", (kind,))
    return int(rows.fetchone()[0])


@pytest.mark.parametrize(
    ("down", "on_return", "moves"), [(20, "keep_new", 0), (60, "keep_new", 1), (60, "keep_original", 2)]
)
async def test_fault_12_a_link_that_flaps_for_an_hour_moves_once(down: int, on_return: str, moves: int) -> None:
    """Or once more, after the original was given back once."""
    world, owner = await two_nodes(on_return)
    for _ in range(3600 // (20 + down)):
        owner.linked = False
        await passing(world, down)
        owner.linked = True
        await passing(world, 20)

    assert count(world, "replica.moved") == moves
    assert world.deployments.get("web").status == "running"
    assert sum(len(agent.containers) for agent in world.sessions.agents.values()) == 1


async def test_a_deployment_may_wait_for_its_node_for_ever_or_for_a_time_of_its_own() -> None:
    world, owner = await two_nodes("keep_new")
    await world.deployments.patch("web", {"reschedule": {"after_seconds": 0}}, by=ME)
    owner.linked = False
    await passing(world, 4000, every=4)
    assert count(world, "replica.moved") == 0

    await world.deployments.patch("web", {"reschedule": {"after_seconds": 5000}}, by=ME)
    await passing(world, 900, every=4)
    assert count(world, "replica.moved") == 0
    await passing(world, 200, every=4)
    assert count(world, "replica.moved") == 1


async def test_nobody_is_dead_because_the_control_plane_was_away() -> None:
    world, owner = await two_nodes("keep_new")
    for away in (1, 100, 10_000):
        owner.session = False
        world.now += away
        world.start()
        owner.frozen = True
        await passing(world, int(STALE) - 5)
        owner.frozen = False
        await passing(world, 10)
    assert count(world, "replica.moved") == 0
