"""A gateway with a real Envoy: what it serves, that nothing makes it stop, and what it says when something does."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import re
import socket
import ssl
import stat
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import anyio
import anyio.to_thread
import pytest
import trustme
from anyio.abc import SocketStream

from fledx.agent.ingress.shared import ENVOY_ID
from fledx.models.desired import ReplicaDesired
from fledx.models.ingress import Endpoint, GatewayDesired
from fledx.sample.image import NAME as SAMPLE
from fledx.sample.image import ensure_image
from tests.acceptance.gateways import ENGINE, Fleet, come_true, docker, local_replica
from tests.acceptance.origin import Origin
from tests.acceptance.system import contents
from tests.bed import envoy
from tests.unit.agent.gateways import backend, certificate, endpoint, route
from tests.waiting import until

PLAIN = GatewayDesired(routes=(route(),), backends=(backend(endpoint()),))
pytestmark = [pytest.mark.anyio, pytest.mark.docker, pytest.mark.slow]


async def test_what_is_asked_reaches_the_backend_of_another_node_as_the_rules_say(fleet: Fleet) -> None:
    rules = (
        route(),
        route("/api", rewrite="/"),
        route("/echo/exact", path_type="exact", rewrite="/echo/found"),
        route("/echo/small", max_body_bytes=1000),
    )
    async with Origin.serving("one") as origin, fleet.agent():
        fleet.ports["d-shop", 0] = origin.port
        status = await fleet.serves(GatewayDesired(routes=rules, backends=(backend(endpoint()),)))
        assert {"d-shop-8080/0": "tunnel"} == dict(status.ways)
        assert b"one" == (await fleet.get()).body
        assert 404 == (await fleet.get(host="other.example.com")).status
        assert {
            "/api/echo/x": "/echo/x",
            "/apis": None,
            "/echo/exact": "/echo/found",
            "/echo/a/../b": "/echo/b",
            "/echo/../../../echo//c/./d": "/echo/c/d",
            "/echo/%2e%2e/echo/e": "/echo/e",
        } == {path: await _path_seen(fleet, path) for path in PATHS}
        assert 307 == (await fleet.get("/echo/a%2f..%2fb")).status
        assert 413 == fleet.ask("POST", "/echo/small", host="shop.example.com", body=b"x" * 2000).status
        await _who_the_client_is(fleet)
        await _nothing_is_asked_of_more_than_it_may(fleet)


PATHS = ("/api/echo/x", "/apis", "/echo/exact", "/echo/a/../b", "/echo/../../../echo//c/./d", "/echo/%2e%2e/echo/e")


async def _path_seen(fleet: Fleet, path: str) -> str | None:
    answer = await fleet.get(path)
    return json.loads(answer.body)["path"] if answer.body.startswith(b"{") else None


async def _who_the_client_is(fleet: Fleet) -> None:
    """Told as the gateway sees it, whatever the client says of itself: for loopback that is the node's own address."""
    lies = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Real-IP": "6.6.6.6", "Forwarded": "for=6"}
    lies["X-Forwarded-Host"] = "evil.example.com"
    seen = json.loads((await fleet.get("/echo", headers=lies)).body)["headers"]
    assert not set(lies.values()) & {seen["x-forwarded-for"], seen["x-forwarded-proto"]}
    assert "," not in seen["x-forwarded-for"]
    assert "shop.example.com" == seen["x-forwarded-host"]
    assert not {"forwarded", "x-real-ip"} & seen.keys()


async def _nothing_is_asked_of_more_than_it_may(fleet: Fleet) -> None:
    """Envoy's pages stand beside the agent's state; none that changes anything does."""
    status, page = await anyio.to_thread.run_sync(fleet.page, "/health")
    assert (200, "ok", "serving") == (status, page["status"], page["gateway"]["state"])
    for path in ("/stats?filter=cluster", "/clusters", "/listeners", "/ready", "/config_dump"):
        assert 200 == (await anyio.to_thread.run_sync(fleet.page, path))[0]
    for path in (
        "/quitquitquit",
        "/logging",
        "/healthcheck/fail",
        "/drain_listeners",
        "/runtime_modify",
        "/cpuprofiler",
    ):
        assert 404 == (await anyio.to_thread.run_sync(fleet.page, path))[0]


async def test_tls_shows_the_right_certificate_and_cleartext_is_sent_to_it(fleet: Fleet) -> None:
    authority = trustme.CA()
    trusting = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    first = certificate("shop.example.com", authority=authority)
    wild = certificate("*.apps.example.com", name="wild", authority=authority)
    rules = (route(), route(host="*.apps.example.com"), route(host="plain.example.com"))
    desired = GatewayDesired(routes=rules, backends=(backend(endpoint()),), certificates=(first, wild))
    async with Origin.serving("one") as origin, fleet.agent():
        fleet.ports["d-shop", 0] = origin.port
        await fleet.serves(desired)
        for host in ("shop.example.com", "x.apps.example.com"):
            assert b"one" == (await fleet.get(host=host, tls=trusting)).body
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await fleet.get(host="plain.example.com", tls=trusting)
        moved = await fleet.get("/a?b=c")
        assert (308, f"https://shop.example.com:{fleet.https}/a?b=c") == (moved.status, moved.headers["location"])
        assert 200 == (await fleet.get(host="plain.example.com")).status
        seen = json.loads((await fleet.get("/echo", tls=trusting)).body)["headers"]
        assert "https" == seen["x-forwarded-proto"]
        await _a_refused_state_changes_nothing(fleet, desired, trusting)
        await anyio.to_thread.run_sync(_keys_lie_in_memory_alone, fleet, first.key)


async def _a_refused_state_changes_nothing(fleet: Fleet, desired: GatewayDesired, trusting: ssl.SSLContext) -> None:
    """A key that does not fit, another one after it that does; endpoints follow all the time."""
    (first, wild), reached = desired.certificates, fleet.cp.revision
    wrong = replace(desired, certificates=(replace(first, key=wild.key), wild), routes=(route("/new"),))
    wrong = replace(wrong, backends=(backend(endpoint(), endpoint(1)),))
    async with Origin.serving("two") as second:
        fleet.ports["d-shop", 1] = second.port
        await fleet.cp.push(gateway=wrong)
        status = await fleet.until(lambda told: told.refused and "d-shop-8080/1" in told.ways)
        assert "key" in (status.refused or "").lower()
        assert "BEGIN" not in (status.refused or "")
        assert ("serving", reached) == (status.state, status.revision)
        with anyio.fail_after(60):
            while b"two" != (await fleet.get(tls=trusting)).body:
                await anyio.sleep(0.01)
        status = await fleet.serves(desired)
        assert status.refused is None


def _keys_lie_in_memory_alone(fleet: Fleet, key: str) -> None:
    planted = key.splitlines()[1].encode()
    disk = contents(fleet.directory)
    assert disk
    assert not [path for path, kept in disk.items() if planted in kept]
    dump = fleet.page("/config_dump?include_eds")[1]
    assert planted.decode() not in json.dumps(dump)
    for path in fleet.shared.rglob("sds-*.json"):
        assert (0o600, ENVOY_ID if os.geteuid() == 0 else os.geteuid()) == (
            stat.S_IMODE(path.stat().st_mode),
            path.stat().st_uid,
        )
    assert planted.decode() not in docker("logs", *fleet.containers())


async def test_an_agent_that_comes_back_finds_envoy_at_work(fleet: Fleet) -> None:
    """Envoy is neither restarted nor cut off, and what was open stays open."""
    foreign = docker("create", "--label", "fledx.gateway=somebody-else", envoy.NAME, "envoy", "--version")
    desired = PLAIN
    try:
        async with Origin.serving("one") as origin:
            fleet.ports["d-shop", 0] = origin.port
            async with fleet.agent():
                await fleet.serves(desired)
                before = docker("inspect", "-f", "{{.State.Pid}}", *fleet.containers())
            fleet.cp.gateway = None
            async with fleet.agent():
                await fleet.until(lambda told: told.state == "serving" and told.revision == fleet.cp.revision)
                assert before == docker("inspect", "-f", "{{.State.Pid}}", *fleet.containers())
                assert b"one" == (await fleet.get()).body
            async with fleet.agent(gateway_enabled=False):
                await come_true(lambda: not (fleet.containers() or fleet.shared.exists()))
        assert docker("inspect", "-f", "{{.State.Status}}", foreign) == "created"
    finally:
        docker("rm", "-f", foreign)


async def test_while_the_tunnel_is_away_requests_wait_and_a_dead_backend_is_left_out(fleet: Fleet) -> None:
    desired = GatewayDesired(routes=(route(),), backends=(backend(endpoint(), endpoint(1)),))
    async with Origin.serving("one") as one, Origin.serving("two") as two, fleet.agent():
        fleet.ports.update({("d-shop", 0): one.port, ("d-shop", 1): two.port})
        await fleet.serves(desired)
        await _each_answers(b"one", b"two", ask=lambda: _body(fleet))
        fleet.cp.cut()
        assert [200] * 4 == [(await fleet.get()).status for _ in range(4)]
        await fleet.cp.connected()
        del fleet.ports["d-shop", 1]
        two.scope.cancel()
        answers = [await fleet.get() for _ in range(8)]
        assert [(200, b"one")] * 8 == [(each.status, each.body) for each in answers]
        posted = [fleet.ask("POST", "/", host="shop.example.com", body=b"x").status for _ in range(6)]
        assert [200] * 6 == posted


@pytest.mark.parametrize("watches", [None, 1], ids=["endpoints in files", "endpoints in their clusters"])
async def test_an_endpoint_that_drains_gets_nothing_new_and_is_told_when_it_is_empty(
    fleet: Fleet, watches: int | None
) -> None:
    desired = GatewayDesired(routes=(route(),), backends=(backend(endpoint(), endpoint(1)),))
    leaving = GatewayDesired(routes=(route(),), backends=(backend(endpoint(draining=True), endpoint(1)),))
    async with Origin.serving("one") as one, Origin.serving("two") as two, fleet.agent(gateway_watches=watches):
        fleet.ports.update({("d-shop", 0): one.port, ("d-shop", 1): two.port})
        await fleet.serves(desired)
        one.gate = two.gate = anyio.Event()
        under_way: list[bytes] = []

        async def ask() -> None:
            under_way.append((await fleet.get()).body)

        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(ask)
            await until(lambda: one.requests + two.requests >= 6)
            await fleet.serves(leaving)
            assert () == (fleet.cp.gateway.drained if fleet.cp.gateway else None)
            busy = one.requests
            gate, one.gate = one.gate, None
            two.gate = None
            assert [b"two"] * 5 == [(await fleet.get()).body for _ in range(5)]
            gate.set()
        told = await fleet.until(lambda status: status.drained)
        assert [("d-shop-8080", 0, "t1")] == [
            (each.backend, each.replica_number, each.template) for each in told.drained
        ]
        assert (6, busy) == (len(under_way), one.requests)


async def test_what_is_asked_while_the_only_instance_is_replaced_waits_for_its_successor(fleet: Fleet) -> None:
    def serves(*endpoints: Endpoint) -> GatewayDesired:
        return GatewayDesired(
            routes=(route(),), backends=(backend(*endpoints, awaited=not endpoints or DRAINS in endpoints),)
        )

    async with Origin.serving("one") as one, Origin.serving("two") as two, fleet.agent():
        fleet.ports["d-shop", 0] = one.port
        await fleet.serves(serves(endpoint()))
        one.gate = anyio.Event()
        answers: list[bytes] = []

        async def ask(method: str) -> None:
            asked = functools.partial(fleet.ask, method, "/", host="shop.example.com", body=b"")
            answers.append((await anyio.to_thread.run_sync(asked)).body)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, "POST")
            await come_true(lambda: one.requests == 1)
            assert () == (await fleet.serves(serves(DRAINS))).drained
            one.gate.set()
            await fleet.until(lambda told: told.drained)
        assert [b"one"] == answers
        fleet.ports["d-shop", 0] = two.port
        for template in ("t2", "t3", "t4"):  # whoever is held up for five seconds in between is given up
            answers.clear()
            await fleet.serves(serves())
            before = await anyio.to_thread.run_sync(_retries, fleet)
            async with anyio.create_task_group() as tasks:
                for method in ("GET", "POST"):
                    tasks.start_soon(ask, method)
                await come_true(lambda: _retries(fleet) > before + 1)  # noqa: B023
                await fleet.serves(serves(endpoint(template=template)))
            if [b"two", b"two"] == answers:
                break
        assert [b"two", b"two"] == answers
        assert 1 == one.requests


DRAINS = endpoint(draining=True)


def _retries(fleet: Fleet) -> int:
    shown: str = fleet.page("/stats?filter=shop-8080.upstream_rq_retry$")[1]
    return int(shown.rpartition(" ")[2] or 0)


async def test_where_envoy_may_watch_few_files_every_change_reaches_it_all_the_same(fleet: Fleet) -> None:
    """Eighty backends, of which it may watch sixty: their endpoints stand in their clusters; with fewer they do not."""
    many = [backend(endpoint(), name=f"d-{number}-80", deployment_id=f"d-{number}") for number in range(80)]
    rules = [route(host=f"h{number}.example.com", backend=each.name) for number, each in enumerate(many)]
    async with Origin.serving("one") as one, Origin.serving("two") as two, fleet.agent(gateway_watches=70):
        fleet.ports.update({(each.deployment_id, 0): one.port for each in many})
        fleet.ports["d-79", 1] = two.port
        await fleet.serves(GatewayDesired(routes=tuple(rules), backends=tuple(many)))
        assert [] == list(fleet.shared.rglob("eds-*.json"))
        for host in ("h0.example.com", "h79.example.com"):
            assert b"one" == (await fleet.get(host=host)).body
        async with await anyio.connect_tcp("127.0.0.1", fleet.http) as chat:
            await chat.send(UPGRADE.replace(b"shop.", b"h79."))
            assert (await chat.receive()).startswith(b"HTTP/1.1 101")
            moved = [*many[:-1], replace(many[-1], endpoints=(endpoint(1),))]
            await fleet.serves(GatewayDesired(routes=tuple(rules), backends=tuple(moved)))
            assert [b"two"] * 3 == [(await fleet.get(host="h79.example.com")).body for _ in range(3)]
            assert b"one" == (await fleet.get(host="h0.example.com")).body
            await chat.send(b"still here?")
            assert b"still here?" == await chat.receive()
        await fleet.serves(GatewayDesired(routes=tuple(rules[-50:]), backends=tuple(moved[-50:])))
        assert 50 == len(list(fleet.shared.rglob("eds-*.json")))
        assert b"two" == (await fleet.get(host="h79.example.com")).body
        assert 404 == (await fleet.get(host="h0.example.com")).status


async def test_an_upgraded_connection_outlives_every_change_around_it_and_lets_nothing_past_the_rules(
    fleet: Fleet,
) -> None:
    desired = PLAIN
    async with Origin.serving("one") as origin, Origin.serving("two") as other, fleet.agent():
        fleet.ports.update({("d-shop", 0): origin.port, ("d-shop", 1): other.port})
        await fleet.serves(desired)
        async with await _upgraded(fleet, b"websocket") as chat, await _upgraded(fleet, b"tcp") as terminal:
            await fleet.serves(replace(desired, backends=(backend(endpoint(1)),), routes=(route(), route("/more"))))
            assert b"two" == (await fleet.get()).body
            for each in (chat, terminal):
                await each.send(b"still here?")
                assert b"still here?" == await each.receive()
        for protocol, answers, reached in (
            (b"spdy/3.1", [b"200"], 1),
            (b"h2c", [b"200", b"404"], 1),
            (b"irc", [b"403"], 0),
        ):
            other.requests = 0
            assert answers == await _smuggled(fleet, protocol), protocol
            assert reached == other.requests, protocol


async def _upgraded(fleet: Fleet, protocol: bytes) -> SocketStream:
    stream = await anyio.connect_tcp("127.0.0.1", fleet.http)
    await stream.send(UPGRADE.replace(b"websocket", protocol))
    assert (await stream.receive()).startswith(b"HTTP/1.1 101")
    return stream


async def _smuggled(fleet: Fleet, protocol: bytes) -> list[bytes]:
    """Answers to a request for a protocol the backend does not speak, and to the one of another host sent behind it."""
    hidden = b"GET /hidden HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    said = b""
    with anyio.fail_after(60):
        async with await anyio.connect_tcp("127.0.0.1", fleet.http) as stream:
            await stream.send(UPGRADE.replace(b"websocket", protocol) + hidden)
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    said += await stream.receive()
    return re.findall(rb"HTTP/1.1 (\d+)", said)


UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: shop.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize("watches", [None, 1], ids=["endpoints in files", "endpoints in their clusters"])
async def test_an_instance_of_the_gateways_own_node_is_addressed_itself_and_is_out_when_it_ends(
    fleet: Fleet, watches: int | None
) -> None:
    """With the control plane away as well: Envoy's own checks and the agent's look see to it."""
    await anyio.to_thread.run_sync(lambda: ensure_image(SAMPLE, docker_host=ENGINE))
    both = [local_replica(number) for number in range(2)]
    here = [
        endpoint(each.replica_number, node_id=fleet.cp.node_id, template=each.template, fence=each.fence)
        for each in both
    ]
    async with fleet.agent(gateway_watches=watches):
        await fleet.cp.push(*both)
        await until(lambda: len([each for each in fleet.cp.instances.values() if each.ready]) == 2)
        status = await fleet.serves(GatewayDesired(routes=(route(),), backends=(backend(*here),)), replicas=both)
        assert {"d-shop-8080/0": "local", "d-shop-8080/1": "local"} == dict(status.ways)
        await _each_answers(b"0", b"1", ask=lambda: _replica_that_answers(fleet))
        await _drained_once_its_download_is_over(fleet, both, here)
        fleet.cp.refuses_links = True
        fleet.cp.cut()
        ends = docker("ps", "-q", "--filter", f"label=fledx.node_id={fleet.cp.node_id}").split()[0]
        docker("kill", ends)
        assert {b"0", b"1"} >= {await _replica_that_answers(fleet) for _ in range(30)}


async def _drained_once_its_download_is_over(
    fleet: Fleet, replicas: Sequence[ReplicaDesired], here: Sequence[Endpoint]
) -> None:
    """A client that does not read on keeps its answer under way for as long as it likes."""
    await fleet.serves(GatewayDesired(routes=(route(),), backends=(backend(here[0]),)), replicas=replicas)
    async with await anyio.connect_tcp("127.0.0.1", fleet.http) as download:
        await download.send(b"GET /stream?bytes=100000000 HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")
        assert (await download.receive()).startswith(b"HTTP/1.1 200")
        leaving = backend(replace(here[0], draining=True), here[1])
        status = await fleet.serves(GatewayDesired(routes=(route(),), backends=(leaving,)), replicas=replicas)
        assert () == status.drained
        assert {b"1"} == {await _replica_that_answers(fleet) for _ in range(5)}
    status = await fleet.until(lambda told: told.drained)
    assert [0] == [each.replica_number for each in status.drained]
    status = await fleet.serves(GatewayDesired(routes=(route(),), backends=(backend(*here),)), replicas=replicas)
    assert () == status.drained


async def _each_answers(*expected: bytes, ask: Callable[[], Awaitable[bytes]]) -> None:
    """Ask until each has answered: Envoy picks idle endpoints by lot, so a fixed number of requests may miss one."""
    seen: set[bytes] = set()
    with anyio.fail_after(60):
        while seen < {*expected}:
            seen.add(await ask())
    assert {*expected} == seen


async def _body(fleet: Fleet) -> bytes:
    answer = await fleet.get()
    assert 200 == answer.status
    return answer.body


async def _replica_that_answers(fleet: Fleet) -> bytes:
    answer = await fleet.get()
    assert 200 == answer.status
    return next(line for line in answer.body.splitlines() if line.startswith(b"replica"))[-1:]


async def test_ports_below_1024_take_user_0_and_that_one_privilege(fleet: Fleet) -> None:
    fleet.http = 79
    async with Origin.serving("one") as origin, fleet.agent(gateway_https_port=0):
        fleet.ports["d-shop", 0] = origin.port
        await fleet.serves(PLAIN)
        assert b"one" == (await fleet.get()).body
        form = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}}"
        assert "0:0 true [ALL] [NET_BIND_SERVICE]" == docker("inspect", "-f", form, *fleet.containers())


async def test_an_envoy_that_is_killed_paused_or_frozen_is_back_by_itself(fleet: Fleet) -> None:
    desired = PLAIN
    async with Origin.serving("one") as origin, fleet.agent():
        fleet.ports["d-shop", 0] = origin.port
        await fleet.serves(desired)
        for words in (["kill", "-s", "KILL"], ["pause"], ["kill", "-s", "STOP"]):
            (container_id,) = fleet.containers()
            docker(*words, container_id)
            began = time.monotonic()
            with anyio.fail_after(60):
                while not await _answers(fleet):
                    await anyio.sleep(0.05)
            print(f"docker {words[0]} {words[-1]}: served again after {time.monotonic() - began:.1f} s")
        assert "serving" == (await fleet.until(lambda told: told.state == "serving")).state


async def _answers(fleet: Fleet) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException), anyio.move_on_after(1):
        return (await fleet.get(seconds=0.8)).status == 200
    return False


async def test_a_port_that_is_taken_and_an_image_that_is_missing_are_told_and_waited_for(fleet: Fleet) -> None:
    desired = PLAIN
    async with Origin.serving("one") as origin:
        fleet.ports["d-shop", 0] = origin.port
        with socket.create_server(("127.0.0.1", fleet.http)):
            async with fleet.agent():
                told = await fleet.until(lambda status: status.state == "failed")
                assert f"port {fleet.http} of this node is taken" in (told.reason or "")
                assert 503 == (await anyio.to_thread.run_sync(fleet.page, "/health"))[0]
                assert 503 == (await anyio.to_thread.run_sync(fleet.page, "/stats"))[0]
        fleet.cp.gateway = None
        async with fleet.agent(gateway_envoy_image="127.0.0.1:1/no/such-envoy:1"):
            told = await fleet.until(lambda status: status.state == "failed")
            assert "no/such-envoy:1" in (told.reason or "")
        fleet.cp.gateway = None
        async with fleet.agent():
            await fleet.serves(desired)
            assert b"one" == (await fleet.get()).body
