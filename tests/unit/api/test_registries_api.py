"""Registries over HTTP, on the real use cases: passwords go in and never come back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.unit.api.schemas import faults
from tests.unit.api.site import Site
from tests.unit.api.test_openapi import content_of, described
from tests.unit.control_plane.conftest import Stage

pytestmark = pytest.mark.anyio
ALL = "/api/v1/registries"
HOST = "registry.example.com:5000"
BODY = {"username": "puller", "password": "planted-0451"}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """The API on use cases with a database of their own."""
    stage = Stage(tmp_path / "fledx.db")
    yield Site(registries=stage.registries, deployments=cast(Any, stage.deployments))
    stage.store.close()


async def test_a_login_is_kept_listed_changed_and_deleted(site: Site) -> None:
    made = await site.call("PUT", f"{ALL}/{HOST}", json=BODY)
    again = await site.call("PUT", f"{ALL}/{HOST}", json={**BODY, "password": "planted-0452"})
    listed = await site.call("GET", ALL)
    shown = await site.call("GET", f"{ALL}/{HOST.upper()}")
    deleted = await site.call("DELETE", f"{ALL}/{HOST}")
    gone = await site.call("GET", f"{ALL}/{HOST}")

    assert [each.status for each in (made, again, listed, shown, deleted, gone)] == [201, 200, 200, 200, 204, 404]
    assert (made.json()["host"], again.json()["version"]) == (HOST, 2)
    assert listed.json()["items"] == [shown.json()]
    assert b"planted" not in b"".join(each.body for each in (made, again, listed, shown, gone))


@pytest.mark.parametrize(
    ("host", "body", "path"),
    [
        ("http:%2F%2Fx.example.com", BODY, "host"),
        ("%20", BODY, "host"),
        (HOST, {**BODY, "email": "planted@example.com"}, "email"),
        (HOST, {"username": "puller"}, "password"),
        (HOST, {"username": None, "password": "planted"}, "username"),
        (HOST, {"username": "puller", "password": ["planted"]}, "password"),
        (HOST, {"username": "puller", "password": "planted\x00"}, "password"),
        (HOST, {"username": "puller", "password": ""}, "password"),
    ],
)
async def test_what_is_no_login_is_refused_without_being_repeated(site: Site, host: str, body: Any, path: str) -> None:
    answer = await site.call("PUT", f"{ALL}/{host}", json=body)

    assert answer.status in (400, 404)
    if answer.status == 400:
        assert [each["path"] for each in answer.json()["problems"]] == [path]
    assert b"planted" not in answer.body


async def test_what_is_answered_is_as_described(site: Site) -> None:
    whole = await described(site)
    for method, where in (("PUT", f"{ALL}/{{ref}}"), ("GET", f"{ALL}/{{ref}}"), ("GET", ALL)):
        body = BODY if method == "PUT" else None
        answer = await site.call(method, where.replace("{ref}", HOST), json=body)
        schema = content_of(whole, method, where, answer.status)
        assert not list(faults(answer.json(), schema, whole))
