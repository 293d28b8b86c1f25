"""Deployments with a replica on each node that suits: they follow nodes that come, go and change."""

from __future__ import annotations

from typing import Any

import pytest

from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.fleet import Drain, Fleet
from fledx.control_plane.loops.rollouts import Rollouts
from fledx.control_plane.nodes import change_status
from fledx.errors import InvalidSpec
from fledx.models.deployment import UpdatePolicy
from fledx.models.placement import Constraints
from fledx.models.port import PortMapping
from tests.builders import spec
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio
QUICK = UpdatePolicy(min_healthy_seconds=0, watch_seconds=0)


class Everywhere:
    """Some nodes, a global deployment, and the loop that a test turns by hand."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.fleet = Fleet(stage.store, stage.changes, stage.tokens, Dispatch(stage.store, stage.seal))
        self.loop = Rollouts(stage.store, stage.changes)
        self.ids: dict[str, str] = {}

    async def join(self, *names: str, **changes: Any) -> None:
        for name in names:
            self.ids[name] = await self.stage.node(name, **changes)

    async def create(self, **changes: Any) -> None:
        await self.stage.deployments.create(spec(**{"mode": "global", "update": QUICK, **changes}), by=ME)
        await self.run(5)

    async def run(self, seconds: int) -> None:
        """Time passes; agents do at once what they are told."""
        for _ in range(seconds):
            self.stage.now += 1
            for node_id in self.ids.values():
                await self.stage.runs(node_id)
            await self.loop.look()

    def places(self) -> dict[int, str]:
        owned = self.stage.deployments.get("web").assignments
        return {given.replica_number: str(given.node) for given in owned}


async def test_each_node_has_one_and_a_node_that_joins_later_gets_one(stage: Stage) -> None:
    site = Everywhere(stage)
    await site.join("edge-1", "edge-2")
    await site.create()
    shown = stage.deployments.get("web")
    assert (shown.status, shown.replicas, shown.ready_replicas, shown.unplaced_replicas) == ("running", 2, 2, 0)

    await site.join("edge-3")
    assert stage.deployments.get("web").status == "deploying"
    await site.run(3)
    shown = stage.deployments.get("web")
    assert (shown.status, shown.replicas, shown.ready_replicas) == ("running", 3, 3)
    assert site.places() == {0: "edge-1", 1: "edge-2", 2: "edge-3"}


async def test_labels_and_cordon_and_deletion_are_followed(stage: Stage) -> None:
    site = Everywhere(stage)
    await site.join("edge-1", "edge-2", "edge-3")
    await site.create(constraints=Constraints(rules=("!gpu",)))
    await site.fleet.label("edge-2", {"gpu": "yes"}, by=ME)
    await site.fleet.cordon("edge-3", by=ME)
    assert site.places() == {0: "edge-1", 2: "edge-3"}
    removed = stage.happened("replica.removed")
    assert [each.reason for each in removed] == ["node edge-2 does not suit any more: label gpu present"]

    await site.fleet.label("edge-2", {"gpu": None}, by=ME)
    assert site.places() == {0: "edge-1", 1: "edge-2", 2: "edge-3"}
    await site.fleet.delete("edge-1", by=ME, force=True)
    del site.ids["edge-1"]
    await site.run(3)
    assert site.places() == {1: "edge-2", 2: "edge-3"}
    assert stage.deployments.get("web").status == "running"


async def test_a_node_that_is_drained_gives_it_up_and_has_it_again_when_it_is_back(stage: Stage) -> None:
    site = Everywhere(stage)
    await site.join("edge-1", "edge-2")
    await site.create()
    await site.fleet.drain("edge-1", Drain(), by=ME)
    await site.run(3)
    assert site.places() == {1: "edge-2"}
    wish = stage.nodes.get("edge-1").wish
    assert wish is not None
    assert wish.done is not None
    await site.fleet.uncordon("edge-1", by=ME)
    assert site.places() == {0: "edge-1", 1: "edge-2"}


async def test_a_node_that_does_not_answer_keeps_it_and_nobody_else_gets_a_second(stage: Stage) -> None:
    site = Everywhere(stage)
    await site.join("edge-1", "edge-2")
    await site.create()
    await stage.act(lambda tx: change_status(tx, site.ids["edge-1"], "unreachable", "silent"))
    assert site.places() == {0: "edge-1", 1: "edge-2"}
    await stage.act(lambda tx: change_status(tx, site.ids["edge-1"], "ready", None))
    assert site.places() == {0: "edge-1", 1: "edge-2"}


async def test_an_update_goes_through_the_nodes_in_turn(stage: Stage) -> None:
    site = Everywhere(stage)
    await site.join("edge-1", "edge-2", "edge-3")
    await site.create()
    await site.fleet.delete("edge-1", by=ME, force=True)
    del site.ids["edge-1"]
    before = {given.node: given.fence for given in stage.deployments.get("web").assignments}
    await stage.deployments.patch("web", {"image": "web:2"}, by=ME)
    await site.loop.look()
    assert sorted(given.revision for given in stage.deployments.get("web").assignments) == [1, 2]
    await site.run(10)
    shown = stage.deployments.get("web")
    assert [given.revision for given in shown.assignments] == [2, 2]
    assert {given.node: given.fence for given in shown.assignments} == before
    assert shown.rollout is not None
    assert (shown.status, shown.rollout.state, shown.rollout.wanted) == ("running", "complete", 2)


async def test_a_port_that_is_taken_on_one_node_is_the_reason_there_and_goes_when_it_is_free(stage: Stage) -> None:
    site = Everywhere(stage)
    await site.join("edge-1")
    fixed = (PortMapping(container_port=80, host_port=80),)
    await stage.deployments.create(spec(name="api", ports=fixed), by=ME)
    await site.join("edge-2")
    await site.create(ports=fixed)
    shown = stage.deployments.get("web")
    assert [each.reason for each in shown.pending] == ["node edge-1: port 80 taken by api"]
    assert (shown.replicas, shown.unplaced_replicas, shown.status) == (2, 1, "deploying")
    await stage.deployments.delete("api", by=ME)
    await site.run(2)
    assert sorted(site.places().values()) == ["edge-1", "edge-2"]


async def test_it_can_be_stopped_and_started_and_where_no_node_suits_it_says_why(stage: Stage) -> None:
    site = Everywhere(stage)
    await site.create()
    shown = stage.deployments.get("web")
    assert [each.reason for each in shown.pending] == ["there are no nodes"]
    assert shown.status == "pending"
    await site.join("edge-1")
    await stage.deployments.patch("web", {"desired_state": "stopped"}, by=ME)
    await site.join("edge-2")
    await site.run(2)
    assert stage.deployments.get("web").status == "stopped"
    assert len(site.places()) == 1
    await stage.deployments.patch("web", {"desired_state": "running"}, by=ME)
    await site.run(2)
    assert len(site.places()) == 2


async def test_what_would_mean_nothing_is_refused_naming_the_field(stage: Stage) -> None:
    await stage.deployments.create(spec(mode="global"), by=ME)
    for changes, field in (
        ({"replicas": 3}, "replicas"),
        ({"update": {"max_surge": 1}}, "update.max_surge"),
        ({"mode": "service"}, "mode"),
        ({"schedule": "@daily"}, "schedule"),
    ):
        with pytest.raises(InvalidSpec) as refused:
            await stage.deployments.patch("web", changes, by=ME)
        assert refused.value.problems[0][0] == field


async def test_a_preview_shows_where_it_would_run(stage: Stage) -> None:
    await Everywhere(stage).join("edge-1", "edge-2")
    found = await stage.deployments.preview(spec(mode="global"), by=ME)
    assert found.replicas == 2
    assert [given.node for given in found.assignments] == ["edge-1", "edge-2"]
