"""Faults 6 and 8 on a node whose engine and clock are the test's: hours pass in milliseconds."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from fledx.agent.report import MAX_HAPPENINGS
from fledx.models.report import Happening
from tests.fakes.clock import FakeClock
from tests.unit.agent.stage import Stage, replica, running
from tests.unit.agent.test_report import desk
from tests.unit.agent.whole import World
from tests.waiting import until

pytestmark = pytest.mark.anyio

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
EVERY_SECS = 1200.0


async def test_fault_6_a_week_alone_is_survived_and_told_of_as_far_as_there_is_room() -> None:
    """One replica crashes every twenty minutes, one is well; what is kept for the control plane stays bounded."""
    async with running() as stage, desk() as it:
        await stage.want(replica(0), replica(1))
        well = _running(stage)[1]
        for _ in range(int(7 * DAY / EVERY_SECS)):
            stage.runtime.exit(_running(stage)[0], 1)
            await stage.wait(1.5)
            stage.clock.advance(EVERY_SECS)
            await stage.settle()
            assert 2 == len(stage.runtime.running())
        assert well == _running(stage)[1]
        for kind, key, reason in stage.happened:
            it.reporter.happened(kind, key, reason)
        await it.connect()
        told = it.link.reports()
    kept: list[Happening] = [each for report in told for each in report.happenings]
    assert MAX_HAPPENINGS == len(kept) < len(stage.happened)
    assert [len(stage.happened) - MAX_HAPPENINGS] == [report.dropped for report in told if report.dropped]
    assert stage.happened[-1][2] == kept[-1].reason


def _running(stage: Stage) -> dict[int, str]:
    """Container by replica."""
    return {int(each.labels["fledx.replica"]): each.id for each in stage.runtime.running()}


@pytest.mark.parametrize("away", [1.0, MINUTE, HOUR, 30 * DAY], ids=["second", "minute", "hour", "month"])
async def test_fault_8_after_any_time_without_a_link_nothing_is_restarted_and_all_is_told_once(
    tmp_path: Path, away: float
) -> None:
    world = World(tmp_path)
    world.clock = FakeClock()
    async with world.cp.listening(), world.agent(world.cp.join):
        await world.cp.connected()
        await world.cp.push(replica(0), replica(1))
        await until(lambda: {True} == {each.ready for each in world.cp.instances.values()})
        before = {each.id for each in world.runtime.running()}
        world.cp.refuses_links = True
        world.cp.cut()
        await _pass(world, away)
        world.runtime.done.clear()
        await _return(world)
        assert before == {each.id for each in world.runtime.running()}
        assert not [deed for deed in world.runtime.done if not deed.startswith("look")]


async def test_fault_8_two_hundred_changes_that_were_missed_are_one_report(tmp_path: Path) -> None:
    world = World(tmp_path)
    patient = {"restart_backoff_secs": 0.0, "restart_failure_limit": 1000}
    async with world.cp.listening(), world.agent(world.cp.join, **patient):
        await world.cp.connected()
        await world.cp.push(replica(0), replica(1))
        await until(lambda: len(world.cp.instances) == 2 and len(world.runtime.running()) == 2)
        (well,) = [each.id for each in world.runtime.running() if each.labels["fledx.replica"] == "1"]
        world.cp.refuses_links = True
        world.cp.cut()
        for _ in range(100):
            (restless,) = [each.id for each in world.runtime.running() if each.id != well]
            world.runtime.exit(restless, 1)
            await until(lambda: 2 == len(world.runtime.running()))
        ids = {each.id for each in world.runtime.running()}
        await _return(world)
        assert ids == {each.id for each in world.runtime.running()}
        assert well in ids
        await until(lambda: world.cp.instances[("d-web", 0)].restart_count == 100)


async def _pass(world: World, seconds: float) -> None:
    assert isinstance(world.clock, FakeClock)
    for _ in range(10):
        world.clock.advance(seconds / 10)
        await anyio.sleep(0.02)


async def _return(world: World) -> None:
    """The link comes back, and brings one full report."""
    world.cp.messages.clear()
    world.cp.refuses_links = False
    with anyio.fail_after(60):
        while world.cp.link is None or not world.cp.reports:
            if isinstance(world.clock, FakeClock):
                world.clock.advance(5)
            await anyio.sleep(0.02)
    await anyio.sleep(0.2)
    told = [each for each in world.cp.messages if each["type"] == "report"]
    assert [True] == [each["report"]["full"] for each in told], "one status sync"
    assert 2 == len(told[0]["report"]["instances"])
