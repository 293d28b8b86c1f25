"""What lists show, beside what a single look shows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fledx.control_plane.store import deployments
from fledx.models.codec import encode
from fledx.models.deployment import Deployment
from fledx.models.filters import DeploymentFilter, NodeFilter
from fledx.models.job import JobRun, JobStatus
from fledx.models.port import PortMapping
from tests.builders import facts, running, spec
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio
LEFT_OUT: dict[str, Any] = {"instances": [], "pending": []}


def as_listed(shown: Deployment) -> dict[str, Any]:
    """A deployment without what a list leaves out."""
    whole = encode(shown)
    return {**{key: whole[key] for key in whole if key not in ("instance", "last_reported")}, **LEFT_OUT}


def listed(stage: Stage) -> list[Any]:
    found, total = stage.deployments.page(DeploymentFilter(), limit=500, offset=0)
    assert total == len(found)
    return [json.loads(item) for item in found]


async def test_a_deployment_is_listed_as_it_is_shown_in_every_state(stage: Stage) -> None:
    nodes = [await stage.node(name) for name in ("edge-1", "edge-2")]
    exposed = (PortMapping(container_port=80, expose=True, host_ip="10.0.0.1"), PortMapping(container_port=81))
    await stage.deployments.create(spec(name="web", replicas=2, ports=exposed, labels={"a": 'q"uöte'}), by=ME)
    await stage.deployments.create(spec(name="waiting", replicas=9, ports=(PortMapping(container_port=9),)), by=ME)
    await stage.deployments.create(spec(name="stopped", desired_state="stopped"), by=ME)
    await stage.deployments.create(spec(name="changed", env={"A": "\x7f\u2028"}), by=ME)
    await stage.deployments.patch("changed", {"image": "caddy"}, by=ME)
    await stage.deployments.create(spec(name="all", mode="global"), by=ME)
    await stage.deployments.create(spec(name="job", mode="job", replicas=2), by=ME)
    await stage.deployments.create(spec(name="cron", mode="job", schedule="@daily"), by=ME)
    for node in nodes:
        await stage.runs(node)
    due = "2026-11-26T00:00:00Z"
    told = [
        running(
            each,
            state="stopped",
            ready=False,
            job=JobStatus(run=JobRun(outcome="succeeded", due=each.job.schedule and due), next_run=due),
        )
        for each in stage.desired(nodes[0]).replicas
        if each.job is not None
    ]
    await stage.report(nodes[0], *told, full=False)

    for item in listed(stage):
        assert item == as_listed(stage.deployments.get(item["name"])), item["name"]
    assert {item["status"] for item in listed(stage)} >= {"running", "stopped"}
    assert {item["replicas"] for item in listed(stage) if item["mode"] == "global"} == {2}


async def test_a_rollout_that_was_kept_is_listed_as_it_is_shown(stage: Stage) -> None:
    await stage.node("edge-1")
    made = await stage.deployments.create(spec(), by=ME)
    kept = {"state": "paused", "reason": 'a "reason"', "since": "2026-11-25T10:00:00.000Z"}

    await stage.act(lambda tx: deployments.set_rollout(tx.sql, made.deployment_id, kept))

    (item,) = listed(stage)
    assert item == as_listed(stage.deployments.get("web"))
    assert item["rollout"]["reason"] == 'a "reason"'


async def test_a_node_is_listed_as_it_is_shown(stage: Stage) -> None:
    await stage.node("edge-1", labels={"zone": "ä"}, public_ip="203.0.113.9", runtime="docker 27")
    await stage.node("edge-2", runtime_error='Docker said "no"')
    await stage.nodes.register(facts(name="edge-3", capacity=None), by="test")

    found, total = stage.nodes.page(NodeFilter(), limit=10, offset=0)

    assert total == 3
    for item in map(json.loads, found):
        assert item == encode(stage.nodes.get(item["name"]))
