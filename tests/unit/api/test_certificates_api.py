"""Certificates over HTTP, on the real use cases: keys go in and never come back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.issued import issued
from tests.unit.api.schemas import faults
from tests.unit.api.site import Site
from tests.unit.api.test_openapi import content_of, described
from tests.unit.control_plane.conftest import Stage

pytestmark = pytest.mark.anyio
ALL = "/api/v1/certificates"
IT = issued(["shop.example.com"], now=1_764_072_000.0)
BODY = {"chain": IT.chain, "key": IT.key}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """The API on use cases with a database of their own."""
    stage = Stage(tmp_path / "fledx.db")
    yield Site(certificates=stage.certificates, deployments=cast(Any, stage.deployments))
    stage.store.close()


async def test_a_certificate_is_created_replaced_listed_shown_and_deleted(site: Site) -> None:
    made = await site.call("POST", ALL, json={"name": "shop", **BODY})
    taken = await site.call("POST", ALL, json={"name": "shop", **BODY})
    again = await site.call("PUT", f"{ALL}/shop", json=BODY)
    new = await site.call("PUT", f"{ALL}/other", json=BODY)
    listed = await site.call("GET", ALL)
    shown = await site.call("GET", f"{ALL}/shop")
    deleted = await site.call("DELETE", f"{ALL}/shop")
    gone = await site.call("GET", f"{ALL}/shop")

    answers = (made, taken, again, new, listed, shown, deleted, gone)
    assert [each.status for each in answers] == [201, 409, 200, 201, 200, 200, 204, 404]
    assert shown.json() in listed.json()["items"]
    for each in answers:
        assert IT.key.splitlines()[1] not in each.body.decode()


async def test_the_answers_are_as_the_description_says(site: Site) -> None:
    await site.call("POST", ALL, json={"name": "shop", **BODY})
    document = await described(site)
    for where, at in ((ALL, ALL), (f"{ALL}/{{ref}}", f"{ALL}/shop")):
        answer = await site.call("GET", at)
        schema = content_of(document, "GET", where, answer.status)
        assert not list(faults(answer.json(), schema, document))


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({}, ["name", "chain", "key"]),
        ({"name": "shop", "chain": 1, "key": "x" * 9}, ["chain"]),
        ({"name": "shop", "chain": "x", "key": {"a": IT.key}, "more": 1}, ["more", "key"]),
        ({"name": "a b", **BODY}, ["name"]),
        ({"name": "shop", "chain": IT.chain, "key": IT.key[:60]}, ["key"]),
    ],
)
async def test_a_body_that_is_none_is_refused_by_its_paths_and_never_repeated(
    site: Site, body: dict[str, Any], paths: list[str]
) -> None:
    answer = await site.call("POST", ALL, json=body)
    assert answer.status == 400
    assert [problem["path"] for problem in answer.json()["problems"]] == paths
    assert IT.key.splitlines()[1] not in answer.body.decode()


@pytest.mark.parametrize("name", ["..", "a%2fb", "%1b[31m", "x" * 300, "%00"])
async def test_a_hostile_name_finds_nothing_fault_41(site: Site, name: str) -> None:
    answer = await site.call("GET", f"{ALL}/{name}")
    assert answer.status == 404
    assert answer.json()["error"].isprintable()
