"""Nodes over HTTP."""

from __future__ import annotations

import pytest

from tests.unit.api.site import Site

pytestmark = pytest.mark.anyio
ALL = "/api/v1/nodes"
REGISTER = f"{ALL}/register"


async def test_nodes_are_listed_and_narrowed(site: Site) -> None:
    site.nodes.add("edge-1")

    page = (await site.call("GET", f"{ALL}?status=ready&availability=Active&name=edge-1&label=a=b")).json()

    assert (page["total"], page["items"][0]["name"]) == (1, "edge-1")
    (_, (wanted, *_)), *_ = site.nodes.calls
    assert (wanted.status, wanted.availability, wanted.name, wanted.labels) == ("ready", "active", "edge-1", {"a": "b"})


async def test_a_node_is_shown_with_what_it_runs(site: Site) -> None:
    site.nodes.add("edge-1")

    found = (await site.call("GET", f"{ALL}/edge-1")).json()

    assert (found["name"], [instance["state"] for instance in found["instances"]]) == ("edge-1", ["running"])
    assert (await site.call("GET", f"{ALL}/edge-2")).status == 404


async def test_a_registration_token_lets_one_node_in_and_tells_it_where_to_dial(site: Site) -> None:
    stranger = site.caller(token="join")

    answer = await stranger("POST", REGISTER, json={"name": "edge-1", "arch": "x86_64", "shoe_size": 9})

    assert answer.status == 201
    assert answer.json() == {
        "node_id": "id-of-edge-1",
        "node_token": "fn_secret",
        "name": "edge-1",
        "tunnel": {
            "host": "cp.example.com",
            "port": 7443,
            "use_tls": True,
            "connect_timeout_secs": 10,
            "heartbeat_interval_secs": 5,
            "heartbeat_timeout_secs": 90,
            "token_header": "authorization",
        },
    }
    (_, (facts, by)), *_ = site.nodes.calls
    assert (facts.arch, by) == ("amd64", "join token 1")
    assert (await stranger("POST", REGISTER, json={"name": "edge-2"})).status == 401


async def test_an_operator_may_register_a_node_without_any_body(site: Site) -> None:
    answer = await site.call("POST", REGISTER)

    assert (answer.status, answer.json()["name"]) == (201, "node-1")
    assert site.nodes.calls[0][1][1] == "the operator"


async def test_who_may_only_read_lets_no_node_in(site: Site) -> None:
    assert (await site.call("POST", REGISTER, json={}, token="read_only")).status == 403


async def test_a_body_that_is_wrong_spends_no_registration_token(site: Site) -> None:
    stranger = site.caller(token="join")

    for body in (b"{", b'{"name": "-"}', b"[]"):
        answer = await stranger("POST", REGISTER, body=body, headers={"content-type": "application/json"})
        assert answer.status == 400

    assert (await stranger("POST", REGISTER, json={"name": "edge-1"})).status == 201


async def test_a_stranger_without_a_token_is_refused_before_his_body_is_read(site: Site) -> None:
    answer = await site.caller(token=None)("POST", REGISTER, body=b"not even JSON")

    assert answer.status == 401


async def test_a_registration_is_kept_short(site: Site) -> None:
    answer = await site.caller(token="join")("POST", REGISTER, json={"labels": {"a": "b" * 20_000}})

    assert (answer.status, answer.json()["code"]) == (413, "payload_too_large")
    assert "join" in site.tokens.registrations


async def test_another_host_under_a_used_name_is_a_conflict(site: Site) -> None:
    site.nodes.add("edge-1")

    assert (await site.call("POST", REGISTER, json={"name": "edge-1"})).status == 409


async def test_a_join_string_is_made_with_its_time_and_uses(site: Site) -> None:
    answer = await site.call("POST", f"{ALL}/join-tokens", json={"ttl_seconds": 60, "uses": None})

    assert answer.status == 201
    assert answer.json() == {"join": "fledx-join.60", "expires_at": "2026-11-25T10:00:00.000Z", "uses": None}


async def test_a_join_string_without_any_wish_is_good_for_a_day_and_one_host(site: Site) -> None:
    for body in (b"", b"{}"):
        answer = await site.call(
            "POST", f"{ALL}/join-tokens", body=body, headers={"content-type": "application/json"} if body else {}
        )
        assert (answer.json()["join"], answer.json()["uses"]) == ("fledx-join.86400", 1)
