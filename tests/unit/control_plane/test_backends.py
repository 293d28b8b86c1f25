"""A gateway's connection into another node: let through by who asks, joined to its owner, gone when that is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio
import pytest

from fledx.errors import Denied, FledxError, InvalidSpec, LimitExceeded, Unavailable
from fledx.models.codec import encode
from fledx.models.ingress import AWAY, GatewayFacts, GatewayStatus, IngressRule
from fledx.models.port import PortMapping
from fledx.tunnel.link import Link
from fledx.tunnel.stream import Stream
from tests.unit.control_plane.conftest import ME, Stage, cordon
from tests.unit.control_plane.entered import Port, tunnel_port
from tests.waiting import until

pytestmark = pytest.mark.anyio
GATEWAY = GatewayFacts(http_port=80)


@pytest.fixture
async def port(stage: Stage) -> AsyncIterator[Port]:
    async with tunnel_port(stage) as opened:
        yield opened


async def shop(port: Port, serve: Any = None) -> tuple[Link, dict[str, Any]]:
    """A gateway's link, and the meta that leads to the shop on another node."""
    owner = await port.node("edge-1", *([serve] if serve else []))
    gate = await port.node("gate", gateway=GATEWAY)
    await port.stage.act(lambda tx: cordon(tx, port.tokens["gate"][0]))
    made = await port.deploy(
        name="shop", ports=(PortMapping(container_port=80),), ingress=(IngressRule(host="shop.example.com"),)
    )
    assert owner.reason is None
    return gate, {"deployment_id": made, "replica_number": 0, "port": 80, "node_id": port.tokens["edge-1"][0]}


async def refusal(link: Link, kind: str, meta: dict[str, Any]) -> FledxError:
    with anyio.fail_after(60), pytest.raises(FledxError) as problem:
        await link.open(kind, meta)
    return problem.value


async def test_a_gateway_reaches_a_replica_on_another_node_through_both_tunnels(port: Port) -> None:
    gate, meta = await shop(port)
    stream = await gate.open("backend", meta)
    await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
    assert await stream.receive() == b"GET / HTTP/1.1\r\n\r\n"
    await stream.send_eof()
    assert await stream.receive() == b""

    inside = {name: meta[name] for name in ("deployment_id", "replica_number", "port")}
    assert port.opened == [("edge-1", "connect", inside)]
    assert 'fledx_gateway_backend_streams_total{result="ok"} 1.0' in port.metrics.exposition().decode()


async def test_a_gateway_hears_at_once_of_what_is_ready_and_of_what_is_to_be_served(port: Port) -> None:
    port.stage.changes.tell_nodes(port.dispatch.changed)
    await shop(port)

    def endpoints() -> list[int]:
        backends = (port.states.get("gate", {}).get("gateway") or {}).get("backends", ())
        return [each["replica_number"] for backend in backends for each in backend["endpoints"]]

    await until(lambda: endpoints() == [0])
    await port.stage.deployments.patch("shop", {"replicas": 2}, by=ME)
    await port.stage.runs(port.tokens["edge-1"][0])
    await until(lambda: endpoints() == [0, 1])
    assert "gateway" not in port.states["edge-1"]

    await port.stage.deployments.patch("shop", {"replicas": 1}, by=ME)
    await until(lambda: [each["replica_number"] for each in port.states["edge-1"]["held"]] == [1])
    await port.stage.deployments.patch("shop", {"ingress": [{"host": "new.example.com"}]}, by=ME)
    await until(lambda: port.states["gate"]["gateway"]["routes"][0]["host"] == "new.example.com")


async def test_a_gateway_that_names_no_node_is_led_to_the_one_that_serves(port: Port) -> None:
    gate, meta = await shop(port)
    del meta["node_id"]
    async with await gate.open("backend", meta) as stream:
        await stream.send_all(b"x")
        assert await stream.receive() == b"x"


async def test_a_node_that_is_no_gateway_is_denied_and_written_down_fault_23(port: Port) -> None:
    _, meta = await shop(port)
    other = await port.node("edge-2")

    problem = await refusal(other, "backend", meta)

    assert isinstance(problem, Denied)
    (line,) = await port.until_audited("tunnel.backend")
    assert "node edge-2 may not reach port 80 of replica 0" in str(line)
    assert port.opened == []


@pytest.mark.parametrize("change", [{"port": 22}, {"deployment_id": "another"}])
async def test_a_gateway_reaches_nothing_but_what_it_is_to_serve_fault_23(port: Port, change: dict[str, Any]) -> None:
    gate, meta = await shop(port)
    problem = await refusal(gate, "backend", {**meta, **change})
    assert isinstance(problem, Denied)
    await port.until_audited("tunnel.backend")
    assert port.opened == []


async def test_a_deployment_without_ingress_is_not_reached_by_a_gateway_fault_23(port: Port) -> None:
    gate, _ = await shop(port)
    plain = await port.deploy(name="db", ports=(PortMapping(container_port=5432),))
    meta = {"deployment_id": plain, "replica_number": 0, "port": 5432}
    assert isinstance(await refusal(gate, "backend", meta), Denied)


@pytest.mark.parametrize("change", [{"replica_number": 7}, {"node_id": "http://169.254.169.254/"}, {"node_id": "n2"}])
async def test_where_a_stream_leads_is_never_the_gateways_to_say_fault_43(port: Port, change: dict[str, Any]) -> None:
    gate, meta = await shop(port)
    problem = await refusal(gate, "backend", {**meta, **change})
    assert isinstance(problem, Unavailable)
    assert "is not offered any more" in problem.text
    assert port.opened == []


@pytest.mark.parametrize(
    "meta", [{}, {"deployment_id": 1, "replica_number": 0, "port": 80}, {"deployment_id": "d", "replica_number": "0"}]
)
async def test_a_stream_that_names_no_backend_is_refused_with_what_is_missing(port: Port, meta: dict[str, Any]) -> None:
    gate, _ = await shop(port)
    assert isinstance(await refusal(gate, "backend", meta), InvalidSpec)
    assert isinstance(await refusal(gate, "connect", meta), Denied)


async def test_the_owners_refusal_is_passed_on_as_it_is(port: Port) -> None:
    async def refuses(stream: Stream) -> None:
        raise Unavailable("port 80 of container c does not answer: connection refused")

    gate, meta = await shop(port, refuses)
    problem = await refusal(gate, "backend", meta)
    assert problem.code == "unavailable"
    assert "connection refused" in problem.text


async def test_an_owner_that_is_away_is_told_apart_from_one_that_refuses(port: Port) -> None:
    gate, meta = await shop(port)
    owner = port.dispatch.session(meta["node_id"])
    assert owner is not None
    owner.link.close("a test")
    await until(lambda: port.dispatch.session(meta["node_id"]) is None)
    assert (await refusal(gate, "backend", meta)).code == AWAY


async def test_when_the_owner_goes_its_streams_are_reset_at_once_and_counted_out(port: Port) -> None:
    gate, meta = await shop(port)
    stream = await gate.open("backend", meta)
    await stream.send_all(b"x")
    assert await stream.receive() == b"x"
    session = port.dispatch.session(meta["node_id"])
    assert session is not None

    session.link.close("the owner is gone")

    with anyio.fail_after(60), pytest.raises(Unavailable):
        await stream.receive()
    await until(lambda: "fledx_gateway_backend_streams_open 0.0" in port.metrics.exposition().decode())


async def test_connections_into_one_node_are_bounded(port: Port) -> None:
    port.backends.most = 2
    gate, meta = await shop(port)
    first = [await gate.open("backend", meta) for _ in range(2)]

    assert isinstance(await refusal(gate, "backend", meta), LimitExceeded)

    first[0].reset("enough")
    await until(lambda: "fledx_gateway_backend_streams_open 1.0" in port.metrics.exposition().decode())
    async with await gate.open("backend", meta) as again:
        await again.send_all(b"x")
        assert await again.receive() == b"x"


async def test_what_a_gateway_tells_is_kept_counted_and_told_when_it_matters(port: Port) -> None:
    gate, meta = await shop(port)
    node = port.tokens["gate"][0]
    backend = f"{meta['deployment_id']}-80"
    for status in (
        GatewayStatus(state="starting"),
        GatewayStatus(state="serving", revision=7, ways={f"{backend}/0": "tunnel"}),
        GatewayStatus(state="serving", revision=7, refused="route 'x' is\x1b[31m bad"),
        GatewayStatus(state="failed", reason="image envoy:1 cannot be pulled"),
    ):
        gate.send({"type": "report", "report": {"revision": 1, "gateway": encode(status)}})
        await until(partial(lambda wanted: port.stage.gateways.status(node) == wanted, status))

    await until(lambda: len(_kinds(port)) == 3)
    assert _kinds(port) == ["gateway.serving", "gateway.refused", "gateway.failed"]
    assert 'fledx_gateways{state="failed"} 1.0' in port.metrics.exposition().decode()

    gate.close("bye")
    await until(lambda: port.stage.gateways.status(node) is None)
    assert 'fledx_gateways{state="failed"} 0.0' in port.metrics.exposition().decode()


def _kinds(port: Port) -> list[str]:
    return [event.kind for event in port.stage.happened() if event.kind.startswith("gateway.")]


async def test_a_node_that_is_no_gateway_is_not_listened_to_fault_23(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    await shop(port)
    other = await port.node("edge-2")
    node = port.tokens["edge-2"][0]
    status = GatewayStatus(state="serving", revision=9)
    other.send({"type": "report", "report": {"revision": 4, "full": True, "gateway": encode(status)}})
    await until(lambda: "tells of one" in caplog.text)
    assert port.stage.gateways.status(node) is None
