"""Deployments are placed near others or apart from them, as they must or would rather be, whoever came first."""

from __future__ import annotations

from typing import Any

import pytest

from fledx.control_plane.nodes import change_status
from fledx.errors import InvalidSpec
from fledx.models.placement import Affinity, Placement
from tests.builders import spec
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio


def places(stage: Stage, name: str) -> list[str | None]:
    """The nodes of a deployment's replicas, in their order."""
    return [given.node for given in stage.deployments.get(name).assignments]


async def make(stage: Stage, name: str, replicas: int = 1, **wishes: Any) -> None:
    await stage.deployments.create(spec(name=name, replicas=replicas, placement=Placement(**wishes)), by=ME)


async def fleet(stage: Stage, *names: str, **changes: Any) -> dict[str, str]:
    return {name: await stage.node(name, **changes) for name in names}


async def test_who_must_be_near_another_waits_for_it_with_the_reason_and_is_placed_with_it(stage: Stage) -> None:
    await fleet(stage, "edge-1", "edge-2", "edge-3")
    await make(stage, "web", 2, near=("db",))
    assert ["3 nodes: db is not there (edge-1, edge-2, edge-3)"] * 2 == [
        each.reason for each in stage.deployments.get("web").pending
    ]
    await make(stage, "db")
    assert places(stage, "db") * 2 == places(stage, "web")
    assert stage.deployments.get("web").unplaced_replicas == 0


async def test_a_chain_of_those_who_wait_for_each_other_is_placed_from_its_end(stage: Stage) -> None:
    await fleet(stage, "edge-1", "edge-2")
    await make(stage, "cache", near=("web",))
    await make(stage, "web", near=("DB",))
    await make(stage, "db")
    assert places(stage, "db") == places(stage, "web") == places(stage, "cache")


async def test_to_be_apart_binds_also_the_other_that_comes_later(stage: Stage) -> None:
    await fleet(stage, "edge-1", "edge-2")
    await make(stage, "web", apart=("db",))
    await make(stage, "db", 2)
    assert {"edge-1", "edge-2"} == {*places(stage, "web")} ^ {*places(stage, "db")}


async def test_who_must_be_apart_from_one_that_is_everywhere_waits_with_the_reason(stage: Stage) -> None:
    await fleet(stage, "edge-1", "edge-2")
    await make(stage, "db", 2)
    await make(stage, "web", apart=("db",))
    (left,) = stage.deployments.get("web").pending
    assert "2 nodes: db is there (edge-1, edge-2)" == left.reason


async def test_apart_from_itself_each_replica_has_a_node_of_its_own(stage: Stage) -> None:
    await fleet(stage, "edge-1", "edge-2")
    await make(stage, "web", 3, apart=("web",))
    assert ["edge-1", "edge-2"] == sorted(map(str, places(stage, "web")))
    (left,) = stage.deployments.get("web").pending
    assert "2 nodes: has a replica of it already (edge-1, edge-2)" == left.reason


async def test_a_name_means_whoever_is_called_so_now(stage: Stage) -> None:
    ids = await fleet(stage, "edge-1", "edge-2")
    await make(stage, "web", apart=("db",))
    await make(stage, "other")
    await stage.deployments.patch("other", {"name": "db"}, by=ME)
    await stage.deployments.patch("db", {"replicas": 2}, by=ME)
    assert {*places(stage, "web")} | {*places(stage, "db")} == {*ids}
    await stage.deployments.delete("db", by=ME)
    await make(stage, "db", 2)
    assert not {*places(stage, "web")} & {*places(stage, "db")}


async def test_those_who_are_near_each_other_leave_a_dead_node_together(stage: Stage) -> None:
    ids = await fleet(stage, "edge-1")
    await make(stage, "db")
    for name, other in (("a-web", "db"), ("b-cache", "a-web")):
        await make(stage, name, near=(other,))
    ids |= await fleet(stage, "edge-2", "edge-3")
    await stage.act(lambda tx: change_status(tx, ids["edge-1"], "unreachable", "silent"))
    await stage.lose(ids["edge-1"], why="node edge-1 is silent")
    (where,) = places(stage, "db")
    assert where in ("edge-2", "edge-3")
    assert [where] == places(stage, "a-web") == places(stage, "b-cache")
    assert not stage.happened("replica.kept")


async def test_who_would_rather_be_near_or_far_is_so_as_far_as_it_goes(stage: Stage) -> None:
    await fleet(stage, "edge-1", "edge-2", "edge-3")
    await make(stage, "db")
    (where,) = places(stage, "db")
    await make(stage, "fan", affinity=Affinity(deployments=("db", "nobody")))
    await make(stage, "shy", 2, anti_affinity=Affinity(deployments=("db",)))
    assert [where] == places(stage, "fan")
    assert where not in places(stage, "shy")


async def test_replicas_are_spread_over_the_values_of_a_label(stage: Stage) -> None:
    for name, zone in (("edge-1", "a"), ("edge-2", "a"), ("edge-3", "a"), ("edge-4", "b")):
        await stage.node(name, labels={"zone": zone})
    await make(stage, "web", 4, spread_over="zone")
    assert 2 == places(stage, "web").count("edge-4")


async def test_packed_replicas_fill_a_node_before_the_next_one_begins(stage: Stage) -> None:
    await fleet(stage, "edge-1", "edge-2", "edge-3")
    await make(stage, "web", 3, strategy="pack")
    assert 1 == len({*places(stage, "web")})


async def test_what_contradicts_itself_is_refused_by_path() -> None:
    with pytest.raises(InvalidSpec) as refused:
        Placement(near=("db",), apart=("db",), strategy="wide", spread_over="")
    assert {"apart", "strategy", "spread_over"} == {path for path, _ in refused.value.problems}
