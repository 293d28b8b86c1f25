"""Data in volumes by name: it binds its replica to a node, outlives the deployment, and goes only when told to."""

from __future__ import annotations

from typing import Any

import pytest

from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.fleet import Drain, Fleet
from fledx.control_plane.loops.rollouts import Rollouts
from fledx.control_plane.nodes import change_status
from fledx.control_plane.replicas.moving import move_lost
from fledx.control_plane.store import assignments, events
from fledx.control_plane.store import deployments as table
from fledx.control_plane.store import volumes as volume_table
from fledx.errors import Conflict
from fledx.models.deployment import ReschedulePolicy, UpdatePolicy
from fledx.models.volume import Volume, VolumeMount
from tests.builders import spec
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio
DATA = (VolumeMount(name="data", container_path="/data"),)
ALLOWS: dict[str, Any] = {"allows": ()}


async def fleet(stage: Stage, *names: str) -> dict[str, str]:
    return {name: await stage.node(name, **ALLOWS) for name in names}


def kept(stage: Stage) -> list[Volume]:
    return stage.store.read(lambda sql: volume_table.page(sql, None, limit=50, offset=0))[0]


def shown(stage: Stage) -> list[tuple[str, str, str]]:
    return [(each.name, each.node, each.state) for each in kept(stage)]


async def lost(stage: Stage, node_id: str) -> str | None:
    """The node is given up: what is said of its replica 0, if it stays."""

    def work(tx: Any) -> None:
        change_status(tx, node_id, "unreachable", "silent")
        (given,) = [each for each in assignments.of_deployment(tx.sql, web) if each.replica_number == 0]
        stored = table.by_id(tx.sql, web)
        assert stored is not None
        move_lost(tx, [(stored, given)], why="node is silent")

    web = stage.deployments.get("web").deployment_id
    await stage.act(work)
    said = stage.store.read(lambda sql: events.last_of(sql, web, ("replica.kept", "replica.moved")))
    return said.reason if said is not None and said.kind == "replica.kept" else None


async def test_each_replica_has_a_volume_of_its_own_and_its_node_learns_the_name(stage: Stage) -> None:
    ids = await fleet(stage, "edge-1", "edge-2")
    made = await stage.deployments.create(spec(replicas=2, volumes=DATA), by=ME)
    homes = {given.replica_number: given.node_id for given in made.assignments}
    assert set(ids.values()) == set(homes.values())
    for number, node_id in homes.items():
        (replica,) = stage.desired(node_id).replicas
        assert {"data": f"fledx-web-data-{number}"} == replica.volume_names


async def test_a_replica_that_was_scaled_away_comes_back_to_its_data(stage: Stage) -> None:
    await fleet(stage, "edge-1", "edge-2")
    before = await stage.deployments.create(spec(replicas=2, volumes=DATA), by=ME)
    await stage.deployments.patch("web", {"replicas": 1}, by=ME)
    await fleet(stage, "edge-3")
    after = await stage.deployments.patch("web", {"replicas": 2}, by=ME)
    assert [given.node for given in before.assignments] == [given.node for given in after.assignments]


async def test_a_replica_of_a_lost_node_waits_for_its_data_and_says_so(stage: Stage) -> None:
    ids = await fleet(stage, "edge-1")
    await stage.deployments.create(spec(volumes=DATA), by=ME)
    await stage.runs(ids["edge-1"])
    await fleet(stage, "edge-2")
    assert "its data lies there, in volume data" in str(await lost(stage, ids["edge-1"]))
    now = stage.deployments.get("web")
    assert ["edge-1"] == [given.node for given in now.assignments]
    assert "node edge-1 has been unreachable" in str(now.reason)
    assert "its volume data lies there" in str(now.reason)


async def test_a_replica_that_waits_for_its_node_names_it(stage: Stage) -> None:
    ids = await fleet(stage, "edge-1")
    await stage.deployments.create(spec(volumes=DATA), by=ME)
    await stage.deployments.delete("web", by=ME)
    await fleet(stage, "edge-2")
    await stage.act(lambda tx: change_status(tx, ids["edge-1"], "unreachable", "silent"))
    made = await stage.deployments.create(spec(volumes=DATA), by=ME)
    assert ["its volume data lies on node edge-1: unreachable"] == [each.reason for each in made.pending]
    await stage.act(lambda tx: change_status(tx, ids["edge-1"], "ready", None))
    assert ["edge-1"] == [given.node for given in stage.deployments.get("web").assignments]


async def test_a_spec_may_abandon_its_volumes(stage: Stage) -> None:
    ids = await fleet(stage, "edge-1")
    await stage.deployments.create(spec(volumes=DATA, reschedule=ReschedulePolicy(abandon_volumes=True)), by=ME)
    ids |= await fleet(stage, "edge-2")
    assert await lost(stage, ids["edge-1"]) is None
    assert ["edge-2"] == [given.node for given in stage.deployments.get("web").assignments]
    assert [("fledx-web-data-0", "edge-1", "left"), ("fledx-web-data-0", "edge-2", "current")] == sorted(
        shown(stage), key=lambda each: each[1]
    )


async def test_fault_37_a_node_that_holds_data_is_not_drained_without_force(stage: Stage) -> None:
    ids = await fleet(stage, "edge-1")
    await stage.deployments.create(spec(name="db", volumes=DATA), by=ME)
    await fleet(stage, "edge-2")
    fleet_ = Fleet(stage.store, stage.changes, stage.tokens, Dispatch(stage.store, stage.seal))
    with pytest.raises(Conflict, match="node edge-1 holds db/0: its data lies there, in volume data") as refusal:
        await fleet_.drain("edge-1", Drain(), by=ME)
    assert "--force" in (refusal.value.hint or "")
    await fleet_.drain("edge-1", Drain(force=True), by=ME)
    loop = Rollouts(stage.store, stage.changes)
    for _ in range(10):
        stage.now += 1
        await loop.look()
    assert ["edge-2"] == [given.node for given in stage.deployments.get("db").assignments]
    assert ("fledx-db-data-0", "edge-1", "left") in shown(stage)
    assert () == stage.desired(ids["edge-1"]).dropped_volumes


async def test_a_deployment_that_is_deleted_leaves_its_data_to_the_next_of_its_name(stage: Stage) -> None:
    ids = await fleet(stage, "edge-1", "edge-2", "edge-3")
    first = await stage.deployments.create(spec(volumes=DATA), by=ME)
    await stage.deployments.delete("web", by=ME)
    assert ["left"] == [each.state for each in kept(stage)]
    again = await stage.deployments.create(spec(volumes=DATA), by=ME)
    assert [given.node for given in first.assignments] == [given.node for given in again.assignments]
    assert "takes over fledx-web-data-0" in stage.happened("volume.kept")[0].reason
    assert all(stage.desired(node_id).dropped_volumes == () for node_id in ids.values())


async def test_data_goes_with_its_deployment_only_when_that_is_asked_for(stage: Stage) -> None:
    ids = await fleet(stage, "edge-1")
    await stage.deployments.create(spec(volumes=DATA), by=ME)
    await stage.deployments.delete("web", by=ME, drop_volumes=True)
    assert [] == kept(stage)
    assert ("fledx-web-data-0",) == stage.desired(ids["edge-1"]).dropped_volumes
    assert "with 1 volume of data" in stage.happened("deployment.deleted")[0].reason
    again = await stage.deployments.create(spec(volumes=DATA), by=ME)
    assert again.assignments
    (replica,) = stage.desired(ids["edge-1"]).replicas
    assert {"data": "fledx-web-data-0-r2"} == replica.volume_names


async def test_a_deployment_that_is_renamed_keeps_its_data(stage: Stage) -> None:
    ids = await fleet(stage, "edge-1")
    await stage.deployments.create(spec(volumes=DATA), by=ME)
    await stage.deployments.patch("web", {"name": "site"}, by=ME)
    other = await stage.deployments.create(spec(volumes=DATA), by=ME)
    names = {each.deployment: each.volume_names for each in stage.desired(ids["edge-1"]).replicas}
    assert {"site": {"data": "fledx-web-data-0"}, "web": {"data": "fledx-web-data-0-r2"}} == names
    assert [] == stage.happened("volume.kept")
    assert other.assignments


async def test_a_volume_that_an_update_adds_has_a_name_when_the_replica_gets_it(stage: Stage) -> None:
    ids = await fleet(stage, "edge-1")
    await stage.deployments.create(spec(update=UpdatePolicy(min_healthy_seconds=0, max_surge=1)), by=ME)
    await stage.runs(ids["edge-1"])
    await stage.deployments.patch("web", {"volumes": [{"name": "data", "container_path": "/data"}]}, by=ME)
    loop = Rollouts(stage.store, stage.changes)
    for _ in range(10):
        stage.now += 1
        await stage.runs(ids["edge-1"])
        await loop.look()
    (replica,) = stage.desired(ids["edge-1"]).replicas
    assert (2, {"data": "fledx-web-data-0"}) == (replica.revision, replica.volume_names)
    assert [("fledx-web-data-0", "edge-1", "current")] == shown(stage)
