"""Request ids, headers, counts, and faults of our own."""

from __future__ import annotations

import logging
import re

import pytest
from starlette.types import Message

from fledx.control_plane.api.edge import DRAIN_BYTES
from tests.unit.api.site import Site

pytestmark = pytest.mark.anyio
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_each_request_has_an_id_of_its_own(site: Site) -> None:
    ids = {(await site.call("GET", "/health")).headers["x-request-id"] for _ in range(3)}

    assert len(ids) == 3
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in ids)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-request-id": "my-request.7"}, "my-request.7"),
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, TRACE),
        ({"x-request-id": "mine", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, "mine"),
    ],
)
async def test_the_callers_own_id_is_kept(site: Site, headers: dict[str, str], expected: str) -> None:
    answer = await site.call("GET", "/nope", headers=headers)

    assert answer.headers["x-request-id"] == answer.json()["request_id"] == expected


@pytest.mark.parametrize(
    "headers",
    [
        {"x-request-id": "a b"},
        {"x-request-id": "x" * 129},
        {"x-request-id": "\x1b[31m"},
        {"x-request-id": "<script>"},
        {"traceparent": f"00-{TRACE.upper()}-00f067aa0ba902b7-01"},
        {"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"},
        {"traceparent": "nonsense"},
    ],
)
async def test_an_id_that_could_do_harm_is_replaced(site: Site, headers: dict[str, str]) -> None:
    answer = await site.call("GET", "/health", headers=headers)

    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


async def test_too_many_headers_and_too_large_ones_are_431(site: Site) -> None:
    for headers in ([(b"x-%d" % i, b"") for i in range(101)], [(b"x-large", b"x" * 17_000)]):
        answer = await site.call("GET", "/health", raw_headers=headers)
        assert (answer.status, answer.json()["code"]) == (431, "headers_too_large")


async def test_a_fault_of_ours_is_500_without_a_word_of_it_and_logged_once(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.deployments.failure = ZeroDivisionError("secret detail")

    answer = await site.call("POST", "/api/v1/deployments", json={"image": "nginx"})

    assert (answer.status, answer.json()["code"]) == (500, "internal_error")
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert record.levelno == logging.ERROR
    assert record.request_id == answer.json()["request_id"]  # type: ignore[attr-defined]
    assert (record.method, record.route) == ("POST", "/api/v1/deployments")  # type: ignore[attr-defined]


async def test_requests_are_counted_by_template_never_by_path(site: Site) -> None:
    await site.with_web()
    for name in ("web", "nix", "a%2fb", "x" * 300):
        await site.call("GET", f"/api/v1/deployments/{name}")
    await site.call("GET", "/what/is/this?")
    await site.call("BREW", "/health")

    text = site.metrics.exposition().decode()
    counts = {each for each in text.splitlines() if each.startswith("control_plane_http_requests_total{")}
    assert counts == {
        'control_plane_http_requests_total{method="POST",path="/api/v1/deployments",status="201"} 1.0',
        'control_plane_http_requests_total{method="GET",path="/api/v1/deployments/{ref}",status="200"} 1.0',
        'control_plane_http_requests_total{method="GET",path="/api/v1/deployments/{ref}",status="404"} 2.0',
        'control_plane_http_requests_total{method="GET",path="unmatched",status="404"} 2.0',
        'control_plane_http_requests_total{method="other",path="/health",status="405"} 1.0',
    }
    assert 'fledx_http_request_duration_seconds_count{method="GET",path="unmatched"} 2.0' in text


async def test_a_websocket_is_turned_away(site: Site) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/api/v1/deployments", "headers": [], "query_string": b""}
    await site.app(scope, receive, send)

    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_starting_and_stopping_are_answered(site: Site) -> None:
    asked = iter(("lifespan.startup", "lifespan.shutdown"))
    sent: list[str] = []

    async def receive() -> Message:
        return {"type": next(asked)}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    await site.app({"type": "lifespan", "state": {}}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_what_is_left_of_a_refused_body_is_let_run_dry_so_that_the_client_hears_the_answer(site: Site) -> None:
    headers = {"transfer-encoding": "chunked", "content-type": "application/json"}
    left = [b"x" * 65536 for _ in range(40)]
    order: list[str] = []
    scope = site.call._scope("POST", "/api/v1/deployments", headers, None)

    async def receive() -> Message:
        order.append("in")
        return {"type": "http.request", "body": left.pop(), "more_body": bool(left)}

    async def send(message: Message) -> None:
        order.append("end" if not message.get("more_body") and "body" in message else "out")

    await site.app(scope, receive, send)

    assert left == []
    assert order == ["out", "out", *["in"] * 40, "end"]


async def test_a_body_without_an_end_is_not_read_for_ever(site: Site) -> None:
    read = 0

    async def receive() -> Message:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"x" * 2**20, "more_body": True}

    async def send(message: Message) -> None:
        pass

    scope = site.call._scope("POST", "/nope", {"transfer-encoding": "chunked"}, None)
    await site.app(scope, receive, send)

    assert read == DRAIN_BYTES // 2**20
