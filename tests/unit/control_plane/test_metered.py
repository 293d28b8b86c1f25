"""A node whose link costs by the byte beats seldom, and is missed no sooner than it can be; usage comes packed."""

from __future__ import annotations

import anyio
import pytest

from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.loops.reachability import Reachability
from fledx.control_plane.usage import UsageFilter, UsageHistory
from fledx.models.moment import stamp
from fledx.models.usage import Minute, pack
from fledx.settings.control_plane import ControlPlaneSettings
from fledx.tunnel.greeting import Welcome
from fledx.tunnel.link import Link
from tests.builders import spec
from tests.unit.control_plane.conftest import ME, Stage
from tests.unit.control_plane.entered import tunnel_port

pytestmark = pytest.mark.anyio


def heartbeat(link: Link) -> float:
    """What the control plane wants of this node."""
    assert isinstance(link.peer, Welcome)
    return link.peer.heartbeat_secs


async def test_a_metered_node_is_asked_for_a_heartbeat_every_thirty_seconds(stage: Stage) -> None:
    async with tunnel_port(stage) as port:
        metered = await port.node("edge-1", metered=True)
        usual = await port.node("edge-2")
        assert (heartbeat(metered), heartbeat(usual)) == (30.0, 5.0)


async def test_a_metered_node_is_shown_as_unreachable_after_three_of_its_own_heartbeats(stage: Stage) -> None:
    await stage.node("edge-1", metered=True)
    await stage.node("edge-2")
    clock, dispatch = [0.0], Dispatch(stage.store, stage.seal)
    loop = Reachability(stage.store, stage.changes, dispatch, ControlPlaneSettings(), monotonic=lambda: clock[0])
    seen: dict[str, float] = {}
    while clock[0] < 100:
        clock[0] += 1
        await loop.sweep(clock[0])
        for name in ("edge-1", "edge-2"):
            if stage.nodes.get(name).status == "unreachable":
                seen.setdefault(name, clock[0])
    assert seen == {"edge-1": 90.0, "edge-2": 15.0}


async def test_usage_comes_packed_and_what_is_none_is_passed_over(stage: Stage) -> None:
    async with tunnel_port(stage) as port:
        link = await port.node("edge-1")
        made = await stage.deployments.create(spec(), by=ME)
        minute = Minute(
            deployment_id=made.deployment_id,
            replica_number=0,
            minute=int(stage.now // 60),
            samples=2,
            figures=(12.5, 1000.0, 1.0, 2.0, 3.0, 4.0),
        )
        for packed in (b"nonsense", pack([minute])):
            link.send({"type": "usage", "minutes": packed})
        history = UsageHistory(stage.store, _nobody, kept_seconds=0, clock=lambda: stage.now)
        wanted = UsageFilter(node="edge-1", since=stamp(stage.now - 60))
        with anyio.fail_after(60):
            while not (found := (await history.page(wanted, limit=5, offset=0))[0]):
                await anyio.sleep(0.01)
        assert [(each.samples, each.avg_cpu_percent, each.avg_memory_bytes) for each in found] == [(2, 12.5, 1000)]


async def _nobody(node_ids: object) -> None:
    """There is nothing to ask for."""
