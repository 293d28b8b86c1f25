"""What operators want of nodes, and what becomes of the replicas there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fledx.control_plane.dispatch import Dispatch, Session
from fledx.control_plane.fleet import Drain, Fleet
from fledx.control_plane.loops.rollouts import Rollouts
from fledx.control_plane.nodes import change_status
from fledx.control_plane.rebalancing import Rebalancing
from fledx.errors import Conflict, Denied
from fledx.models.deployment import ReschedulePolicy, UpdatePolicy
from fledx.models.filters import NodeFilter
from fledx.models.placement import Constraints
from fledx.models.port import PortMapping
from fledx.models.volume import VolumeMount
from tests.builders import spec
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio
DATA = (VolumeMount(host_path="/srv/web", container_path="/data"),)


class Site:
    """Three nodes and the loop that a test turns by hand."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.dispatch = Dispatch(stage.store, stage.seal)
        self.fleet = Fleet(stage.store, stage.changes, stage.tokens, self.dispatch)
        self.loop = Rollouts(stage.store, stage.changes)
        self.ids: dict[str, str] = {}

    async def begin(self, *names: str, **changes: Any) -> Site:
        for name in names:
            self.ids[name] = await self.stage.node(name)
        await self.stage.deployments.create(spec(**{"update": UpdatePolicy(min_healthy_seconds=0), **changes}), by=ME)
        await self.run(40)
        return self

    async def run(self, seconds: int, *, silent: str = "") -> None:
        """Time passes; every agent but one does at once what it is told."""
        for _ in range(seconds):
            self.stage.now += 1
            for name, node_id in self.ids.items():
                if name != silent:
                    await self.stage.runs(node_id)
            await self.loop.look()

    def places(self) -> list[str]:
        return [str(given.node) for given in self.stage.deployments.get("web").assignments]

    def on(self, name: str) -> int:
        return self.places().count(name)


async def test_a_cordoned_node_keeps_what_it_has_and_gets_nothing_more(stage: Stage) -> None:
    site = await Site(stage).begin("edge-1", "edge-2", replicas=2)

    node = await site.fleet.cordon("edge-1", by=ME, reason="new disk")
    await stage.deployments.patch("web", {"replicas": 4}, by=ME)

    assert (node.availability, node.wish and node.wish.reason) == ("cordoned", "new disk")
    assert (site.on("edge-1"), site.on("edge-2")) == (1, 3)
    assert "new disk" in stage.happened("node.cordoned")[0].reason
    back = await site.fleet.uncordon("edge-1", by=ME)
    assert (back.availability, back.wish) == ("active", None)


async def test_a_drain_moves_one_replica_after_the_other_and_tells_when_it_is_done(stage: Stage) -> None:
    site = await Site(stage).begin("edge-1", replicas=3)
    site.ids["edge-2"] = await stage.node("edge-2")

    await site.fleet.drain("edge-1", Drain(), by=ME)
    await site.loop.look()
    assert site.on("edge-1") == 2
    for _ in range(5):
        stage.now += 1
        await site.loop.look()
    assert site.on("edge-1") == 2, "the first has not been ready on its new node"

    await site.run(10)
    assert site.on("edge-1") == 0
    assert stage.deployments.get("web").status == "running"
    wish = stage.nodes.get("edge-1").wish
    assert wish is not None
    assert wish.done is not None
    assert len(stage.happened("node.drained")) == 1


async def test_fault_36_a_drain_in_the_middle_of_an_update_shares_its_budget(stage: Stage) -> None:
    site = await Site(stage).begin("edge-1", "edge-2", replicas=4)
    await stage.deployments.patch("web", {"image": "web:2"}, by=ME)
    await site.loop.look()
    await site.fleet.drain("edge-1", Drain(), by=ME)
    lows = []

    for _ in range(60):
        await site.loop.look()
        lows.append(stage.deployments.get("web").replicas - sum(_serves(stage, given) for given in _given(stage)))
        await site.run(1)

    assert max(lows) <= 1
    assert site.on("edge-1") == 0
    assert {given.revision for given in _given(stage)} == {2}


def _given(stage: Stage) -> Any:
    return stage.deployments.get("web").assignments


def _serves(stage: Stage, given: Any) -> bool:
    """Whether the owner's last report shows the replica as it is now to be."""
    want = next(one for one in stage.desired(given.node_id).replicas if one.replica_number == given.replica_number)
    seen = {one.replica_number: one for one in stage.nodes.instances(given.node_id)}.get(given.replica_number)
    return seen is not None and (seen.template, seen.fence, seen.ready) == (want.template, want.fence, True)


async def test_fault_37_a_drain_that_would_lose_data_or_find_no_place_is_refused_by_name(stage: Stage) -> None:
    site = await Site(stage).begin("edge-1", replicas=1)

    with pytest.raises(Conflict, match=r"edge-1 holds web/0: no other place: .*draining") as refused:
        await site.fleet.drain("edge-1", Drain(), by=ME)
    assert "--force" in str(refused.value.hint)
    assert stage.nodes.get("edge-1").availability == "active"

    await stage.node("edge-2")
    await stage.deployments.patch("web", {"volumes": [{"host_path": "/srv/web", "container_path": "/data"}]}, by=ME)
    with pytest.raises(Conflict, match="web/0: its data lies there, in /srv/web"):
        await site.fleet.drain("edge-1", Drain(), by=ME)


async def test_a_forced_drain_leaves_data_behind_and_lets_what_fits_nowhere_wait(stage: Stage) -> None:
    site = await Site(stage).begin("edge-1", replicas=1, volumes=DATA)

    await site.fleet.drain("edge-1", Drain(force=True), by=ME)
    await site.run(3)

    now = stage.deployments.get("web")
    assert (now.assignments, len(now.pending)) == ((), 1)
    site.ids["edge-2"] = await stage.node("edge-2")
    assert site.on("edge-2") == 1


async def test_after_its_deadline_a_drain_waits_for_nobody(stage: Stage) -> None:
    site = await Site(stage).begin("edge-1", replicas=3)
    await stage.node("edge-2")
    await site.fleet.drain("edge-1", Drain(deadline_seconds=10), by=ME)
    for _ in range(12):
        stage.now += 1
        await site.loop.look()

    assert site.on("edge-1") == 0


async def test_an_operators_labels_lie_over_those_of_the_node(stage: Stage) -> None:
    node_id = await stage.node("edge-1", labels={"zone": "a", "disk": "hdd"})
    site = Site(stage)
    wanted = spec(constraints=Constraints(labels={"disk": "ssd"}))
    assert (await stage.deployments.create(wanted, by=ME)).status == "pending"

    node = await site.fleet.label("edge-1", {"disk": "ssd", "zone": None}, by=ME)

    assert node.labels == {"disk": "ssd"}
    assert site.places() == ["edge-1"]
    found, total = stage.nodes.page(NodeFilter(labels={"disk": "ssd"}), limit=9, offset=0)
    assert (total, json.loads(found[0])["labels"]) == (1, {"disk": "ssd"})
    assert stage.nodes.page(NodeFilter(labels={"zone": "a"}), limit=9, offset=0)[1] == 0
    await site.fleet.label(node_id, {"disk": None}, by=ME)
    assert stage.nodes.get("edge-1").labels == {}


async def test_a_node_that_owns_replicas_is_deleted_by_force_only(stage: Stage) -> None:
    site = await Site(stage).begin("edge-1", "edge-2", replicas=2)

    with pytest.raises(Conflict, match="edge-1 holds web/"):
        await site.fleet.delete("edge-1", by=ME)
    await site.fleet.delete("edge-1", by=ME, force=True)

    assert site.places() == ["edge-2", "edge-2"]
    assert stage.nodes.page(NodeFilter(), limit=9, offset=0)[1] == 1
    with pytest.raises(Denied):
        stage.nodes.admit(site.ids["edge-1"], "anything")


async def test_a_token_is_not_rotated_while_nobody_could_take_it(stage: Stage) -> None:
    await stage.node("edge-1")

    with pytest.raises(Conflict, match="is not connected"):
        await Site(stage).fleet.rotate_token("edge-1", by=ME)


class FakeLink:
    """Keeps what is sent."""

    def __init__(self, sent: list[Any]) -> None:
        self.send = sent.append


async def test_the_former_token_is_good_until_the_new_one_is_kept(stage: Stage) -> None:
    site = Site(stage)
    node_id = await stage.node("edge-1")
    former, hashed = stage.tokens.new_node_token()
    sent: list[Any] = []
    await stage.act(lambda tx: tx.sql.execute("UPDATE node SET token_hash = ? WHERE id = ?", (hashed, node_id)))
    site.dispatch.enter(Session(node_id, "edge-1", FakeLink(sent)))  # type: ignore[arg-type]

    await site.fleet.rotate_token("edge-1", by=ME)

    (message,) = sent
    assert stage.nodes.admit(node_id, former) == stage.nodes.admit(node_id, message["token"]) == "edge-1"
    await stage.nodes.token_answered(node_id, None)
    with pytest.raises(Denied):
        stage.nodes.admit(node_id, former)
    assert stage.nodes.admit(node_id, message["token"]) == "edge-1"


async def lost_and_back(stage: Stage, on_return: str) -> Site:
    """A node goes silent, its replica is placed elsewhere, and it comes back."""
    policy = ReschedulePolicy(on_return=on_return)
    site = await Site(stage).begin("edge-1", replicas=1, reschedule=policy, ports=(PortMapping(container_port=80),))
    site.ids["edge-2"] = await stage.node("edge-2")
    await stage.act(lambda tx: change_status(tx, site.ids["edge-1"], "unreachable", "no sign of life"))

    await stage.lose(site.ids["edge-1"], why="gone")
    assert site.places() == ["edge-2"]
    await site.run(5, silent="edge-1")
    await stage.act(lambda tx: change_status(tx, site.ids["edge-1"], "ready", None))
    return site


async def test_fault_9_a_node_that_comes_back_finds_its_successor_kept(stage: Stage) -> None:
    site = await lost_and_back(stage, "keep_new")

    assert site.places() == ["edge-2"]
    assert stage.desired(site.ids["edge-1"]).replicas == ()


async def test_fault_9_a_node_that_comes_back_gets_its_own_again_where_that_is_wanted(stage: Stage) -> None:
    site = await lost_and_back(stage, "keep_original")

    (replica,) = stage.desired(site.ids["edge-1"]).replicas
    (seen,) = stage.nodes.instances(site.ids["edge-1"])
    assert (replica.fence, replica.template) == (seen.fence, seen.template), "the container that ran on is kept"
    assert stage.desired(site.ids["edge-2"]).replicas == ()
    assert "which is back" in stage.happened("replica.returned")[0].reason


async def test_balance_is_made_a_few_replicas_at_a_time(stage: Stage) -> None:
    site = await Site(stage).begin("edge-1", replicas=4)
    site.ids["edge-2"] = await stage.node("edge-2")
    balance = Rebalancing(stage.store, stage.changes, None)

    planned = balance.preview(100)
    assert [(move.from_node, move.to_node) for move in planned] == [("edge-1", "edge-2")] * 2
    assert all(move.reason for move in planned)
    assert site.on("edge-2") == 0

    assert len(await balance.begin(100, by=ME)) == 1
    assert len(await balance.begin(100, by=ME)) == 0, "the first is not ready yet"
    await site.run(3)
    assert len(await balance.begin(100, by=ME)) == 1
    await site.run(3)
    assert (site.on("edge-1"), await balance.begin(100, by=ME)) == (2, [])


async def test_a_start_first_update_offers_as_many_as_ever_and_leaves_nothing_behind(stage: Stage) -> None:
    policy = UpdatePolicy(max_unavailable=0, max_surge=1, min_healthy_seconds=0)
    site = await Site(stage).begin(
        "edge-1", "edge-2", replicas=3, update=policy, ports=(PortMapping(container_port=80),)
    )
    await stage.deployments.patch("web", {"image": "web:2"}, by=ME)
    offered, owners = [], []

    for _ in range(70):
        await site.loop.look()
        now = stage.deployments.get("web")
        offered.append(sum(_serves(stage, given) and not given.leaving for given in now.assignments))
        owners.append(len(now.assignments))
        await site.run(1)

    now = stage.deployments.get("web")
    assert (min(offered), max(owners)) == (3, 4)
    assert [(given.replica_number, given.revision, given.leaving) for given in now.assignments] == [
        (number, 2, None) for number in range(3)
    ]
    assert (now.rollout and now.rollout.state, now.status) == ("complete", "running")


async def test_where_an_extra_replica_finds_no_room_the_update_goes_on_without(stage: Stage) -> None:
    policy = UpdatePolicy(max_unavailable=0, max_surge=1, min_healthy_seconds=0)
    fixed = (PortMapping(container_port=80, host_port=8080),)
    site = await Site(stage).begin("edge-1", "edge-2", replicas=2, update=policy, ports=fixed)
    await stage.deployments.patch("web", {"image": "web:2"}, by=ME)

    await site.run(60)

    assert {given.revision for given in _given(stage)} == {2}
    assert "port 8080" in stage.happened("rollout.no_surge")[0].reason
    assert not stage.deployments.get("web").pending
