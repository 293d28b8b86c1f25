"""Usage and the count of requests over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from fledx.control_plane.usage import UsageFilter
from fledx.models.usage import Usage
from tests.fakes.use_cases import NOW
from tests.unit.api.schemas import faults
from tests.unit.api.site import Site
from tests.unit.api.test_openapi import content_of, described

pytestmark = pytest.mark.anyio


class FakeUsage:
    """One minute, and what was asked for."""

    def __init__(self) -> None:
        self.wanted: Any = None

    async def page(self, wanted: UsageFilter, *, limit: int, offset: int) -> tuple[list[Usage], int]:
        self.wanted = (wanted, limit, offset)
        figures: dict[str, Any] = {
            f"avg_{name}_bytes": 7 for name in ("memory", "network_rx", "network_tx", "blk_read", "blk_write")
        }
        return [
            Usage(
                deployment_id="d",
                node_id="n",
                replica_number=0,
                bucket_start=NOW,
                samples=6,
                avg_cpu_percent=1.5,
                deployment="web",
                **figures,
            )
        ], 9


@pytest.fixture
async def site() -> Site:
    return Site(usage=FakeUsage())


@pytest.mark.parametrize(
    "query",
    ["deployment=web&node=edge-1&replica=2", "deployment_id=web&node_id=edge-1&replica_number=2"],
)
async def test_usage_is_asked_for_in_our_words_or_fledx_cores(site: Site, query: str) -> None:
    answer = await site.call("GET", f"/api/v1/usage?{query}&limit=7&offset=1&since={NOW}")

    assert (answer.status, answer.json()["total"]) == (200, 9)
    assert answer.json()["items"][0]["avg_cpu_percent"] == 1.5
    wanted = UsageFilter(deployment="web", node="edge-1", replica_number=2, since=NOW)
    assert site.usage.wanted == (wanted, 7, 1)


async def test_two_words_for_one_thing_may_not_differ(site: Site) -> None:
    answer = await site.call("GET", "/api/v1/usage?deployment=web&deployment_id=api")

    assert (answer.status, answer.json()["problems"][0]["path"]) == (400, "query.deployment_id")


async def test_requests_are_counted_by_route_never_by_path(site: Site) -> None:
    for path in ("/api/v1/nodes/a", "/api/v1/nodes/b", "/no/such/path"):
        await site.call("GET", path)

    answer = await site.call("GET", "/api/v1/metrics/summary?limit=1")

    found = answer.json()
    assert (found["limit"], found["window_secs"]) == (1, 60)
    assert (len(found["per_second"]), sum(found["per_second"])) == (60, 3)
    assert found["items"] == [{"method": "GET", "path": "/api/v1/nodes/{ref}", "status": "404", "count": 2}]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x"])
async def test_a_limit_has_bounds(site: Site, query: str) -> None:
    assert (await site.call("GET", f"/api/v1/metrics/summary?{query}")).status == 400


@pytest.mark.parametrize("path", ["/api/v1/usage?deployment=web", "/api/v1/metrics/summary"])
async def test_both_keep_to_their_description(site: Site, path: str) -> None:
    document = await described(site)
    answer = await site.call("GET", path)

    schema = content_of(document, "GET", path.partition("?")[0], 200)
    assert list(faults(answer.json(), schema, document)) == []
