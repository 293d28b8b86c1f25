"""What only a node may allow decides where a replica can be, and is written down."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fledx.control_plane.audit import AuditFilter
from fledx.errors import Conflict
from fledx.models.permission import LATER
from fledx.models.volume import VolumeMount
from tests.builders import facts, spec
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio


def mount(path: str) -> dict[str, Any]:
    return {"volumes": (VolumeMount(host_path=path, container_path="/x"),)}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"privileged": True}, "1 node: its FLEDX_AGENT_ALLOW has no privileged (edge-1)"),
        ({"network_mode": "host"}, "1 node: its FLEDX_AGENT_ALLOW has no host_network (edge-1)"),
        ({"cap_add": ("SYS_ADMIN",)}, "1 node: its FLEDX_AGENT_ALLOW has no capabilities (edge-1)"),
        (mount("/var/run/docker.sock"), "1 node: its FLEDX_AGENT_ALLOW has no docker_socket (edge-1)"),
        (mount("/"), "1 node: its FLEDX_AGENT_ALLOW has no docker_socket (edge-1)"),
        (mount("/etc"), "1 node: volume /etc lies outside its FLEDX_AGENT_ALLOWED_VOLUME_PREFIXES (edge-1)"),
    ],
)
async def test_fault_42_a_replica_waits_with_the_reason_of_each_node(
    stage: Stage, changes: dict[str, Any], reason: str
) -> None:
    await stage.node("edge-1", allows=(), volume_prefixes=("/var/lib/fledx/volumes",))
    made = await stage.deployments.create(spec(**changes), by=ME)
    assert [reason] == [each.reason for each in made.pending]


async def test_fault_42_a_node_that_allows_it_gets_it_and_both_are_in_the_audit_log(stage: Stage) -> None:
    await stage.node("edge-1", allows=())
    node_id = await stage.node("edge-2", allows=("privileged",))
    made = await stage.deployments.create(spec(privileged=True), by=ME)
    assert ["edge-2"] == [given.node for given in made.assignments]
    await stage.nodes.connected(node_id, facts(name="edge-2", allows=("privileged", "devices")), "10.0.0.2:1")
    lines, _ = await stage.audit.page(AuditFilter(), limit=50, offset=0)
    told = [line.decode() for line in lines]
    assert ["node edge-2"] * 2 == [json.loads(line)["operator"] for line in told if '"node.allows"' in line]
    assert any('"deployment.create"' in line and '"privileged":true' in line.replace(" ", "") for line in told)


async def test_fault_26_an_agent_that_does_not_know_a_field_is_not_chosen(stage: Stage) -> None:
    await stage.node("edge-1")
    made = await stage.deployments.create(spec(read_only=True), by=ME)
    assert ["1 node: its agent is too old for read_only (edge-1)"] == [each.reason for each in made.pending]


async def test_each_agent_tells_which_of_the_younger_fields_it_heeds(stage: Stage) -> None:
    """The first knows nothing of confinement, the second nothing of entry points; the third is of today."""
    await stage.node("edge-1")
    node_id = await stage.node("edge-2", allows=())
    made = await stage.deployments.create(spec(user="1", entrypoint=("/init",)), by=ME)
    reasons = "1 node: its agent is too old for entrypoint (edge-2); 1 node: its agent is too old for user, entrypoint"
    assert [f"{reasons} (edge-1)"] == [each.reason for each in made.pending]
    await stage.nodes.connected(node_id, facts(name="edge-2", allows=(), knows=LATER), "10.0.0.2:1")
    placed = stage.deployments.get("web")
    assert ["edge-2"] == [given.node for given in placed.assignments]


async def test_an_entry_point_is_a_new_revision_and_clearing_it_another(stage: Stage) -> None:
    await stage.node("edge-1", allows=(), knows=LATER)
    await stage.deployments.create(spec(command=("serve",)), by=ME)
    before = stage.deployments.get("web")
    changed = await stage.deployments.patch("web", {"entrypoint": ["/init", "--"]}, by=ME)
    unchanged = await stage.deployments.patch("web", {"entrypoint": None, "replicas": 2}, by=ME)
    cleared = await stage.deployments.patch("web", {"entrypoint": []}, by=ME)
    assert [1, 2, 2, 3] == [each.revision for each in (before, changed, unchanged, cleared)]
    assert [("/init", "--"), ("/init", "--")] == [changed.entrypoint, unchanged.entrypoint]
    assert not cleared.entrypoint
    assert ("serve",) == cleared.command


async def test_fault_26_a_field_is_refused_while_a_replica_stands_where_it_would_be_passed_over(stage: Stage) -> None:
    node_id = await stage.node("edge-1", allows=())
    made = await stage.deployments.create(spec(), by=ME)
    too_old = "node edge-1 runs replica 0 of web, and its agent is too old for entrypoint"
    with pytest.raises(Conflict, match=too_old):
        await stage.deployments.patch("web", {"entrypoint": ["/init"]}, by=ME)
    assert made.revision == stage.deployments.get("web").revision
    await stage.nodes.connected(node_id, facts(name="edge-1", allows=(), knows=LATER), "10.0.0.1:1")
    changed = await stage.deployments.patch("web", {"entrypoint": ["/init"]}, by=ME)
    assert ("/init",) == changed.entrypoint
