"""A replica that gateways still drain: its container stays until they have their answers, but not for ever."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fledx.agent.reconcile.actions import Copy, Remove, Replace, Stop
from fledx.models.desired import ReplicaDesired
from fledx.models.ingress import Held
from tests.unit.agent.stage import replica, running
from tests.unit.agent.test_convergence import PureWorld, copies, replicas, unique

HELD = Held(deployment_id="d-web", replica_number=0, seconds=10.0)


@pytest.mark.anyio
@pytest.mark.parametrize("after", [(replica(image="app:2"),), (replica(desired_state="stopped"),), ()])
async def test_a_held_container_outlives_update_stop_and_removal_until_it_is_let_go(
    after: tuple[ReplicaDesired, ...],
) -> None:
    async with running() as stage:
        await stage.want(replica())
        old = stage.runtime.running()[0].id
        await stage.want(*after, held=(HELD,))
        await stage.wait(5)
        assert [old] == [each.id for each in stage.runtime.running()]
        assert "gateways still wait for answers" in stage.loop.waiting(("d-web", 0))
        await stage.want(*after)
        assert old not in {each.id for each in stage.runtime.running()}
        assert len(stage.runtime.running()) == (1 if after and after[0].desired_state == "running" else 0)


@pytest.mark.anyio
async def test_a_hold_ends_by_itself_when_the_control_plane_says_nothing_more() -> None:
    async with running() as stage:
        await stage.want(replica())
        old = stage.runtime.running()[0].id
        await stage.want(replica(image="app:2"), held=(HELD,))
        await stage.wait(9.5)
        assert [old] == [each.id for each in stage.runtime.running()]
        await stage.wait(1)
        assert ["app:2"] == [each.image for each in stage.runtime.running()]


@pytest.mark.anyio
async def test_a_hold_does_not_keep_a_crashed_container_from_its_successor() -> None:
    async with running() as stage:
        await stage.want(replica())
        stage.runtime.exit(stage.runtime.running()[0].id, 1)
        await stage.want(replica(image="app:2"), held=(HELD,))
        assert ["app:2"] == [each.image for each in stage.runtime.running()]


@pytest.mark.anyio
async def test_other_replicas_do_not_wait_for_a_held_one() -> None:
    async with running() as stage:
        await stage.want(replica(0), replica(1))
        await stage.want(replica(0, image="app:2"), replica(1, image="app:2"), held=(HELD,))
        assert {"app:1", "app:2"} == {each.image for each in stage.runtime.running()}


@settings(max_examples=150, deadline=None)
@given(st.lists(replicas, max_size=3), st.lists(copies(), max_size=6))
def test_no_plan_ends_what_lives_and_is_held(wanted: list[ReplicaDesired], found: list[Copy]) -> None:
    world = PureWorld(unique(wanted), found)
    for action in world.plan(held=frozenset(copy.marks.key for copy in found)):
        match action:
            case Stop(copy=copy) | Remove(copy=copy) | Replace(old=copy):
                assert not copy.alive
        assert action.reason
