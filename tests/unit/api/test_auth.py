"""Who may ask what."""

from __future__ import annotations

import pytest

from fledx.control_plane.trust.refusals import MAX_SOURCES, OPERATOR_REFUSALS, Refusals, network
from fledx.settings.control_plane import ControlPlaneSettings
from tests.unit.api.site import Clock, Site

pytestmark = pytest.mark.anyio
READS = ("/api/v1/deployments", "/api/v1/nodes", "/api/v1/events", "/api/v1/status", "/api/v1/logs")
CHANGES = (
    ("POST", "/api/v1/deployments"),
    ("PATCH", "/api/v1/deployments/web"),
    ("PUT", "/api/v1/deployments/web"),
    ("DELETE", "/api/v1/deployments/web"),
    ("POST", "/api/v1/nodes/join-tokens"),
)
SPEC = {"name": "web", "image": "nginx"}


@pytest.mark.parametrize("path", READS)
async def test_every_role_may_read(site: Site, path: str) -> None:
    for role in ("admin", "operator", "read_only"):
        assert (await site.call("GET", path, token=role)).status == 200


@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_who_may_only_read_changes_nothing(site: Site, method: str, path: str) -> None:
    await site.with_web()

    answer = await site.call(method, path, json={}, token="read_only")

    assert (answer.status, answer.json()["code"]) == (403, "forbidden")
    assert site.deployments.calls == []


async def test_operators_and_admins_may_change(site: Site) -> None:
    for role in ("admin", "operator"):
        spec = {"name": f"web-{role.replace('_', '-')}", "image": "nginx"}
        assert (await site.call("POST", "/api/v1/deployments", json=spec, token=role)).status == 201


@pytest.mark.parametrize(("method", "path"), [*CHANGES, *(("GET", path) for path in READS)])
async def test_nobody_gets_anywhere_without_a_token(site: Site, method: str, path: str) -> None:
    answer = await site.call(method, path, json=SPEC, token=None)

    assert (answer.status, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert site.deployments.calls == []


@pytest.mark.parametrize(
    "header",
    [
        "operator",
        "Basic b3BlcmF0b3I6",
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer \xff\xfe",
        "Bearer " + "x" * 2000,
        "",
    ],
)
async def test_a_header_that_holds_no_token_is_401(site: Site, header: str) -> None:
    answer = await site.call("GET", "/api/v1/status", headers={"authorization": header})

    assert answer.status == 401


async def test_a_token_given_twice_is_refused(site: Site) -> None:
    twice = [(b"authorization", b"Bearer operator")]

    assert (await site.call("GET", "/api/v1/status", raw_headers=twice)).status == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_word_bearer_is_read_in_any_case(site: Site, scheme: str) -> None:
    answer = await site.call("GET", "/api/v1/status", headers={"authorization": f"{scheme}  operator "})

    assert answer.status == 200


async def test_a_token_never_comes_back_in_a_refusal(site: Site) -> None:
    answer = await site.call("GET", "/api/v1/status", token="a-secret-token")

    assert b"a-secret-token" not in answer.body


async def test_the_header_of_operators_can_be_another() -> None:
    site = Site(settings=ControlPlaneSettings(operator_header_name="X-Fledx-Token"))
    stranger = site.caller(token=None)

    answer = await stranger("GET", "/api/v1/status", headers={"x-fledx-token": "Bearer operator"})

    assert answer.status == 200
    assert (await site.call("GET", "/api/v1/status")).status == 401
    described = (await stranger("GET", "/openapi.json")).json()["components"]["securitySchemes"]["operator"]
    assert (described["type"], described["name"]) == ("apiKey", "X-Fledx-Token")


async def test_guessing_becomes_429_but_a_right_token_passes_from_the_same_address(site: Site) -> None:
    for _ in range(OPERATOR_REFUSALS):
        assert (await site.call("GET", "/api/v1/status", token="wrong")).status == 401

    answer = await site.call("GET", "/api/v1/status", token="wrong")

    assert (answer.status, answer.json()["code"]) == (429, "rate_limited")
    assert answer.headers["retry-after"] == "60"
    assert (await site.call("GET", "/api/v1/status")).status == 200
    assert (await site.caller(address="198.51.100.1", token="wrong")("GET", "/api/v1/status")).status == 401


async def test_asking_without_any_token_is_no_guessing(site: Site) -> None:
    for _ in range(OPERATOR_REFUSALS + 10):
        assert (await site.call("GET", "/api/v1/status", token=None)).status == 401


async def test_a_minute_later_a_guesser_is_told_401_again(site: Site) -> None:
    for _ in range(OPERATOR_REFUSALS + 1):
        await site.call("GET", "/api/v1/status", token="wrong")

    site.clock.now += 60

    assert (await site.call("GET", "/api/v1/status", token="wrong")).status == 401


async def test_refused_registrations_are_limited_by_the_setting() -> None:
    site = Site(settings=ControlPlaneSettings(registration_rate_limit_per_minute=2))
    statuses = [(await site.caller(token="wrong")("POST", "/api/v1/nodes/register", json={})).status for _ in range(4)]

    assert statuses == [401, 401, 429, 429]
    assert (await site.caller(token="join")("POST", "/api/v1/nodes/register", json={})).status == 201


def test_a_limit_of_nothing_refuses_nobody() -> None:
    refusals = Refusals(0)

    assert {refusals.count("203.0.113.9") for _ in range(1000)} == {None}


def test_many_sources_are_not_kept_for_ever() -> None:
    refusals = Refusals(1, clock=Clock())

    for number in range(MAX_SOURCES + 500):
        refusals.count(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")

    assert len(refusals._windows) == MAX_SOURCES


def test_one_owner_of_ipv6_addresses_is_one_source() -> None:
    assert network("2001:db8::1") == network("2001:db8::ffff:2") == "2001:db8::/64"
    assert network("2001:db8:0:1::1") != network("2001:db8::1")
    assert network("fe80::1%eth0") == "fe80::/64"
    assert network("203.0.113.9") == "203.0.113.9"
    assert network("no address") == "no address"
