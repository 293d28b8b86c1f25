"""What operators are told of how a deployment is served, and of what is in the way."""

from __future__ import annotations

from typing import Any

import pytest

from fledx.control_plane.overview import Overview
from fledx.models.ingress import GatewayFacts, GatewayStatus, GatewayView, IngressRule, Serving
from fledx.models.port import PortMapping
from tests.builders import spec
from tests.issued import issued
from tests.unit.control_plane.conftest import ME, Stage, cordon

pytestmark = pytest.mark.anyio
RULES = (IngressRule(host="shop.example.com", path="/api"), IngressRule(host="*.example.org", port=9))
SHOP: dict[str, Any] = {"name": "shop", "ports": (PortMapping(container_port=80),), "ingress": RULES}


def serving(stage: Stage) -> Serving:
    found = stage.deployments.get("shop").serving
    assert found is not None
    return found


async def gateway(stage: Stage, http_port: int = 80, https_port: int | None = None) -> str:
    node = await stage.node("gate", gateway=GatewayFacts(http_port=http_port, https_port=https_port))
    await stage.act(lambda tx: cordon(tx, node))
    stage.gateways.enter(node)
    return node


async def test_a_deployment_without_ingress_has_nothing_of_it(stage: Stage) -> None:
    await stage.deployments.create(spec(), by=ME)
    assert stage.deployments.get("web").serving is None


async def test_without_a_gateway_it_says_what_to_set(stage: Stage) -> None:
    await stage.deployments.create(spec(**SHOP), by=ME)
    assert serving(stage).gateways == ()
    assert "FLEDX_AGENT_GATEWAY_ENABLED=true" in (serving(stage).reason or "")


async def test_each_replica_is_told_with_the_way_each_gateway_reaches_it(stage: Stage) -> None:
    gate = await gateway(stage)
    one, two = await stage.node("edge-1"), await stage.node("edge-2")
    made = await stage.deployments.create(spec(**{**SHOP, "replicas": 2}), by=ME)
    assert serving(stage).reason == "no gateway serves: gate is silent"
    backend = made.deployment_id
    ways = {f"{backend}-80/0": "local", f"{backend}-80/1": "tunnel", f"{backend}-9/1": "direct", "other-80/0": "local"}
    stage.gateways.tell(gate, GatewayStatus(state="serving", revision=1, ways=ways, refused="no"))
    assert serving(stage).reason == "no replica is ready"

    for node in (one, two):
        await stage.runs(node)

    view = GatewayView(
        node_id=gate, node="gate", state="serving", refused="no", ways={"0": "local", "1": "direct/tunnel"}
    )
    assert serving(stage) == Serving(
        urls=("http://shop.example.com/api", "http://*.example.org/"), gateways=(view,), reason=None
    )


async def test_urls_have_the_scheme_and_port_that_are_served(stage: Stage) -> None:
    await gateway(stage, http_port=10000, https_port=443)
    await stage.deployments.create(spec(**SHOP), by=ME)
    it = issued(["*.example.com"], now=stage.now)
    await stage.certificates.create("wild", it.chain, it.key, by=ME)

    assert serving(stage).urls == ("https://shop.example.com/api", "http://*.example.org:10000/")
    assert stage.certificates.get("wild").used_by == ("shop",)


async def test_a_gateway_that_failed_or_is_away_is_named_with_its_reason(stage: Stage) -> None:
    gate = await gateway(stage)
    await stage.deployments.create(spec(**SHOP), by=ME)
    stage.gateways.tell(gate, GatewayStatus(state="failed", reason="port 80 is taken"))
    assert serving(stage).reason == "no gateway serves: gate is failed: port 80 is taken"
    found = stage.nodes.gateway(gate)
    assert found is not None
    assert (found.state, found.reason) == ("failed", "port 80 is taken")

    stage.gateways.leave(gate)
    assert serving(stage).reason == "no gateway serves: gate is away"
    assert stage.nodes.get(gate).gateway == GatewayFacts(http_port=80)


async def test_status_tells_what_needs_attention(stage: Stage) -> None:
    overview = Overview(
        stage.store,
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        stage.tokens.endpoint,
        None,
        certificates=stage.certificates,
        gateways=stage.gateways,
    )
    assert overview.summary()["summary"]["problems"] == []
    await stage.deployments.create(spec(**SHOP), by=ME)
    (told,) = overview.summary()["summary"]["problems"]
    assert told.startswith("no gateway serves shop: no node is a gateway: set FLEDX_AGENT_GATEWAY_ENABLED=true")

    gate = await gateway(stage)
    stage.gateways.tell(gate, GatewayStatus(state="serving", revision=1, refused="route x"))
    it = issued(["a.example"], now=stage.now)
    await stage.certificates.create("a", it.chain, it.key, by=ME)
    stage.now += 70 * 86400
    assert overview.summary()["summary"]["problems"] == [
        "gateway gate goes on with what it had: route x",
        "certificate a: ends in 20 days",
    ]
