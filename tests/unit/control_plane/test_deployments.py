"""Deployments are stored, placed, changed and deleted, each in one transaction."""

from __future__ import annotations

import pytest

from fledx.errors import Conflict, InvalidSpec, NotFound
from fledx.models.port import PortMapping
from tests.builders import spec
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio


async def test_a_new_deployment_is_placed_at_once_and_its_nodes_are_told(stage: Stage) -> None:
    first, second = await stage.node("edge-1"), await stage.node("edge-2")
    stage.told.clear()

    made = await stage.deployments.create(spec(replicas=2), by=ME)

    assert {given.node_id for given in made.assignments} == {first, second}
    assert made.status == "deploying"
    assert made.unplaced_replicas == 0
    assert stage.told == [{first, second}]
    assert [replica.deployment for replica in stage.desired(first).replicas] == ["web"]


async def test_it_runs_once_every_replica_is_ready(stage: Stage) -> None:
    node = await stage.node("edge-1")
    made = await stage.deployments.create(spec(replicas=2), by=ME)

    await stage.runs(node)

    now = stage.deployments.get("web")
    assert (now.status, now.ready_replicas) == ("running", 2)
    assert stage.happened("deployment.running")[-1].deployment_id == made.deployment_id


async def test_a_replica_without_a_place_waits_with_its_reason_and_is_placed_by_itself(stage: Stage) -> None:
    made = await stage.deployments.create(spec(), by=ME)
    assert made.status == "pending"
    assert made.pending[0].reason == "there are no nodes"

    node = await stage.node("edge-1")

    now = stage.deployments.get(made.deployment_id)
    assert [given.node_id for given in now.assignments] == [node]
    assert now.pending == ()


async def test_a_taken_name_is_a_conflict_and_leaves_the_first_alone(stage: Stage) -> None:
    await stage.deployments.create(spec(image="web:1"), by=ME)

    with pytest.raises(Conflict, match="web already"):
        await stage.deployments.create(spec(image="web:2"), by=ME)

    assert stage.deployments.get("web").image == "web:1"


async def test_the_same_idempotency_key_has_one_effect(stage: Stage) -> None:
    first = await stage.deployments.create(spec(), by=ME, idempotency_key="once")
    again = await stage.deployments.create(spec(), by=ME, idempotency_key="once")

    assert again.deployment_id == first.deployment_id
    with pytest.raises(Conflict, match="another request"):
        await stage.deployments.create(spec(image="web:2"), by=ME, idempotency_key="once")


async def test_a_preview_stores_nothing(stage: Stage) -> None:
    node = await stage.node("edge-1")

    seen = await stage.deployments.preview(spec(replicas=2), by=ME)

    assert [given.node_id for given in seen.assignments] == [node, node]
    with pytest.raises(NotFound):
        stage.deployments.get("web")
    assert (await stage.deployments.create(spec(replicas=2), by=ME)).unplaced_replicas == 0


async def test_scaling_and_renaming_restart_nothing(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(replicas=2), by=ME)
    before = {replica.replica_number: (replica.template, replica.fence) for replica in stage.desired(node).replicas}

    await stage.deployments.patch("web", {"replicas": 3, "name": "shop", "labels": {"team": "a"}}, by=ME)

    now = stage.deployments.get("shop")
    after = {replica.replica_number: (replica.template, replica.fence) for replica in stage.desired(node).replicas}
    assert (now.generation, now.revision) == (2, 1)
    assert {number: after[number] for number in before} == before
    assert sorted(after) == [0, 1, 2]


async def test_scaling_down_removes_the_highest_numbers(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(replicas=3), by=ME)

    await stage.deployments.patch("web", {"replicas": 1}, by=ME)

    assert [replica.replica_number for replica in stage.desired(node).replicas] == [0]


async def test_an_unplaced_replica_that_is_no_longer_wanted_stops_waiting(stage: Stage) -> None:
    await stage.deployments.create(spec(replicas=3), by=ME)

    await stage.deployments.patch("web", {"replicas": 1}, by=ME)

    assert [each.replica_number for each in stage.deployments.get("web").pending] == [0]


async def test_a_new_template_is_a_new_revision_that_replicas_do_not_run_yet(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(replicas=2), by=ME)
    await stage.runs(node)

    now = await stage.deployments.patch("web", {"image": "web:2"}, by=ME)

    assert now.revision == 2
    assert {replica.image for replica in stage.desired(node).replicas} == {"web:1"}
    assert now.status == "deploying"


async def test_a_change_that_changes_nothing_is_not_one(stage: Stage) -> None:
    made = await stage.deployments.create(spec(env={"A": "1"}), by=ME)

    now = await stage.deployments.patch("web", {"env": {"A": "1"}}, by=ME)

    assert now.generation == made.generation


async def test_a_lost_update_is_refused_by_generation(stage: Stage) -> None:
    await stage.deployments.create(spec(), by=ME)
    await stage.deployments.patch("web", {"replicas": 2}, by=ME, generation=1)

    with pytest.raises(Conflict, match="generation 2, not 1"):
        await stage.deployments.patch("web", {"replicas": 3}, by=ME, generation=1)
    with pytest.raises(Conflict, match="generation 2, not 1"):
        await stage.deployments.delete("web", by=ME, generation=1)
    assert 2 == stage.deployments.get("web").replicas


async def test_null_leaves_a_field_and_an_empty_one_clears_it(stage: Stage) -> None:
    ports = (PortMapping(container_port=80),)
    await stage.deployments.create(spec(env={"A": "1"}, ports=ports, command=("a",)), by=ME)

    now = await stage.deployments.patch("web", {"image": None, "env": {}, "ports": [], "command": []}, by=ME)

    assert (now.image, now.env, now.ports, now.command) == ("web:1", None, None, None)


@pytest.mark.parametrize("changes", [{}, {"image": None}, {"imagee": "x"}, {"replicas": 0}, {"replicas": "2"}])
async def test_a_bad_change_is_refused_and_changes_nothing(stage: Stage, changes: dict[str, object]) -> None:
    await stage.deployments.create(spec(), by=ME)

    with pytest.raises(InvalidSpec):
        await stage.deployments.patch("web", changes, by=ME)

    assert stage.deployments.get("web").generation == 1


async def test_stop_keeps_the_place_and_start_uses_it_again(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(), by=ME)
    await stage.runs(node)

    await stage.deployments.patch("web", {"desired_state": "stopped"}, by=ME)
    assert stage.deployments.get("web").status == "deploying"
    assert [replica.desired_state for replica in stage.desired(node).replicas] == ["stopped"]
    await stage.report(node)
    assert stage.deployments.get("web").status == "stopped"

    await stage.deployments.patch("web", {"desired_state": "running"}, by=ME)
    await stage.runs(node)
    now = stage.deployments.get("web")
    assert (now.status, now.generation, now.revision) == ("running", 3, 1)


async def test_delete_takes_the_replicas_from_their_nodes_and_frees_their_ports(stage: Stage) -> None:
    node = await stage.node("edge-1")
    ports = (PortMapping(container_port=80, host_port=8080),)
    await stage.deployments.create(spec(name="first", ports=ports), by=ME)
    waiting = await stage.deployments.create(spec(name="second", ports=ports), by=ME)
    assert "port 8080 taken by first" in waiting.pending[0].reason

    await stage.deployments.delete("first", by=ME)

    assert [replica.deployment for replica in stage.desired(node).replicas] == ["second"]
    with pytest.raises(NotFound):
        stage.deployments.get("first")


async def test_an_id_a_name_and_the_beginning_of_an_id_all_mean_the_deployment(stage: Stage) -> None:
    made = await stage.deployments.create(spec(), by=ME)

    for ref in ("web", "WEB", made.deployment_id, made.deployment_id[:6]):
        assert stage.deployments.get(ref).deployment_id == made.deployment_id


async def test_an_unknown_name_suggests_the_nearest(stage: Stage) -> None:
    await stage.deployments.create(spec(name="storefront"), by=ME)

    with pytest.raises(NotFound) as refusal:
        stage.deployments.get("storefornt")

    assert refusal.value.hint == "did you mean storefront?"


async def test_each_automatic_port_is_the_containers_own_or_the_next_of_the_range(stage: Stage) -> None:
    await stage.node("edge-1")

    made = await stage.deployments.create(spec(replicas=4, ports=(PortMapping(container_port=80),)), by=ME)

    assert [given.ports[0].host_port for given in made.assignments] == [80, 30000, 30001, 30002]
    assert made.unplaced_replicas == 0


async def test_a_watcher_sees_each_change_and_the_end(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(), by=ME)
    watched = stage.deployments.watch("web")

    assert (await watched.__anext__()).status == "deploying"
    await stage.runs(node)
    assert (await watched.__anext__()).status == "running"
    await stage.deployments.delete("web", by=ME)
    with pytest.raises(StopAsyncIteration):
        await watched.__anext__()


async def test_what_a_failed_transaction_did_to_the_board_is_forgotten(stage: Stage) -> None:
    await stage.node("edge-1")
    ports = (PortMapping(container_port=80, host_port=8080),)

    def fail(tx: object) -> None:
        stage.deployments._insert(tx, spec(ports=ports), ME)  # type: ignore[arg-type]
        raise RuntimeError("undone")

    with pytest.raises(RuntimeError):
        await stage.act(fail)

    assert (await stage.deployments.create(spec(ports=ports), by=ME)).unplaced_replicas == 0
