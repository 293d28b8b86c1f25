"""Many nodes fall silent at once: a region without power, or a control plane without its uplink."""

from __future__ import annotations

import pytest

from fledx.control_plane.changes import Transaction
from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.loops.reachability import AT_ONCE, Reachability
from fledx.control_plane.store import nodes
from fledx.settings.control_plane import ControlPlaneSettings
from tests.builders import facts, spec
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio

MANY = 2 * AT_ONCE + 1


class Outage:
    """So many nodes, none of which is heard of, and a look at them each second; `writes` counts transactions."""

    def __init__(self, stage: Stage, count: int) -> None:
        self.stage, self.now, self.writes, self.slowness = stage, 0.0, 0, 0.0
        dispatch = Dispatch(stage.store, stage.seal)
        self.loop = Reachability(
            stage.store, stage.changes, dispatch, ControlPlaneSettings(), monotonic=lambda: self.now
        )
        self._count = count

    async def begin(self) -> None:
        def many(tx: Transaction) -> None:
            for i in range(self._count):
                told = facts(name=f"edge-{i}")
                nodes.insert(tx.sql, f"id-{i}", f"edge-{i}", told, b"", tx.stamp)
                nodes.set_status(tx.sql, f"id-{i}", "ready", None, tx.stamp)

        await self.stage.act(many)
        self.stage.store.on_transaction = self._written

    async def until(self, end: float) -> None:
        while self.now < end:
            self.now += 1
            await self.loop.sweep(self.now)

    def _written(self, *_: object) -> None:
        self.writes += 1
        self.now += self.slowness


async def test_they_are_shown_in_a_few_transactions_and_these_are_no_nap(stage: Stage) -> None:
    outage = Outage(stage, MANY)
    await outage.begin()
    made = await stage.deployments.create(spec(), by=ME)
    await outage.until(14)
    outage.writes, outage.slowness = 0, 4.0
    await outage.until(15)
    assert {"unreachable": MANY} == stage.store.read(nodes.counts)
    assert 3 == outage.writes
    outage.slowness = 0.0
    await outage.until(89)
    assert [] == stage.happened("replica.kept")
    await outage.until(90)
    assert [made.deployment_id] == [each.deployment_id for each in stage.happened("replica.kept")]


async def test_who_could_not_be_moved_is_tried_again_when_something_has_changed(stage: Stage) -> None:
    outage = Outage(stage, 3)
    await outage.begin()
    await stage.deployments.create(spec(replicas=3), by=ME)
    await outage.until(95)
    outage.writes = 0
    await outage.until(109)
    assert outage.writes <= 1  # when each was last heard of
    fresh = await stage.node("fresh")
    outage.loop.heard(fresh)
    await outage.until(110)
    assert 3 == len(stage.desired(fresh).replicas)


async def test_who_comes_back_while_others_are_dealt_with_keeps_what_it_has(stage: Stage) -> None:
    """A look that found many silent takes its time, and what it found may not be so any more."""
    outage = Outage(stage, 2)
    await outage.begin()
    await stage.deployments.create(spec(replicas=2), by=ME)
    fresh = await stage.node("fresh")
    while outage.now < 89:
        outage.loop.heard(fresh)
        await outage.until(outage.now + 1)
    outage.loop.heard(fresh)
    durable: list[bool] = []

    def first_moved(seconds: float, *, is_durable: bool) -> None:
        if is_durable and not durable:
            durable.append(True)
            outage.now += 1
            for i in range(2):
                outage.loop.heard(f"id-{i}")

    stage.store.on_transaction = lambda seconds, is_durable: first_moved(seconds, is_durable=is_durable)
    await outage.until(outage.now + 1)
    assert 1 == len(stage.happened("replica.moved"))


async def test_a_limit_that_is_lowered_meanwhile_is_heeded_at_once(stage: Stage) -> None:
    outage = Outage(stage, 1)
    await outage.begin()
    made = await stage.deployments.create(spec(reschedule={"after_seconds": 3600}), by=ME)
    fresh = await stage.node("fresh")
    for _ in range(40):
        outage.loop.heard(fresh)
        await outage.until(outage.now + 1)
    assert [] == list(stage.desired(fresh).replicas)
    await stage.deployments.patch(made.deployment_id, {"reschedule": {"after_seconds": 30}}, by=ME)
    outage.loop.heard(fresh)
    await outage.until(outage.now + 1)
    assert 1 == len(stage.desired(fresh).replicas)
