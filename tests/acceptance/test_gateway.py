"""A gateway with a real Envoy: what it serves, that nothing makes it stop, and what it says when something does."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from fledx.models.ingress import GatewayDesired
from tests.acceptance.gateways import ENGINE, Fleet, docker, elsewhere, rule, shop
from tests.acceptance.origin import Origin
from tests.bed import envoy

pytestmark = [pytest.mark.anyio, pytest.mark.docker, pytest.mark.slow]


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """A gateway that has not been started, with Envoy's image in this machine's engine."""
    await anyio.to_thread.run_sync(envoy.ensure_image, ENGINE)
    made = Fleet(tmp_path)
    async with made.cp.listening():
        try:
            yield made
        finally:
            made.remove()
            shutil.rmtree(f"/run/fledx-gateway-{os.geteuid()}-{made.cp.node_id[:8]}", ignore_errors=True)


async def test_a_request_reaches_a_backend_of_another_node(fleet: Fleet) -> None:
    async with Origin.serving("one") as origin, fleet.agent():
        fleet.ports["d-shop", 0] = origin.port
        status = await fleet.serves(GatewayDesired(routes=(rule(),), backends=(shop(elsewhere()),)))
        assert {"d-shop-8080/0": "tunnel"} == dict(status.ways)
        assert b"one" == (await fleet.get()).body
        assert 404 == (await fleet.get(host="other.example.com")).status
        print(docker("inspect", "-f", "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}}", *fleet.containers()))
