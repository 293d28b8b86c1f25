"""What replicas used is found by names, minute by minute."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from fledx.control_plane.recent import Recent
from fledx.control_plane.usage import UsageFilter, UsageHistory
from fledx.errors import InvalidSpec, NotFound
from fledx.models.deployment import DeploymentSpec
from fledx.models.moment import stamp
from fledx.models.usage import Minute
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio
WEEK = 7 * 86400.0


def spent(deployment_id: str, at: float, cpu: float = 10.0, replica: int = 0) -> Minute:
    figures = (cpu, 1000.0, 1.0, 2.0, 3.0, 4.0)
    return Minute(deployment_id=deployment_id, replica_number=replica, minute=int(at // 60), samples=1, figures=figures)


class FakeAsking:
    """Remembers which nodes were asked to tell what they know."""

    def __init__(self) -> None:
        self.asked: list[set[str]] = []

    async def ask(self, node_ids: Iterable[str]) -> None:
        self.asked.append(set(node_ids))


async def used(stage: Stage) -> tuple[UsageHistory, str, str]:
    """A deployment on a node that used something in each of the last three minutes."""
    node_id = await stage.node("edge-1")
    made = await stage.deployments.create(DeploymentSpec(name="web", image="nginx", replicas=2), by=ME)
    moments = [stage.now, stage.now - 1, stage.now - 60, stage.now - 120]
    samples = [spent(made.deployment_id, at, cpu) for at, cpu in zip(moments, (10.0, 20.0, 30.0, 40.0), strict=True)]
    await stage.reports.usage(node_id, [*samples, spent(made.deployment_id, stage.now, 50.0, 1)])
    return (
        UsageHistory(stage.store, FakeAsking().ask, kept_seconds=WEEK, clock=lambda: stage.now),
        made.deployment_id,
        node_id,
    )


async def test_minutes_of_a_deployment_come_newest_first_with_names(stage: Stage) -> None:
    history, deployment_id, node_id = await used(stage)

    found, total = await history.page(UsageFilter(deployment="web", replica_number=0), limit=2, offset=0)

    assert total == len({int(stage.now - back) // 60 for back in (0, 1, 60, 120)})
    assert [(each.deployment, each.node, each.deployment_id, each.node_id) for each in found] == [
        ("web", "edge-1", deployment_id, node_id)
    ] * 2
    assert found[0].bucket_start > found[1].bucket_start


async def test_a_minute_is_the_average_of_its_samples(stage: Stage) -> None:
    stage.now = stage.now // 60 * 60 + 30
    history, _, _ = await used(stage)

    found, total = await history.page(UsageFilter(node="edge-1", replica_number=0), limit=50, offset=0)

    assert total == 3
    assert [(each.samples, each.avg_cpu_percent) for each in found] == [(2, 15.0), (1, 30.0), (1, 40.0)]


async def test_two_parts_of_a_minute_weigh_as_much_as_the_samples_in_them(stage: Stage) -> None:
    history, deployment_id, node_id = await used(stage)
    later = stage.now + 600
    first = replace(spent(deployment_id, later, 10.0), samples=3)
    await stage.reports.usage(node_id, [first])
    await stage.reports.usage(node_id, [spent(deployment_id, later, 50.0)])

    (found, *_), _ = await history.page(
        UsageFilter(node="edge-1", since=stamp(later // 60 * 60), until=stamp(later)), limit=50, offset=0
    )

    assert (found.samples, found.avg_cpu_percent) == (4, 20.0)


async def test_the_nodes_of_what_is_looked_at_are_asked_first_unless_all_of_it_is_old(stage: Stage) -> None:
    _, _, node_id = await used(stage)
    asking = FakeAsking()
    history = UsageHistory(stage.store, asking.ask, kept_seconds=WEEK, clock=lambda: stage.now)

    await history.page(UsageFilter(deployment="web"), limit=50, offset=0)
    await history.page(UsageFilter(node="edge-1"), limit=50, offset=0)
    await history.page(UsageFilter(node="edge-1", until=stamp(stage.now - 7200)), limit=50, offset=0)

    assert asking.asked == [{node_id}, {node_id}]


async def test_a_page_begins_where_it_is_asked_to(stage: Stage) -> None:
    history, _, _ = await used(stage)
    everything, total = await history.page(UsageFilter(node="edge-1"), limit=500, offset=0)

    rest, again = await history.page(UsageFilter(node="edge-1"), limit=500, offset=2)

    assert (rest, again) == (everything[2:], total)


async def test_a_time_is_bounded_at_both_ends(stage: Stage) -> None:
    stage.now = stage.now // 60 * 60 + 30
    history, _, _ = await used(stage)
    wanted = UsageFilter(deployment="web", replica_number=0, since=stamp(stage.now - 61), until=stamp(stage.now - 60))

    found, total = await history.page(wanted, limit=50, offset=0)

    assert (total, found[0].bucket_start) == (1, stamp(stage.now - 90))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"deployment": None}, "name a deployment"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "lies after the end"),
        ({"until": "2001-01-01T00:00:00Z"}, "kept since"),
    ],
)
async def test_nobodys_usage_and_times_that_hold_none_are_refused(
    stage: Stage, changes: dict[str, Any], told: str
) -> None:
    history = UsageHistory(stage.store, FakeAsking().ask, kept_seconds=WEEK, clock=lambda: 1_767_000_000.0 + WEEK)
    await stage.node("edge-1")
    await stage.deployments.create(DeploymentSpec(name="web", image="nginx"), by=ME)

    with pytest.raises(InvalidSpec, match=told):
        await history.page(UsageFilter(**{"deployment": "web", **changes}), limit=50, offset=0)


async def test_usage_of_nobody_is_not_found(stage: Stage) -> None:
    history = UsageHistory(stage.store, FakeAsking().ask, kept_seconds=WEEK)

    with pytest.raises(NotFound, match="no deployment"):
        await history.page(UsageFilter(deployment="nobody"), limit=50, offset=0)


async def test_what_was_decided_is_told_with_its_occasion_once_it_is_stored(stage: Stage) -> None:
    told: list[tuple[str, int, int]] = []
    stage.changes.on_decision(lambda *facts: told.append(facts))
    await stage.node("edge-1")

    made = await stage.deployments.create(DeploymentSpec(name="web", image="nginx", replicas=2), by=ME)
    await stage.deployments.preview(DeploymentSpec(name="other", image="nginx"), by=ME)
    await stage.deployments.patch(made.deployment_id, {"replicas": 3}, by=ME)

    assert told == [("create", 2, 0), ("update", 1, 0)]


async def test_each_write_tells_how_long_it_took(stage: Stage) -> None:
    told: list[tuple[float, bool]] = []
    stage.store.on_transaction = lambda seconds, durable: told.append((seconds, durable))
    began = time.perf_counter()

    await stage.store.write(lambda sql: None)
    await stage.store.write(lambda sql: None, durable=False)

    assert [durable for _, durable in told] == [True, False]
    assert 0 < sum(seconds for seconds, _ in told) <= time.perf_counter() - began


def test_requests_are_forgotten_after_a_minute() -> None:
    now = 1000.0
    recent = Recent(clock=lambda: now)
    recent.count("GET", "/a", 200)
    now += 30
    recent.count("GET", "/b", 200)
    recent.count("GET", "/b", 200)
    recent.count("GET", "/b", 404)

    assert recent.top(2) == [(("GET", "/b", 200), 2), (("GET", "/a", 200), 1)]
    now += 31
    assert recent.top(9) == [(("GET", "/b", 200), 2), (("GET", "/b", 404), 1)]
    now += 60
    assert recent.top(9) == []
