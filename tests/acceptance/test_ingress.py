"""
Public ingress over a whole fleet: the gateway's node cannot reach those of the backends, only the tunnels can.

Clients ask all the time while the deployment behind the gateway is updated, scaled, cut off and its nodes die.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fledx.sample.image import PORT
from tests.acceptance.edge import Edge
from tests.acceptance.load import WORKERS, Load, Tally
from tests.bed import envoy
from tests.bed.engines import Engines
from tests.bed.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.slow]

HOST = "shop.example.com"
HTTP, HTTPS = 10000, 10443
GATEWAY = {
    "FLEDX_AGENT_GATEWAY_ENABLED": "true",
    "FLEDX_AGENT_GATEWAY_ENVOY_IMAGE": envoy.NAME,
    "FLEDX_AGENT_GATEWAY_CONCURRENCY": "1",
}
STEADY_SECS = 1.5
"""Of load before and after each change, so that what comes late is counted too."""


@pytest.fixture
def edge(pyz: Path, tmp_path: Path, engines: Engines) -> Iterator[Edge]:
    """A gateway on ``e1`` that takes no replicas, and two nodes that it cannot reach, with the shop on them."""
    envoy.ensure_image(engines["e1"].docker_host)
    engines["e1"].net.cut(engines["e2"].address, engines["e3"].address)
    with Edge(pyz, tmp_path, engines) as made:
        made.start_control_plane()
        made.start_agent("e1", **GATEWAY)
        for name in ("e2", "e3"):
            made.start_agent(name)
        eventually(lambda: made.ready_nodes() == 3, within=40)
        assert made.cli("nodes", "cordon", "e1").returncode == 0
        yield made


def test_updates_scaling_and_a_restart_of_the_control_plane_fail_no_request(edge: Edge) -> None:
    quick = ("--min-healthy", "1s", "--watch-time", "1s")
    ready = ("--readiness-http", "/healthz", "--max-surge", "1", "--max-unavailable", "0", *quick)
    edge.deploy("shop", "--ingress", f"{HOST}:{PORT}", *ready, replicas=2)
    load = Load(edge.engines["e1"].address, HTTP, HOST)
    eventually(load.answers, within=30)
    with load.running():
        _nothing_failed("quiet", load)
        _done(edge, "deployments", "update", "shop", "--env", "COLOUR=blue")
        _nothing_failed("updated start-first", load)
        _done(edge, "deployments", "update", "shop", "--replicas", "6")
        _nothing_failed("scaled to 6", load)
        _done(edge, "deployments", "update", "shop", "--replicas", "2")
        _nothing_failed("scaled to 2", load)
        edge.control_plane.stop()
        edge.start_control_plane()
        eventually(lambda: _flows(load), within=40)
        _nothing_failed("control plane restarted", load)
        _die(edge, "e3")
        eventually(lambda: _flows(load), within=40)
    lost = load.fresh()
    print(f"node killed: {lost}", *lost.failed[:5], sep="\n    ")
    assert len(lost.failed) <= WORKERS, lost.failed[:10]


def _flows(load: Load) -> bool:
    """Whether requests that begin now are answered."""
    before = len(load.tally.seconds)
    time.sleep(0.5)
    return len(load.tally.seconds) - before > 50


def _done(edge: Edge, *command: str) -> None:
    done = edge.cli(*command)
    assert done.returncode == 0, done.stderr + done.stdout


def _over(what: str, load: Load) -> Tally:
    time.sleep(STEADY_SECS)
    tally = load.fresh()
    print(f"{what}: {tally}", *tally.failed[:5], sep="\n    ", flush=True)
    return tally


def _nothing_failed(what: str, load: Load) -> None:
    tally = _over(what, load)
    assert not tally.failed, (what, tally.failed[:10])
    assert tally.seconds


def _die(edge: Edge, name: str) -> None:
    """A node loses its power: nobody says goodbye."""
    edge.engines[name].net.unplug()
    edge.agents[name].kill()
