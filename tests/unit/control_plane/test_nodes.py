"""Nodes join once, keep themselves, and speak for themselves only."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fledx.control_plane.nodes import change_status
from fledx.control_plane.replicas.moving import move
from fledx.control_plane.store import assignments, deployments
from fledx.errors import Conflict, Denied
from fledx.models.filters import NodeFilter
from fledx.models.port import PortMapping
from fledx.models.report import Happening, digest_of
from fledx.models.volume import VolumeMount
from tests.builders import NOW, facts, instance, spec
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio


async def test_a_registered_node_waits_for_its_agent_and_is_ready_once_that_connects(stage: Stage) -> None:
    made = await stage.nodes.register(facts(name="edge-1"), by="test")
    assert stage.nodes.get("edge-1").status == "registering"

    await stage.nodes.connected(made.node_id, facts(name="edge-1"), "198.51.100.7")

    node = stage.nodes.get("edge-1")
    assert (node.status, node.address, node.arch) == ("ready", "198.51.100.7", "amd64")
    assert node.last_seen is not None


async def test_the_same_host_keeps_its_node_when_it_joins_again(stage: Stage) -> None:
    first = await stage.nodes.register(facts(name="edge-1", host_key="h1"), by="test")
    again = await stage.nodes.register(facts(name="other", host_key="h1"), by="test")

    assert (again.node_id, again.name) == (first.node_id, "edge-1")
    assert stage.nodes.admit(first.node_id, again.node_token) == "edge-1"
    with pytest.raises(Denied):
        stage.nodes.admit(first.node_id, first.node_token)


async def test_another_host_cannot_take_a_name(stage: Stage) -> None:
    await stage.nodes.register(facts(name="edge-1", host_key="h1"), by="test")

    with pytest.raises(Conflict, match="already, on another host"):
        await stage.nodes.register(facts(name="Edge-1", host_key="h2"), by="test")


async def test_a_wrong_token_and_an_unknown_node_are_refused_in_the_same_words(stage: Stage) -> None:
    made = await stage.nodes.register(facts(), by="test")

    with pytest.raises(Denied) as wrong:
        stage.nodes.admit(made.node_id, "fn_wrong")
    with pytest.raises(Denied) as unknown:
        stage.nodes.admit("nobody", made.node_token)

    assert wrong.value.text == unknown.value.text


async def test_a_node_whose_engine_is_dead_is_in_error_and_gets_no_work(stage: Stage) -> None:
    node = await stage.node("edge-1", runtime_error="Docker does not answer")

    assert (stage.nodes.get(node).status, stage.nodes.get(node).reason) == ("error", "Docker does not answer")
    made = await stage.deployments.create(spec(), by=ME)
    assert made.status == "pending"

    await stage.nodes.told(node, facts(name="edge-1"))
    assert stage.deployments.get("web").unplaced_replicas == 0


async def test_labels_and_status_narrow_the_list(stage: Stage) -> None:
    await stage.node("edge-1", labels={"zone": "a"})
    await stage.node("edge-2", labels={"zone": "b"})

    found, total = stage.nodes.page(NodeFilter(labels={"zone": "b"}, status="ready"), limit=10, offset=0)

    assert ([json.loads(node)["name"] for node in found], total) == (["edge-2"], 1)


async def test_a_full_report_replaces_what_was_known_of_the_node(stage: Stage) -> None:
    node = await stage.node("edge-1")
    made = await stage.deployments.create(spec(replicas=2), by=ME)
    ours = instance(deployment_id=made.deployment_id)
    await stage.report(node, ours, replace(ours, replica_number=1))

    await stage.report(node, ours)

    assert [each.replica_number for each in stage.nodes.instances(node)] == [0]


async def test_a_change_leaves_the_other_instances_as_they_were(stage: Stage) -> None:
    node = await stage.node("edge-1")
    made = await stage.deployments.create(spec(replicas=2), by=ME)
    ours = instance(deployment_id=made.deployment_id)
    await stage.report(node, ours, replace(ours, replica_number=1))

    await stage.report(node, full=False, gone=((made.deployment_id, 1),))

    assert [each.replica_number for each in stage.nodes.instances(node)] == [0]


async def test_instances_of_deployments_that_are_gone_are_not_kept(stage: Stage) -> None:
    node = await stage.node("edge-1")

    await stage.report(node, instance(deployment_id="gone"))

    assert stage.nodes.instances(node) == []


async def test_a_report_speaks_for_its_own_node_whatever_it_says(stage: Stage) -> None:
    first, second = await stage.node("edge-1"), await stage.node("edge-2")
    made = await stage.deployments.create(spec(), by=ME)

    await stage.report(first, instance(deployment_id=made.deployment_id, node_id=second))

    assert stage.nodes.instances(second) == []
    assert stage.nodes.instances(first)[0].node_id == first


async def test_what_an_agent_did_is_an_event_with_its_reason(stage: Stage) -> None:
    node = await stage.node("edge-1")
    made = await stage.deployments.create(spec(), by=ME)
    drift = Happening(
        at=NOW, kind="drift", deployment_id=made.deployment_id, replica_number=0, reason="the container was removed"
    )

    await stage.report(node, happenings=(drift,), dropped=3)

    (event,) = stage.happened("replica.drift")
    assert (event.subject, event.reason, event.node_id) == ("web", "the container was removed", node)
    assert "3 happenings were dropped" in stage.happened("node.dropped")[0].reason


async def test_what_is_stored_of_a_node_has_the_digest_of_what_it_told(stage: Stage) -> None:
    node = await stage.node("edge-1")
    made = await stage.deployments.create(spec(replicas=2), by=ME)
    found = [instance(deployment_id=made.deployment_id, replica_number=i, node_id=node) for i in (1, 0)]
    await stage.report(node, *found)

    assert stage.reports.agrees(node, digest_of(found))
    assert not stage.reports.agrees(node, digest_of(found[:1]))


async def silent(stage: Stage, node_id: str) -> None:
    await stage.act(lambda tx: change_status(tx, node_id, "unreachable", "no sign of life"))


async def moved(stage: Stage, node_id: str) -> None:
    def work(tx: object) -> None:
        for deployment_id, given in assignments.of_node(tx.sql, node_id):  # type: ignore[attr-defined]
            stored = deployments.by_id(tx.sql, deployment_id)  # type: ignore[attr-defined]
            assert stored is not None
            move(tx, stored, given, why="silent")  # type: ignore[arg-type]

    await stage.act(work)


async def test_a_silent_nodes_replica_moves_under_a_new_fence_and_the_old_owner_must_drop_it(stage: Stage) -> None:
    first, second = await stage.node("edge-1"), await stage.node("edge-2")
    made = await stage.deployments.create(spec(), by=ME)
    owner = made.assignments[0]
    other = second if owner.node_id == first else first
    await stage.runs(owner.node_id)

    await silent(stage, owner.node_id)
    assert stage.deployments.get("web").status == "deploying"
    await moved(stage, owner.node_id)

    now = stage.deployments.get("web").assignments[0]
    assert now.node_id == other
    assert now.fence > owner.fence
    assert stage.desired(owner.node_id).replicas == ()


async def test_where_there_is_no_other_place_the_replica_keeps_its_own(stage: Stage) -> None:
    node = await stage.node("edge-1")
    made = await stage.deployments.create(spec(), by=ME)

    await silent(stage, node)
    await moved(stage, node)

    assert stage.deployments.get("web").assignments == made.assignments
    assert "no other place" in stage.happened("replica.kept")[0].reason


async def test_a_replica_with_data_on_its_node_stays(stage: Stage) -> None:
    first, _ = await stage.node("edge-1"), await stage.node("edge-2")
    volume = VolumeMount(host_path="/var/lib/fledx/volumes/a", container_path="/data")
    made = await stage.deployments.create(spec(volumes=(volume,)), by=ME)
    owner = made.assignments[0].node_id

    await silent(stage, owner)
    await moved(stage, owner)

    assert stage.deployments.get("web").assignments[0].node_id == owner
    assert "its data lies there, in /var/lib/fledx/volumes/a" in stage.happened("replica.kept")[0].reason
    assert first


async def test_a_port_that_something_else_listens_on_is_not_given_out(stage: Stage) -> None:
    node = await stage.node("edge-1", ports_in_use=("tcp/80", "tcp/8080"))
    chosen = await stage.deployments.create(spec(name="chosen", ports=(PortMapping(container_port=80),)), by=ME)
    fixed = PortMapping(container_port=80, host_port=8080)
    waiting = await stage.deployments.create(spec(name="fixed", ports=(fixed,)), by=ME)

    assert chosen.assignments[0].ports[0].host_port == 30000
    assert waiting.pending[0].reason == "1 node: port 8080 taken by something outside fledx (edge-1)"

    await stage.nodes.told(node, facts(name="edge-1"))
    assert stage.deployments.get("fixed").unplaced_replicas == 0


async def test_a_chosen_port_that_turns_out_to_be_used_is_replaced_by_another(stage: Stage) -> None:
    node = await stage.node("edge-1")
    made = await stage.deployments.create(spec(ports=(PortMapping(container_port=80),)), by=ME)

    await stage.nodes.told(node, facts(name="edge-1", ports_in_use=("tcp/80",)))

    (now,) = stage.deployments.get("web").assignments
    assert (now.ports[0].host_port, now.fence) == (30000, made.assignments[0].fence)
    assert stage.desired(node).replicas[0].ports == now.ports
    assert stage.happened("replica.ports")


async def test_a_node_may_have_a_port_range_of_its_own(stage: Stage) -> None:
    await stage.node("edge-1", port_range=(40000, 40001))

    made = await stage.deployments.create(spec(replicas=4, ports=(PortMapping(container_port=80),)), by=ME)

    assert [given.ports[0].host_port for given in made.assignments] == [80, 40000, 40001]
    assert "from 40000 to 40001" in made.pending[0].reason


async def test_a_retry_that_fails_as_before_is_no_news(stage: Stage) -> None:
    node = await stage.node("edge-1")
    made = await stage.deployments.create(spec(), by=ME)

    def failed(reason: str) -> Happening:
        return Happening(at=NOW, kind="failed", deployment_id=made.deployment_id, replica_number=0, reason=reason)

    for reason in ("no such image", "no such image", "no space", "no such image"):
        await stage.report(node, happenings=(failed(reason),))

    assert [event.reason for event in stage.happened("replica.failed")] == [
        "no such image",
        "no space",
        "no such image",
    ]
