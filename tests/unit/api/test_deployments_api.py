"""Deployments over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from fledx.errors import Conflict, LimitExceeded, NotFound, Unavailable
from tests.unit.api.site import Site

pytestmark = pytest.mark.anyio
ALL = "/api/v1/deployments"
WEB = f"{ALL}/web"


async def test_a_create_answers_201_with_the_deployment_where_it_lies_and_its_nodes(site: Site) -> None:
    answer = await site.call("POST", ALL, json={"image": "nginx:1.27", "name": "web", "replicas": 2})

    assert answer.status == 201
    assert answer.headers["location"] == f"{ALL}/id-of-web"
    assert answer.headers["etag"] == '"1"'
    found = answer.json()
    assert (found["name"], found["status"], found["generation"]) == ("web", "pending", 1)
    assert found["assigned_node_ids"] == ["node-0", "node-1"]


async def test_a_create_carries_its_operator_and_its_idempotency_key(site: Site) -> None:
    await site.call("POST", ALL, json={"image": "nginx"}, headers={"idempotency-key": "a key of mine"})

    assert site.deployments.calls == [("create", ("the operator", "a key of mine"))]


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\tinside", "é"])
async def test_an_idempotency_key_that_is_not_printable_is_refused_by_name(site: Site, key: str) -> None:
    answer = await site.call("POST", ALL, json={"image": "nginx"}, headers={"idempotency-key": key})

    assert answer.status == 400
    assert answer.json()["problems"][0]["path"] == "header.Idempotency-Key"
    assert site.deployments.calls == []


async def test_a_dry_run_answers_200_and_creates_nothing(site: Site) -> None:
    answer = await site.call("POST", f"{ALL}?dry_run=true", json={"image": "nginx", "name": "web"})

    assert (answer.status, answer.json()["assigned_node_ids"]) == (200, ["node-0"])
    assert "location" not in answer.headers
    assert site.deployments.calls == [("preview", ("the operator",))]


async def test_all_faults_of_a_spec_come_together_each_with_its_path(site: Site) -> None:
    spec = {"image": "a b", "ports": [{"container_port": 0}], "replicas": 0, "restart": "sometimes"}

    answer = await site.call("POST", ALL, json=spec)

    assert answer.status == 400
    body = answer.json()
    assert body["code"] == "bad_request"
    assert body["request_id"] == answer.headers["x-request-id"]
    assert "ports[0].container_port" in {problem["path"] for problem in body["problems"]}


async def test_a_field_that_does_not_exist_is_refused(site: Site) -> None:
    answer = await site.call("POST", ALL, json={"image": "nginx", "replica": 3})

    assert answer.json()["problems"] == [{"path": "replica", "text": "is not a known field: did you mean replicas?"}]


async def test_a_page_tells_its_place_and_how_many_there_are(site: Site) -> None:
    for name in ("a", "b", "c"):
        await site.call("POST", ALL, json={"image": "nginx", "name": name})

    page = (await site.call("GET", f"{ALL}?limit=1&offset=1")).json()

    assert (page["limit"], page["offset"], page["total"]) == (1, 1, 3)
    assert [item["name"] for item in page["items"]] == ["b"]


async def test_an_empty_page_is_a_page(site: Site) -> None:
    assert (await site.call("GET", ALL)).json() == {"limit": 50, "offset": 0, "total": 0, "items": []}


async def test_a_page_of_encoded_items_is_written_as_it_is(site: Site) -> None:
    await site.with_web()
    site.deployments.encoded = True

    assert (await site.call("GET", ALL)).json()["items"] == [{"name": "web"}]


async def test_a_page_is_narrowed_by_status_name_labels_and_node(site: Site) -> None:
    await site.call("GET", f"{ALL}?status=RUNNING&name=web&label=tier%3Dfront&label=env=&node=edge-1&limit=7")

    (_, (wanted, limit, offset)), *_ = site.deployments.calls
    assert (wanted.status, wanted.name, wanted.labels, wanted.node) == (
        "running",
        "web",
        {"tier": "front", "env": ""},
        "edge-1",
    )
    assert (limit, offset) == (7, 0)


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "query.limit"),
        ("limit=501", "query.limit"),
        ("limit=x", "query.limit"),
        ("limit=", "query.limit"),
        ("limit=1&limit=2", "query.limit"),
        ("limit=" + "9" * 5000, "query.limit"),
        ("offset=-1", "query.offset"),
        ("offset=99999999999999999999", "query.offset"),
        ("status=happy", "query.status"),
        ("label=novalue", "query.label"),
        ("label==x", "query.label"),
        ("name=", "query.name"),
        ("node=%00", "query.node"),
        ("stauts=running", "query.stauts"),
        ("%1b[31m=1", "query.?[31m"),
        ("name=%ff", "query"),
        ("&".join(f"label=a{i}=b" for i in range(101)), "query"),
    ],
)
async def test_a_query_that_cannot_be_meant_is_refused_by_name(site: Site, query: str, path: str) -> None:
    answer = await site.call("GET", f"{ALL}?{query}")

    assert answer.status == 400
    assert [problem["path"] for problem in answer.json()["problems"]] == [path]


async def test_all_faults_of_a_query_come_together(site: Site) -> None:
    answer = await site.call("GET", f"{ALL}?limit=0&offset=-1&nope=1")

    assert len(answer.json()["problems"]) == 3


async def test_a_deployment_is_shown_with_its_generation_as_etag(site: Site) -> None:
    await site.with_web()

    answer = await site.call("GET", WEB)

    assert (answer.status, answer.json()["deployment_id"], answer.headers["etag"]) == (200, "id-of-web", '"1"')


async def test_what_is_not_there_is_404_with_a_hint(site: Site) -> None:
    for method, body in (("GET", None), ("DELETE", None)):
        answer = await site.call(method, WEB, json=body)
        assert (answer.status, answer.json()["code"]) == (404, "not_found")
    assert "list" in (await site.call("GET", WEB)).json()["hint"]


@pytest.mark.parametrize("ref", ["%00", "%1b%5b31m", "x" * 300, "%e2%80%ae"])
async def test_a_reference_that_nothing_can_have_is_404_without_asking(site: Site, ref: str) -> None:
    answer = await site.call("GET", f"{ALL}/{ref}")

    assert answer.status == 404
    assert b"\x1b" not in answer.body
    assert site.deployments.calls == []


async def test_a_patch_hands_on_its_changes_and_the_generation_it_was_made_for(site: Site) -> None:
    await site.with_web()

    answer = await site.call("PATCH", WEB, json={"replicas": 5, "env": None}, headers={"if-match": '"1"'})

    assert (answer.status, answer.json()["replicas"], answer.headers["etag"]) == (200, 5, '"2"')
    assert site.deployments.calls[0] == ("patch", ({"replicas": 5, "env": None}, 1))


@pytest.mark.parametrize(("given", "generation"), [("7", 7), ('"7"', 7), ('W/"7"', 7), ("*", None), ("", None)])
async def test_a_generation_is_read_as_an_etag_or_bare(site: Site, given: str, generation: int | None) -> None:
    await site.with_web()
    headers = {"if-match": given} if given else {}

    answer = await site.call("PATCH", WEB, json={"replicas": 5}, headers=headers)

    assert site.deployments.calls[0][1][1] == generation
    assert answer.status == (409 if generation == 7 else 200)


@pytest.mark.parametrize("given", ['"1", "2"', "abc", "-1", "1.5", '"' + "9" * 40 + '"'])
async def test_a_generation_that_is_none_is_refused(site: Site, given: str) -> None:
    await site.with_web()

    answer = await site.call("PATCH", WEB, json={"replicas": 5}, headers={"if-match": given})

    assert (answer.status, answer.json()["problems"][0]["path"]) == (400, "header.If-Match")


async def test_a_put_replaces_the_spec(site: Site) -> None:
    await site.with_web()

    answer = await site.call("PUT", WEB, json={"name": "web", "image": "caddy"}, headers={"if-match": "1"})

    assert (answer.status, answer.json()["image"], answer.json()["replicas"]) == (200, "caddy", 1)


async def test_a_delete_answers_204_with_nothing(site: Site) -> None:
    await site.with_web()

    answer = await site.call("DELETE", WEB)

    assert (answer.status, answer.body) == (204, b"")
    assert (await site.call("DELETE", WEB)).status == 404


async def test_a_delete_made_for_an_older_generation_is_refused(site: Site) -> None:
    await site.with_web()
    await site.call("PATCH", WEB, json={"replicas": 5})

    refused = await site.call("DELETE", WEB, headers={"if-match": '"1"'})

    assert (refused.status, (await site.call("GET", WEB)).status) == (409, 200)
    assert 400 == (await site.call("DELETE", WEB, headers={"if-match": "latest"})).status
    assert 204 == (await site.call("DELETE", WEB, headers={"if-match": '"2"'})).status


FULL = LimitExceeded("no space to write", hint="free some space; reads still work")
FULL.code = "storage_full"


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (Conflict("two of that name"), 409, "conflict"),
        (NotFound("no node"), 404, "not_found"),
        (Unavailable("busy"), 503, "service_unavailable"),
        (LimitExceeded("too many deployments"), 429, "rate_limited"),
        (FULL, 507, "storage_full"),
    ],
)
async def test_each_error_of_the_tree_has_its_status(site: Site, failure: Exception, status: int, code: str) -> None:
    site.deployments.failure = failure

    answer = await site.call("POST", ALL, json={"image": "nginx"})

    assert (answer.status, answer.json()["code"], answer.json()["error"]) == (status, code, str(failure))
    assert ("retry-after" in answer.headers) == (status in (429, 503))


async def test_watching_begins_with_the_present_and_ends_with_gone(site: Site) -> None:
    await site.with_web()

    async with site.call.reading(f"{WEB}/watch") as reading:
        assert reading.head.headers["content-type"] == "text/event-stream"
        assert b'"generation":1' in await reading.until(b"\n\n")
        await site.call("PATCH", WEB, json={"replicas": 3})
        assert b'"generation":2' in await reading.until(b"\n\n")
        await site.call("DELETE", WEB)
        assert await reading.rest() == b"event: gone\ndata: {}\n\n"


async def test_watching_what_is_not_there_is_404(site: Site) -> None:
    assert (await site.call("GET", f"{WEB}/watch")).status == 404


async def test_head_answers_as_get_does_and_a_stream_ends_at_once(site: Site) -> None:
    await site.with_web()

    for path in (ALL, WEB, f"{WEB}/watch"):
        answer = await site.call("HEAD", path)
        assert answer.status == 200, path


async def test_a_deployment_named_like_a_route_can_still_be_reached(site: Site) -> None:
    specs: list[dict[str, Any]] = [{"name": name, "image": "nginx"} for name in ("watch", "logs")]
    for spec in specs:
        await site.call("POST", ALL, json=spec)
        assert (await site.call("GET", f"{ALL}/{spec['name']}")).json()["name"] == spec["name"]
