"""
Public ingress over a whole fleet: the gateway's node cannot reach those of the backends, only the tunnels can.

Clients ask all the time while the deployment behind the gateway is updated, scaled, cut off and its nodes die.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from fledx.sample.image import PORT
from tests.acceptance.edge import Edge
from tests.acceptance.gateways import forget_shared
from tests.acceptance.grpc import Call
from tests.acceptance.load import WORKERS, Load, Tally
from tests.bed import envoy, talker
from tests.bed.engines import Engines
from tests.waiting import eventually, in_time

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


@pytest.fixture(scope="module")
def edge(pyz: Path, tmp_path_factory: pytest.TempPathFactory, engines_of_session: Engines) -> Iterator[Edge]:
    """A gateway on ``e1`` that takes no replicas, and two nodes that it cannot reach."""
    engines = engines_of_session
    envoy.ensure_image(engines["e1"].docker_host)
    for name in ("e2", "e3"):
        talker.ensure_image(engines[name].docker_host)
    engines["e1"].net.cut(engines["e2"].address, engines["e3"].address)
    with Edge(pyz, tmp_path_factory.mktemp("ingress"), engines) as made:
        made.start_control_plane()
        made.start_agent("e1", **GATEWAY)
        for name in ("e2", "e3"):
            made.start_agent(name)
        eventually(lambda: made.ready_nodes() == 3, within=120)
        assert made.cli("nodes", "cordon", "e1").returncode == 0
        yield made
    node_id = json.loads((made.folder / "e1/identity.json").read_text())["node_id"]
    forget_shared(node_id)


def test_http_websockets_grpc_and_tls_go_through_both_tunnels(edge: Edge) -> None:
    gate = edge.engines["e1"].address
    authority = trustme.CA()
    _keep_certificates(edge, authority, "talk.example.com", "*.apps.example.com")
    hosts = ("--ingress", f"talk.example.com:{talker.WEB}", "--ingress", f"x.apps.example.com:{talker.WEB}")
    calls = ("--ingress", f"call.example.com:{talker.GRPC},h2c")
    done = edge.cli("deployments", "create", "--name", "talk", "--image", talker.NAME, *PORTS, *hosts, *calls)
    assert done.returncode == 0, done.stderr + done.stdout
    ca = edge.folder / "public-ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    for host in ("talk.example.com", "x.apps.example.com"):
        seen = eventually(partial(_curl, gate, host, ca), within=120)["headers"]
        own_address = edge.engines.gateway
        told = (seen["x-forwarded-for"], seen["x-forwarded-proto"], seen["x-forwarded-host"], seen["host"])
        assert (own_address, "https", f"{host}:{HTTPS}", f"{host}:{HTTPS}") == told
    anyio.run(_talk, gate)
    shown = edge.cli("deployments", "show", "talk")
    assert "talk.example.com" in shown.stdout
    assert "tunnel" in shown.stdout


PORTS = ("--port", f":{talker.WEB}", "--port", f":{talker.GRPC}")


def _keep_certificates(edge: Edge, authority: trustme.CA, *hosts: str) -> None:
    for number, host in enumerate(hosts):
        issued = authority.issue_cert(host)
        chain, key = edge.folder / f"chain-{number}.pem", edge.folder / f"key-{number}.pem"
        issued.private_key_pem.write_to_path(str(key))
        for part in issued.cert_chain_pems:
            part.write_to_path(str(chain), append=True)
        done = edge.cli("certificates", "create", f"c{number}", "--cert", str(chain), "--key", str(key))
        assert done.returncode == 0, done.stderr + done.stdout


def _curl(gate: str, host: str, ca: Path) -> Any:
    """What the app says was asked, None while it is not reached; the certificate must be the host's own."""
    lies = ("-H", "X-Forwarded-For: 6.6.6.6", "-H", "X-Forwarded-Proto: gopher")
    url = f"https://{host}:{HTTPS}/who"
    words = ["curl", "-sf", "-m", "60", "--cacert", str(ca), "--resolve", f"{host}:{HTTPS}:{gate}", *lies, url]
    done = subprocess.run(words, capture_output=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


async def _talk(gate: str) -> None:
    """A WebSocket over TLS's port would do as well; here it comes in the clear, as does gRPC."""
    with anyio.fail_after(60):
        async with Call(HTTP, "call.example.com", address=gate) as call:
            for message in (b"one", b"two" * 5_000):
                await call.say(message)
                assert message == await call.hear(len(message))
            assert {"grpc-status": "0"} == await call.end()
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with await anyio.connect_tcp(
            gate, HTTPS, tls=True, ssl_context=context, tls_hostname="talk.example.com"
        ) as chat:
            await chat.send(UPGRADE)
            assert (await chat.receive()).startswith(b"HTTP/1.1 101")
            await chat.send(b"\x81\x05hello")
            assert b"\x81\x05hello" == await chat.receive()


UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: talk.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def test_updates_scaling_and_a_restart_of_the_control_plane_fail_no_request(edge: Edge) -> None:
    quick = ("--min-healthy", "1s", "--watch-time", "1s")
    ready = ("--readiness-http", "/healthz", "--max-surge", "1", "--max-unavailable", "0", *quick)
    edge.deploy("shop", "--ingress", f"{HOST}:{PORT}", *ready)
    load = Load(edge.engines["e1"].address, HTTP, HOST)
    eventually(load.answers, within=120)
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
        eventually(lambda: _flows(load), within=120)
        _nothing_failed("control plane restarted", load)
        assert ["e2", "e3"] == sorted(each["node"] for each in edge.deployment("shop")["assignments"])
        _die(edge, "e3")
        eventually(lambda: edge.ready_nodes() == 2, within=120)
        eventually(lambda: _flows(load), within=120)
    lost = load.fresh()
    print(f"node killed: {lost}", *lost.failed[:5], sep="\n    ")
    assert len(lost.failed) <= WORKERS, lost.failed[:10]


def test_the_only_replica_is_replaced_where_it_runs_and_what_is_asked_meanwhile_waits(edge: Edge) -> None:
    """Its volume keeps the new one from starting first; each request waits for seconds before it is given up."""
    host = "solo.example.com"
    quick = ("--min-healthy", "0s", "--watch-time", "0s", "--readiness-http", "/healthz", "--readiness-interval", "1s")
    edge.deploy("solo", "--ingress", f"{host}:{PORT}", "--volume", "data:/data", *quick)
    load = Load(edge.engines["e1"].address, HTTP, host)
    eventually(load.answers, within=120)
    colours = iter(("red", "green", "blue"))

    def too_soon() -> float:
        """By how many seconds the most impatient of the requests that failed was given up too soon."""
        _done(edge, "deployments", "update", "solo", "--env", f"COLOUR={next(colours)}")
        eventually(lambda: _flows(load), within=120)
        tally = _over("replaced in place", load)
        assert tally.seconds
        return max((4.0 - float(each.split()[-2]) for each in tally.failed), default=0.0)

    with load.running():
        _nothing_failed("quiet", load)
        assert in_time(too_soon, 0.0) <= 0.0
    _done(edge, "deployments", "delete", "solo", "--yes")


def test_the_straight_way_is_taken_where_there_is_one_and_left_for_the_tunnel_when_it_is_cut(edge: Edge) -> None:
    gate, host = edge.engines["e1"], "near.example.com"
    edge.agents["e1"].stop()
    edge.agents["e1"].environ["FLEDX_AGENT_GATEWAY_DIRECT"] = "auto"
    gate.net.heal()
    edge.agents["e1"].start()
    edge.deploy("near", "--ingress", f"{host}:{PORT}")
    load = Load(gate.address, HTTP, host)
    eventually(lambda: "direct" in _ways(edge, "near"), within=120)
    assert eventually(load.answers, within=120)
    streams = _streams(edge)
    assert all(load.answers() for _ in range(5))
    assert streams == _streams(edge)
    gate.net.cut(edge.engines["e2"].address, edge.engines["e3"].address)
    began = time.monotonic()
    assert eventually(load.answers, within=120)
    print(f"answered through the tunnel {time.monotonic() - began:.1f} s after the straight way was cut")
    eventually(lambda: "tunnel" in _ways(edge, "near"), within=120)
    _done(edge, "deployments", "delete", "near", "--yes")


def _ways(edge: Edge, name: str) -> str:
    done = edge.cli("deployments", "show", name)
    return done.stdout.partition("REACHES REPLICA")[2]


def _streams(edge: Edge) -> str:
    """How many connections of gateways the control plane has led through so far."""
    with urllib.request.urlopen(f"{edge.url}/metrics", timeout=60) as answer:
        shown = answer.read().decode()
    return "".join(line for line in shown.splitlines() if line.startswith("fledx_gateway_backend_streams_total"))


def _flows(load: Load) -> bool:
    """Whether requests that begin now are answered."""
    before = len(load.tally.seconds)
    time.sleep(0.5)
    return len(load.tally.seconds) - before > 10


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
