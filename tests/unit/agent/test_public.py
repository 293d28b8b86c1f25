"""What a gateway costs those that are none, and what the rest of the agent makes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fledx.agent.desired import DesiredState
from fledx.agent.public import MARK
from fledx.agent.runtime.containers import ContainerSpec
from fledx.agent.vault import Vault
from fledx.models.codec import encode
from fledx.models.desired import NodeDesiredState
from fledx.models.ingress import GatewayDesired
from tests.fakes.clock import FakeClock
from tests.unit.agent.gateways import certificate, route
from tests.unit.agent.stage import NODE
from tests.unit.agent.whole import World
from tests.waiting import until


def body(gateway: GatewayDesired) -> bytes:
    return json.dumps(encode(NodeDesiredState(node_id=NODE, revision=1, gateway=gateway))).encode()


def loaded() -> list[str]:
    """The modules of an agent that has just begun."""
    code = "import sys, fledx.agent.run; print(*sys.modules)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_an_agent_that_is_no_gateway_loads_nothing_of_it() -> None:
    assert ["fledx.models.ingress"] == [name for name in loaded() if "ingress" in name]


def test_an_agent_loads_nothing_that_only_some_need() -> None:
    """Memory is what a small node has least of: what each of these costs stands beside the goal of `bench agent`."""
    seldom = ("cattrs", "cryptography", "docker.models", "h11", "paramiko", "prometheus_client", "starlette", "rich")
    assert [] == [name for name in loaded() if name.startswith(seldom)]


@pytest.mark.anyio
async def test_a_node_that_is_a_gateway_no_more_takes_its_envoy_away(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.cp.listening(), world.agent(world.cp.join):
        await world.cp.connected()
        assert world.cp.hellos[-1].facts.get("gateway") is None
    for name, owner in (("ours", world.cp.node_id), ("theirs", "somebody-else")):
        spec = ContainerSpec(name=name, image="app:1", labels={"fledx.gateway": owner})
        await world.runtime.start(await world.runtime.create(spec))
    (tmp_path / "data" / MARK).touch()
    async with world.cp.listening(world.cp.port), world.agent():
        await until(lambda: ["theirs"] == [each.name for each in world.runtime.all()])
        await until(lambda: not (tmp_path / "data" / MARK).exists())


@pytest.mark.anyio
async def test_the_key_of_a_certificate_is_sealed_on_disk_and_back_after_a_start(tmp_path: Path) -> None:
    gateway = GatewayDesired(routes=(route(),), certificates=(certificate("shop.example.com"),))
    path = tmp_path / "desired.json"

    def state() -> DesiredState:
        return DesiredState(path, NODE, FakeClock(), lambda: None, Vault(tmp_path / "agent.key"))

    before = state()
    before.take(body(gateway))
    await before.store()
    assert gateway.certificates[0].key.splitlines()[1] not in path.read_text()
    again = state()
    assert again.load() is None
    assert again.state is not None
    assert gateway == again.state.gateway


def test_where_nothing_can_be_sealed_a_gateway_serves_without_certificates(tmp_path: Path) -> None:
    gateway = GatewayDesired(routes=(route(),), certificates=(certificate("shop.example.com"),))
    vault = Vault(tmp_path / "agent.key", possible=lambda: False)
    state = DesiredState(tmp_path / "desired.json", NODE, FakeClock(), lambda: None, vault)
    state.take(body(gateway))
    assert state.state is not None
    assert GatewayDesired(routes=gateway.routes) == state.state.gateway
