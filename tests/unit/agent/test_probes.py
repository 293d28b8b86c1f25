"""When instances are asked, and what their answers mean."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledx.agent.health.probes import Prober
from fledx.agent.health.schedule import Finding, Watch, noted, status_of, verdict, watches_for
from fledx.agent.runtime.containers import Execution
from fledx.agent.spec import Key
from fledx.models.health import DeploymentHealth, HealthProbe
from tests.unit.agent.stage import Stage, replica, running

AT = "2026-11-25T12:00:00.000Z"
GOOD = Finding(passed=True, words="http 80/: 200", at=AT)
BAD = Finding(passed=False, words="http 80/: 503", output="no database", at=AT)
HTTP = HealthProbe(type="http", port=80, path="/")


def watch(role: str = "liveness", **changes: Any) -> Watch:
    probe = HealthProbe(type="http", port=80, path="/", **changes)
    return Watch(role=role, probe=probe, began=100.0, due=100.0)


def after(start: Watch, *findings: Finding, at: float = 200.0) -> Watch:
    for finding in findings:
        start = noted(start, finding, at)
    return start


def test_liveness_gives_its_verdict_at_the_threshold_and_not_before() -> None:
    assert verdict(after(watch(), BAD, BAD)) is None
    assert "liveness: http 80/: 503, 3 times in a row" == verdict(after(watch(), BAD, BAD, BAD))
    assert verdict(after(watch(), BAD, BAD, GOOD, BAD, BAD)) is None
    assert "liveness: http 80/: 503" == verdict(after(watch(failure_threshold=1), BAD))


def test_failures_in_the_start_period_count_for_nothing_until_the_first_success() -> None:
    slow = watch(start_period_seconds=60.0, failure_threshold=1)
    assert verdict(after(slow, BAD, BAD, at=159.0)) is None
    assert verdict(after(slow, BAD, at=161.0)) is not None
    assert verdict(after(slow, GOOD, BAD, at=110.0)) is not None


def test_readiness_never_restarts_anything() -> None:
    assert verdict(after(watch("readiness"), *[BAD] * 10)) is None


def test_readiness_is_asked_eagerly_until_it_has_passed_once() -> None:
    begun = watch("readiness", interval_seconds=10.0)
    assert after(begun, BAD, at=200.0).due == 201.0
    assert after(begun, BAD, GOOD, at=200.0).due == 210.0
    assert after(watch("liveness", interval_seconds=10.0), BAD, at=200.0).due == 210.0


def test_an_instance_is_ready_once_its_probe_passes_and_until_it_fails_often_enough() -> None:
    states = []
    current = watch("readiness")
    for finding in (BAD, GOOD, BAD, BAD, BAD, GOOD):
        current = noted(current, finding, 200.0)
        status = status_of([current])
        assert status is not None
        states.append(status.ready)
    assert [False, True, True, True, False, True] == states


def test_the_status_shows_the_probe_that_fails_with_its_output() -> None:
    status = status_of([after(watch("readiness"), GOOD), after(watch("liveness"), BAD, BAD, BAD)])
    assert status is not None
    assert not status.healthy
    assert status.ready
    assert "liveness: http 80/: 503" == status.last_probe_result
    assert "liveness failed 3 times in a row or more" == status.reason
    assert "no database" == status.last_error


def test_an_instance_with_a_readiness_probe_that_has_not_answered_is_not_ready() -> None:
    status = status_of([watch("readiness")])
    assert status is not None
    assert not status.ready
    assert status_of([watch("liveness")]) is None


@given(st.lists(st.uuids(), min_size=50, max_size=50, unique=True))
def test_the_probes_of_a_node_are_spread_over_their_interval(ids: list[Any]) -> None:
    health = DeploymentHealth(liveness=HTTP)
    dues = sorted(watches_for(health, str(each), 0.0)[0].due for each in ids)
    assert dues[0] < 4.0
    assert dues[-1] > 6.0
    assert all(0 <= due < 10 for due in dues)


class Probed:
    """A stage with a prober over it, and the app that is probed."""

    def __init__(self, stage: Stage, prober: Prober, port: int) -> None:
        self.stage = stage
        self.prober = prober
        self.port = port
        self.answer = b"HTTP/1.1 200 OK\r\n\r\n"
        self.asked: list[bytes] = []
        self.unhealthy: list[str] = []

    async def client(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            try:
                self.asked.append(await stream.receive())
                await stream.send(self.answer)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return

    async def until(self, true: Callable[[], bool]) -> None:
        """The probes use real sockets: turn after turn until it is so."""
        with anyio.fail_after(60):
            while not true():
                self.stage.clock.advance(0.25)
                await anyio.sleep(0.001)


@asynccontextmanager
async def probed(**probe: Any) -> AsyncIterator[Probed]:
    async with running() as stage, await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = int(listener.extra(anyio.abc.SocketAttribute.local_port))
        found: dict[str, Probed] = {}

        def unhealthy(key: Key, container_id: str, reason: str) -> None:
            found["it"].unhealthy.append(reason)

        async def changed() -> None:
            await anyio.sleep(0.005)

        prober = Prober(
            stage.runtime,
            stage.clock,
            running=lambda: [
                (key, stage.loop.wanted()[key], copy)
                for key, copies in stage.loop.copies.items()
                for copy in copies
                if copy.running and key in stage.loop.wanted()
            ],
            changed=changed,
            unhealthy=unhealthy,
            reported=lambda: None,
        )
        found["it"] = it = Probed(stage, prober, port)
        stage.runtime.address = "127.0.0.1"
        health = {role: HealthProbe(**{"port": port, **each}) for role, each in probe.items()}
        await stage.want(replica(health=DeploymentHealth(**health)))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, it.client)
            tasks.start_soon(prober.run)
            yield it
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_http_is_asked_at_the_containers_own_address() -> None:
    async with probed(readiness={"type": "http", "path": "healthz"}) as it:
        await it.until(lambda: any(each.ready for each in it.prober.statuses.values()))
        assert it.asked[0].startswith(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{it.port}\r\n".encode())


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 503 No\r\nA: b\r\n\r\nno database", "503"),
        (b"SSH-2.0-x\r\n", "no HTTP answer"),
        (b"", "no HTTP answer"),
        (b"x" * 10_000, "no HTTP answer"),
    ],
)
async def test_an_answer_that_is_not_well_is_told(answer: bytes, words: str) -> None:
    async with probed(liveness={"type": "http", "path": "/", "failure_threshold": 2}) as it:
        it.answer = answer
        await it.until(lambda: bool(it.unhealthy))
        assert f"liveness: http {it.port}/: {words}, 2 times in a row" == it.unhealthy[0]
        status = next(iter(it.prober.statuses.values()))
        assert not status.healthy
        assert len(status.last_error or "") <= 1000


@pytest.mark.anyio
async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with probed(liveness={"type": "http", "path": "/"}) as it:
        it.answer = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n"
        await it.until(lambda: bool(it.prober.statuses))
        assert next(iter(it.prober.statuses.values())).healthy
        assert len(it.asked) == 1


@pytest.mark.anyio
async def test_tcp_needs_no_more_than_a_connection() -> None:
    async with probed(readiness={"type": "tcp"}) as it:
        await it.until(lambda: any(each.ready for each in it.prober.statuses.values()))


@pytest.mark.anyio
async def test_a_port_nobody_listens_on_is_refused() -> None:
    async with probed(liveness={"type": "tcp", "port": 1, "failure_threshold": 1}) as it:
        await it.until(lambda: bool(it.unhealthy))
        assert "liveness: tcp 1: connection refused" == it.unhealthy[0]


@pytest.mark.anyio
async def test_a_command_inside_decides_by_its_exit_code_and_shows_its_output() -> None:
    async with probed(liveness={"type": "exec", "command": ("check", "-q"), "failure_threshold": 1}) as it:
        it.stage.runtime.answers["check", "-q"] = Execution(exit_code=1, output="queue is full\n")
        await it.until(lambda: bool(it.unhealthy))
        assert "liveness: check ended with 1" == it.unhealthy[0]
        assert "queue is full" == next(iter(it.prober.statuses.values())).last_error


@pytest.mark.anyio
async def test_a_dead_docker_is_no_failed_probe() -> None:
    async with probed(liveness={"type": "exec", "command": ("check",), "failure_threshold": 1}) as it:
        it.stage.runtime.answers[("check",)] = Execution(exit_code=1, output="")
        it.stage.runtime.down = True
        for _ in range(200):
            it.stage.clock.advance(0.25)
            await anyio.sleep(0)
        assert it.unhealthy == []
        it.stage.runtime.down = False
        await it.until(lambda: bool(it.unhealthy))


@pytest.mark.anyio
async def test_a_container_that_is_gone_is_asked_no_more() -> None:
    async with probed(readiness={"type": "http", "path": "/"}) as it:
        await it.until(lambda: bool(it.asked))
        await it.stage.want()
        await it.until(lambda: not it.prober._subjects)
        before = len(it.asked)
        for _ in range(100):
            it.stage.clock.advance(0.25)
            await anyio.sleep(0)
        assert len(it.asked) <= before + 1
