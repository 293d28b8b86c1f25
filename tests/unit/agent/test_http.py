"""The agent's own endpoints: whatever is sent to them, they answer or hang up, and nothing else suffers."""

from __future__ import annotations

import json
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from fledx.agent.answers import Answer, as_json
from fledx.agent.http import serve
from fledx.agent.metrics import Metrics
from fledx.agent.pages import Pages, Standing
from fledx.settings.agent import AgentSettings
from tests.builders import instance
from tests.waiting import until

pytestmark = pytest.mark.anyio


def standing(**changes: Any) -> Standing:
    fields: dict[str, Any] = {
        "node_id": "n1",
        "name": "edge-1",
        "engine": "docker 28.2",
        "trouble": None,
        "connected_since": None,
        "link_problem": "the control plane cannot be reached",
        "revision": 7,
        "instances": (instance(), instance(replica_number=1, state="failed", ready=False)),
        "rounds": 7,
        "round_seconds": 0.5,
        "probes": {("http", "failed"): 2},
        "usage": {("d", 0): {"cpu_percent": 12.5, "memory_bytes": 1000}},
        **changes,
    }
    return Standing(**fields)


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as probe:
        port = int(probe.extra(anyio.abc.SocketAttribute.local_port))
    async with anyio.create_task_group() as tasks:
        page = Answer(status=200, kind="text/plain", body=b"hello\n")
        tasks.start_soon(serve, "127.0.0.1", port, {"/page": lambda: page}, "/page")
        yield port
        tasks.cancel_scope.cancel()


async def ask(port: int, request: bytes) -> bytes:
    with anyio.fail_after(60):
        while True:
            try:
                stream = await anyio.connect_tcp("127.0.0.1", port)
                break
            except OSError:
                await anyio.sleep(0.01)
        answer = b""
        async with stream:
            await stream.send(request)
            try:
                while True:
                    answer += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return answer


async def test_pages_are_served_and_others_named() -> None:
    async with serving() as port:
        assert (await ask(port, b"GET /page?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")).endswith(b"\r\n\r\nhello\n")
        head = await ask(port, b"HEAD /page HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head.endswith(b"\r\n\r\n")
        assert b"Content-Length: 6" in head
        assert b"404" in (await ask(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).split(b"\r\n")[0]
        assert b"405" in (await ask(port, b"POST /page HTTP/1.1\r\nHost: x\r\n\r\n")).split(b"\r\n")[0]


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01", b"nonsense\r\n\r\n", b"GET " + b"x" * 40_000])
async def test_what_is_not_http_is_answered_with_400(garbage: bytes) -> None:
    async with serving() as port:
        answer = await ask(port, garbage + b"\r\n\r\n")
        assert answer == b"" or b" 400 " in answer.split(b"\r\n")[0]
        assert (await ask(port, b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n")).endswith(b"hello\n")


async def test_a_port_that_is_taken_is_a_warning_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as taken:
        port = int(taken.extra(anyio.abc.SocketAttribute.local_port))
        await serve("127.0.0.1", port, {}, "/health")
    assert ["/health is not served"] == [record.getMessage() for record in caplog.records]


async def test_without_a_file_left_the_page_waits_and_the_node_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as port:
        await ask(port, b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n")
        client = socket.socket()
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno(), before[1]))
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            await until(lambda: [record.getMessage() for record in caplog.records][:1] == ["/page is held up"])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            client.close()

        assert (await ask(port, b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n")).endswith(b"hello\n")


def pages(now: Standing) -> Pages:
    return Pages(AgentSettings(), Metrics("1.2"), lambda: now, {})


def test_a_node_without_a_link_is_healthy_and_says_that_it_has_none() -> None:
    answer = pages(standing()).health()
    page = json.loads(answer.body)
    assert (200, "ok", {"failed": 1, "running": 1}) == (answer.status, page["status"], page["instances"])
    assert "the control plane cannot be reached" == page["control_plane"]["problem"]


def test_a_node_without_an_engine_is_not_healthy() -> None:
    answer = pages(standing(trouble="Docker does not answer")).health()
    assert (503, "Docker does not answer") == (answer.status, json.loads(answer.body)["runtime_error"])


def test_metrics_show_what_is_now_and_forget_what_is_gone() -> None:
    metrics = Metrics("1.2")
    now = standing(connected_since="2026-11-25T12:00:00Z")
    shown = Pages(AgentSettings(), metrics, lambda: now, {})
    metrics.happened("restart")
    text = shown.metrics().body.decode()
    for line in (
        'fledx_agent_info{version="1.2"} 1.0',
        "fledx_agent_tunnel_connected 1.0",
        'fledx_agent_instances{state="failed"} 1.0',
        'fledx_agent_happenings_total{kind="restart"} 1.0',
        'fledx_agent_instance_cpu_cores{deployment_id="d",replica="0"} 0.125',
    ):
        assert line in text.splitlines()
    now = standing(usage={})
    assert "instance_cpu_cores{" not in shown.metrics().body.decode()


def test_what_has_not_happened_yet_is_counted_as_0() -> None:
    lines = pages(standing()).metrics().body.decode().splitlines()
    for series in (
        *(f'happenings_total{{kind="{kind}"}}' for kind in ("crash", "gave_up", "port_taken", "runtime")),
        *(f'probes_total{{result="failed",type="{kind}"}}' for kind in ("exec", "tcp")),
    ):
        assert f"fledx_agent_{series} 0.0" in lines


def test_an_answer_as_json_is_one_line() -> None:
    assert b'{"a": 1}\n' == as_json(200, {"a": 1}).body
