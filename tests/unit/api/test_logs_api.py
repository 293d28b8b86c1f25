"""What containers wrote, over HTTP."""

from __future__ import annotations

import json

import pytest

from fledx.errors import NotFound, Unavailable
from tests.fakes.use_cases import log_line
from tests.unit.api.site import Site

pytestmark = pytest.mark.anyio


async def test_lines_and_notices_come_as_one_json_object_a_line(site: Site) -> None:
    site.logs.items = [log_line(0, "tick"), "node edge-2 is away", log_line(1, "ünï\x1b[31m")]

    answer = await site.call("GET", "/api/v1/deployments/web/logs")

    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
    found = [json.loads(line) for line in answer.body.splitlines()]
    assert [item.get("line", item.get("notice")) for item in found] == ["tick", "node edge-2 is away", "ünï\x1b[31m"]
    assert found[0] == {
        "deployment": "web",
        "replica_number": 0,
        "node": "edge-1",
        "stream": "stdout",
        "time": "2026-11-25T10:00:00.000Z",
        "line": "tick",
    }
    assert b"\x1b" not in answer.body


async def test_what_is_wanted_of_one_deployment_is_handed_on(site: Site) -> None:
    query = "replica=1&since=2026-11-25T09:00:00%2B02:00&until=2026-11-25T10:00:00Z&tail=10"

    await site.call("GET", f"/api/v1/deployments/web/logs?{query}")

    assert site.logs.wanted is not None
    assert (site.logs.wanted.deployments, site.logs.wanted.replica, site.logs.wanted.tail) == (("web",), 1, 10)
    assert site.logs.wanted.since == "2026-11-25T09:00:00+02:00"
    assert site.logs.wanted.until == "2026-11-25T10:00:00Z"
    assert not site.logs.wanted.follow


async def test_logs_of_several_and_of_all(site: Site) -> None:
    await site.call("GET", "/api/v1/logs?deployment=web&deployment=api")
    first = site.logs.wanted
    await site.call("GET", "/api/v1/logs")
    then = site.logs.wanted

    assert first is not None
    assert then is not None
    assert (first.deployments, then.deployments) == (("web", "api"), ())


@pytest.mark.parametrize("since", ["10m", "1h", "90s", "1.5d"])
async def test_since_may_be_how_long_ago(site: Site, since: str) -> None:
    await site.call("GET", f"/api/v1/logs?since={since}")

    assert site.logs.wanted is not None
    assert site.logs.wanted.since is not None
    assert site.logs.wanted.since.endswith("Z")


async def test_a_time_whose_plus_was_lost_and_one_without_an_offset_are_read(site: Site) -> None:
    for text in ("2026-11-25T09:00:00+02:00", "2026-11-25T07:00:00"):
        await site.call("GET", f"/api/v1/logs?since={text}")
        assert site.logs.wanted is not None
        assert site.logs.wanted.since == "2026-11-25T07:00:00.000Z"


@pytest.mark.parametrize(
    "query",
    [
        "since=yesterday",
        "since=10x",
        "since=",
        "since=2026-13-01T00:00:00Z",
        "since=" + "9" * 400,
        "tail=-1",
        "tail=all",
        "follow=maybe",
        "replica=-1",
        "deployment=",
    ],
)
async def test_what_cannot_be_meant_is_refused(site: Site, query: str) -> None:
    answer = await site.call("GET", f"/api/v1/logs?{query}")

    assert (answer.status, answer.json()["problems"][0]["path"]) == (400, f"query.{query.partition('=')[0]}")


@pytest.mark.parametrize("query", ["follow", "follow=true", "follow=1"])
async def test_following_goes_on_until_the_reader_leaves_and_unwinds_the_source(site: Site, query: str) -> None:
    site.logs.items = [log_line(0, "tick")]

    async with site.call.reading(f"/api/v1/logs?{query}") as reading:
        await reading.until(b"tick")
        assert not site.logs.unwound.is_set()

    assert site.logs.unwound.is_set()


async def test_an_error_before_the_first_line_is_a_status(site: Site) -> None:
    site.logs.items = [NotFound("no deployment 'nix'")]

    answer = await site.call("GET", "/api/v1/logs?deployment=nix")

    assert (answer.status, answer.json()["error"]) == (404, "no deployment 'nix'")


async def test_an_error_after_the_first_line_is_the_last_line(site: Site) -> None:
    site.logs.items = [log_line(0, "tick"), Unavailable("the store is away", hint="wait")]

    answer = await site.call("GET", "/api/v1/logs")

    last = json.loads(answer.body.splitlines()[-1])
    assert answer.status == 200
    assert last == {
        "error": "the store is away",
        "code": "service_unavailable",
        "hint": "wait",
        "request_id": answer.headers["x-request-id"],
    }
