"""Health, figures, authority, and what is not there."""

from __future__ import annotations

import pytest

from fledx import __version__
from fledx.settings.control_plane import ControlPlaneSettings
from tests.unit.api.site import PEM, Site

pytestmark = pytest.mark.anyio


async def test_health_needs_no_token_and_names_the_version(site: Site) -> None:
    answer = await site.caller(token=None)("GET", "/health")

    assert (answer.status, answer.json()["status"]) == (200, "ok")
    assert answer.headers["x-control-plane-version"] == __version__
    assert answer.headers["cache-control"] == "no-store"


async def test_status_is_the_system_at_a_glance(site: Site) -> None:
    found = (await site.call("GET", "/api/v1/status")).json()

    assert found["summary"]["nodes"]["ready"] == 2
    assert found["control_plane"]["version"] == "0.1.0"


async def test_the_authority_is_told_to_anyone(site: Site) -> None:
    answer = await site.caller(token=None)("GET", "/api/v1/authority")

    assert answer.json() == {"pem": PEM, "fingerprint": "pin-1"}


async def test_without_an_authority_there_is_none_to_tell() -> None:
    answer = await Site(authority=None).call("GET", "/api/v1/authority")

    assert (answer.status, answer.json()["code"]) == (404, "not_found")


async def test_figures_are_in_the_text_format_and_count_the_fleet(site: Site) -> None:
    answer = await site.call("GET", "/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b'fledx_nodes{status="ready"} 2.0' in answer.body
    assert b'fledx_deployments{status="running"} 1.0' in answer.body


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("127.9.9.9", {}, 200),
        ("::1", {}, 200),
        ("::ffff:127.0.0.1", {}, 200),
        ("203.0.113.9", {}, 401),
        ("::ffff:203.0.113.9", {}, 401),
        ("unknown", {}, 401),
        ("127.0.0.1", {"x-forwarded-for": "203.0.113.9"}, 401),
        ("127.0.0.1", {"forwarded": "for=203.0.113.9"}, 401),
    ],
)
async def test_figures_are_open_to_this_machine_only(
    site: Site, address: str, headers: dict[str, str], status: int
) -> None:
    assert (await site.caller(address=address, token=None)("GET", "/metrics", headers=headers)).status == status


async def test_figures_can_be_made_public() -> None:
    site = Site(settings=ControlPlaneSettings(metrics_public=True))

    assert (await site.caller(token=None)("GET", "/metrics")).status == 200


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/v1/deployments/", "/api/v1/nodes/x/y", "//health", "/api/v2/nodes"]
)
async def test_a_path_that_is_not_there_is_404_in_the_shape_of_every_error(site: Site, path: str) -> None:
    answer = await site.call("GET", path)

    assert (answer.status, answer.json()["code"]) == (404, "not_found")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "location" not in answer.headers


@pytest.mark.parametrize("method", ["PUT", "TRACE", "PROPFIND", "CONNECT", "get"])
async def test_a_method_that_is_not_possible_is_405_with_those_that_are(site: Site, method: str) -> None:
    answer = await site.call(method, "/api/v1/deployments")

    assert (answer.status, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


async def test_options_tell_the_methods_and_nothing_else(site: Site) -> None:
    answer = await site.caller(token=None)("OPTIONS", "/api/v1/deployments/web")

    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"
    assert (await site.call("OPTIONS", "/nope")).status == 404
