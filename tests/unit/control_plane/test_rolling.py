"""A change of the template goes through the replicas in turn, and back by itself when it is no good."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fledx.control_plane.loops.rollouts import Rollouts
from fledx.models.deployment import UpdatePolicy
from fledx.models.health import DeploymentHealth, HealthProbe
from fledx.models.port import PortMapping
from tests.builders import instance, spec
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio
POLICY = UpdatePolicy(max_unavailable=1, min_healthy_seconds=3, progress_deadline_seconds=60)


class Roll:
    """A deployment of two replicas on one node, and the loop that a test turns by hand."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.loop = Rollouts(stage.store, stage.changes)
        self.node = ""

    async def begin(self, **changes: object) -> None:
        self.node = await self.stage.node("edge-1")
        await self.stage.deployments.create(spec(**{"replicas": 2, "update": POLICY, **changes}), by=ME)
        await self.runs()
        await self.wait(40)

    async def runs(self) -> None:
        await self.stage.runs(self.node)

    async def wait(self, seconds: float) -> None:
        """Time passes; the loop looks once a second."""
        for _ in range(int(seconds)):
            self.stage.now += 1
            await self.loop.look()

    def images(self) -> list[str]:
        return [replica.image for replica in self.stage.desired(self.node).replicas]

    def state(self) -> str:
        rollout = self.stage.deployments.get("web").rollout
        assert rollout is not None
        return rollout.state


async def test_replicas_take_over_one_at_a_time_and_only_when_the_last_one_is_ready(stage: Stage) -> None:
    roll = Roll(stage)
    await roll.begin()
    assert roll.state() == "complete"

    await stage.deployments.patch("web", {"image": "web:2"}, by=ME)
    await roll.wait(5)
    assert sorted(roll.images()) == ["web:1", "web:2"]
    assert roll.state() == "progressing"

    await roll.runs()
    await roll.wait(5)
    assert roll.images() == ["web:2", "web:2"]

    await roll.runs()
    assert stage.deployments.get("web").status == "running"
    await roll.wait(40)
    assert roll.state() == "complete"
    assert stage.happened("rollout.complete")


async def test_while_it_is_time_to_wait_nothing_is_written(stage: Stage) -> None:
    roll = Roll(stage)
    await roll.begin()
    await stage.deployments.patch("web", {"image": "web:2"}, by=ME)
    await roll.wait(2)
    before = stage.store.read(lambda sql: sql.execute("PRAGMA data_version").fetchone()[0])

    await roll.wait(10)

    assert stage.store.read(lambda sql: sql.execute("PRAGMA data_version").fetchone()[0]) == before


async def test_fault_32_a_revision_that_crashes_is_rolled_back_with_its_last_words(stage: Stage) -> None:
    roll = Roll(stage)
    await roll.begin()
    old = {each.replica_number: each for each in stage.nodes.instances(roll.node)}

    await stage.deployments.patch("web", {"image": "web:2", "labels": {"kept": "yes"}}, by=ME)
    await roll.wait(2)
    given = next(one for one in stage.deployments.get("web").assignments if one.revision == 2)
    template = next(one.template for one in stage.desired(roll.node).replicas if one.revision == 2)
    crashed = instance(
        deployment_id=stage.deployments.get("web").deployment_id,
        replica_number=given.replica_number,
        state="pending",
        ready=False,
        container_id="c-new",
        fence=given.fence,
        revision=2,
        template=template,
        restart_count=0,
        message="exit code 3: no such table",
    )
    for restarts in range(4):
        others = [each for number, each in old.items() if number != given.replica_number]
        await stage.report(roll.node, replace(crashed, restart_count=restarts), *others)
        await roll.wait(2)

    now = stage.deployments.get("web")
    assert (now.image, now.revision, now.labels) == ("web:1", 1, {"kept": "yes"})
    assert roll.images() == ["web:1", "web:1"]
    assert "no such table" in stage.happened("deployment.rolled_back")[0].reason

    await roll.runs()
    await roll.wait(10)
    assert roll.state() == "rolled_back"
    assert stage.deployments.get("web").status == "running"


async def test_the_revision_after_a_rollback_gets_a_number_of_its_own(stage: Stage) -> None:
    roll = Roll(stage)
    await roll.begin(health=DeploymentHealth(readiness=HealthProbe(type="tcp", port=80)))
    await stage.deployments.patch("web", {"image": "web:2"}, by=ME)
    await roll.wait(70)
    assert stage.deployments.get("web").revision == 1

    now = await stage.deployments.patch("web", {"image": "web:3"}, by=ME)

    assert now.revision == 3


async def test_other_ports_are_found_anew_where_the_replica_stands(stage: Stage) -> None:
    roll = Roll(stage)
    await roll.begin(ports=(PortMapping(container_port=80),))

    await stage.deployments.patch("web", {"ports": [{"container_port": 81}]}, by=ME)
    for _ in range(3):
        await roll.wait(5)
        await roll.runs()

    ports = [given.ports[0] for given in stage.deployments.get("web").assignments]
    assert [(port.container_port, port.host_port) for port in ports] == [(81, 81), (81, 30000)]


async def test_a_stopped_deployment_takes_a_new_revision_at_once(stage: Stage) -> None:
    roll = Roll(stage)
    await roll.begin()
    await stage.deployments.patch("web", {"desired_state": "stopped", "image": "web:2"}, by=ME)

    await roll.wait(1)

    assert roll.images() == ["web:2", "web:2"]
