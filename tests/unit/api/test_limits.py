"""How much may be in progress at once, and for how long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any, cast

import anyio
import pytest
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.types import Message

from fledx.control_plane.api.auth import Gate
from fledx.control_plane.api.endpoint import Call, Endpoint, Limits, Resource
from fledx.control_plane.api.replies import reply
from fledx.control_plane.metrics import Metrics
from fledx.settings.control_plane import ControlPlaneSettings
from tests.fakes.use_cases import FakeTokens
from tests.unit.api.caller import Answer, Caller
from tests.unit.api.site import FakeAudit, Site
from tests.waiting import until

pytestmark = pytest.mark.anyio
ALL = "/api/v1/deployments"


async def test_a_request_beyond_the_cap_is_503_and_health_still_answers() -> None:
    site = Site(settings=ControlPlaneSettings(limits_requests=2))
    site.deployments.held = anyio.Event()
    answers: list[Answer] = []

    async def create(name: str) -> None:
        answers.append(await site.call("POST", ALL, json={"name": name, "image": "nginx"}))

    async with anyio.create_task_group() as group:
        group.start_soon(create, "a")
        group.start_soon(create, "b")
        await until(lambda: len(site.deployments.calls) == 2)

        refused = await site.call("GET", ALL)
        assert (refused.status, refused.json()["code"]) == (503, "service_unavailable")
        assert refused.headers["retry-after"] == "1"
        assert (await site.caller(token=None)("GET", "/health")).status == 200
        assert b"fledx_http_requests_in_progress 2.0" in site.metrics.exposition()
        site.deployments.held.set()

    assert [answer.status for answer in answers] == [201, 201]
    assert (await site.call("GET", ALL)).status == 200


async def test_strangers_who_trickle_a_registration_take_no_operators_place() -> None:
    site = Site(settings=ControlPlaneSettings(limits_requests=1))
    stuck = anyio.Event()

    async def trickle() -> None:
        async def receive() -> Message:
            stuck.set()
            await anyio.sleep_forever()
            raise AssertionError

        async def send(message: Message) -> None:
            raise AssertionError

        scope = site.call._scope("POST", "/api/v1/nodes/register", {"content-type": "application/json"}, "guess")
        await site.app(scope, receive, send)

    async with anyio.create_task_group() as group:
        group.start_soon(trickle)
        await stuck.wait()
        assert (await site.call("GET", ALL)).status == 200
        group.cancel_scope.cancel()


async def test_streams_take_no_requests_place() -> None:
    site = await Site(settings=ControlPlaneSettings(limits_requests=1)).with_web()

    async with site.call.reading(f"{ALL}/web/watch") as first, site.call.reading(f"{ALL}/web/watch") as second:
        await first.until(b"data")
        await second.until(b"data")
        assert (await site.call("GET", ALL)).status == 200
        assert b"fledx_http_streams 2.0" in site.metrics.exposition()

    assert b"fledx_http_streams 0.0" in site.metrics.exposition()


async def test_a_failed_request_gives_its_place_back() -> None:
    site = Site(settings=ControlPlaneSettings(limits_requests=1))

    for failure in (ZeroDivisionError(), None):
        site.deployments.failure = failure
        await site.call("POST", ALL, json={"image": "nginx", "name": "web"})

    assert (await site.call("GET", ALL)).status == 200


async def test_what_takes_too_long_is_503_and_says_to_look() -> None:
    async def never(call: Call) -> Any:
        await anyio.sleep_forever()

    gate = Gate(cast(Any, FakeTokens()), ControlPlaneSettings(), Metrics())
    limits = Limits(body_bytes=1024, requests=1, request_seconds=0.01)
    resource = Resource([Endpoint("GET", "/slow", never)], gate=gate, limits=limits, audit=cast(Any, FakeAudit()))
    scope = Caller(resource)._scope("GET", "/slow", {}, "operator")
    facts = {"fledx.headers": {"authorization": "Bearer operator"}, "fledx.request_id": "r", "path_params": {}}

    with pytest.raises(HTTPException, match="look whether it took effect") as refusal:
        await resource({**scope, **facts}, cast(Any, None), cast(Any, None))

    assert (refusal.value.status_code, limits.requests.used) == (503, 0)


async def test_a_reader_who_takes_no_answer_is_cut_off() -> None:
    async def stuck(message: Message) -> None:
        await anyio.sleep_forever()

    gate = Gate(cast(Any, FakeTokens()), ControlPlaneSettings(), Metrics())
    limits = Limits(body_bytes=1024, requests=1, request_seconds=0.01)
    resource = Resource(
        [Endpoint("GET", "/", lambda call: reply({}))], gate=gate, limits=limits, audit=cast(Any, FakeAudit())
    )
    scope = Caller(resource)._scope("GET", "/", {}, "operator")
    facts = {"fledx.headers": {"authorization": "Bearer operator"}, "fledx.request_id": "r", "path_params": {}}

    with anyio.fail_after(60):
        await resource({**scope, **facts}, cast(Any, None), stuck)

    assert limits.requests.used == 0


async def test_a_file_may_take_a_slow_reader_as_long_as_it_needs_if_each_piece_is_taken_in_time() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x"

    deadlines: list[float] = []
    body = bytearray()

    async def slow(message: Message) -> None:
        deadlines.append(anyio.current_effective_deadline())
        body.extend(message.get("body", b""))
        await anyio.sleep(0.01)

    async def reading() -> Message:
        return cast(Message, await anyio.sleep_forever())

    gate = Gate(cast(Any, FakeTokens()), ControlPlaneSettings(), Metrics())
    limits = Limits(body_bytes=1024, requests=1)
    endpoint = Endpoint("GET", "/file", lambda call: StreamingResponse(pieces()))
    resource = Resource([endpoint], gate=gate, limits=limits, audit=cast(Any, FakeAudit()))
    scope = Caller(resource)._scope("GET", "/file", {}, "operator")
    facts = {"fledx.headers": {"authorization": "Bearer operator"}, "fledx.request_id": "r", "path_params": {}}

    await resource({**scope, **facts}, reading, slow)

    assert bytes(body) == b"x" * 20
    assert all(earlier < later for earlier, later in pairwise(deadlines))
    assert (limits.requests.used, limits.fetches.used) == (0, 0)
