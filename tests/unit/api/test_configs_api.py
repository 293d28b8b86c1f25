"""Configs and secrets over HTTP, on the real use cases: fledx-core's shapes, and values that never come back."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fledx.models.codec import decode
from fledx.models.config import ConfigSpec
from fledx.models.secret import SecretEnv
from tests.builders import spec
from tests.unit.api.schemas import faults
from tests.unit.api.site import Site
from tests.unit.api.test_openapi import content_of, described
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio
CONFIGS, SECRETS = "/api/v1/configs", "/api/v1/secrets"
FIELDS = ["name", "version", "entries", "files", "key", "value", "secret_ref", "path", "content", "content_base64"]
FIELDS += ["file_ref", "value_base64"]
BODY = {"name": "shop", "entries": [{"key": "B", "value": "2"}, {"key": "A", "value": ""}]}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """The use cases on a database of their own."""
    made = Stage(tmp_path / "fledx.db")
    yield made
    made.store.close()


@pytest.fixture
async def site(stage: Stage) -> Site:
    """The API on them."""
    return Site(
        configs=stage.configs,
        secrets=stage.secrets,
        deployments=cast(Any, stage.deployments),
        nodes=cast(Any, stage.nodes),
    )


async def test_a_config_is_created_shown_listed_changed_and_deleted(site: Site) -> None:
    made = await site.call("POST", CONFIGS, json=BODY)
    assert made.status == 201
    metadata = made.json()["metadata"]
    assert metadata.keys() == {"config_id", "name", "version", "created_at", "updated_at"}
    assert made.headers["location"] == f"{CONFIGS}/{metadata['config_id']}"
    assert made.json()["entries"] == [{"key": "A", "value": ""}, {"key": "B", "value": "2"}]

    (item,) = (await site.call("GET", CONFIGS)).json()["items"]
    assert (item["entry_count"], item["file_count"], item["metadata"]) == (2, 0, metadata)
    now = await site.call("PUT", f"{CONFIGS}/shop", json={"entries": [], "files": None})
    assert (now.status, now.json()["entries"], now.json()["metadata"]["version"]) == (200, [], 2)
    gone = await site.call("DELETE", f"{CONFIGS}/{metadata['config_id'][:8]}")
    assert (gone.status, gone.json()["name"]) == (200, "shop")
    assert (await site.call("GET", f"{CONFIGS}/shop")).status == 404


async def test_all_faults_of_a_config_are_told_together(site: Site) -> None:
    body = {
        "name": "a b",
        "entries": [{"key": "", "value": "1"}, {"key": "X"}],
        "files": [{"path": "x", "content": ""}],
    }

    answer = await site.call("POST", CONFIGS, json=body)

    assert answer.status == 400
    assert {problem["path"] for problem in answer.json()["problems"]} >= {
        "entries[0].key",
        "entries[1]",
        "files[0].path",
    }


async def test_attaching_is_201_once_and_200_again_and_detaching_200_always(site: Site, stage: Stage) -> None:
    await stage.node("edge-1")
    await stage.deployments.create(spec(), by=ME)
    await site.call("POST", CONFIGS, json=BODY)

    for path, key in (
        (f"{CONFIGS}/shop/deployments/web", "deployment_id"),
        (f"{CONFIGS}/shop/nodes/edge-1", "node_id"),
    ):
        first, again = await site.call("POST", path), await site.call("POST", path)
        assert (first.status, again.status) == (201, 200)
        assert first.json()["attached_at"] == again.json()["attached_at"]
        assert key in first.json()
    shown = (await site.call("GET", f"{CONFIGS}/shop")).json()
    assert (shown["deployments"], shown["nodes"]) == (["web"], ["edge-1"])
    for path in (f"{CONFIGS}/shop/deployments/web", f"{CONFIGS}/shop/nodes/edge-1"):
        for _ in range(2):
            gone = await site.call("DELETE", path)
            assert (gone.status, gone.json()["attached"]) == (200, False)
            assert "attached_at" not in gone.json()
    assert "no config 'shp'" in (await site.call("POST", f"{CONFIGS}/shp/deployments/web")).json()["error"]
    assert "no deployment 'wb'" in (await site.call("POST", f"{CONFIGS}/shop/deployments/wb")).json()["error"]


@pytest.mark.parametrize(
    "given",
    [
        {"json": {"value": "hunter2"}},
        {"json": {"value_base64": base64.b64encode(b"hunter2").decode()}},
        {"body": b"hunter2", "headers": {"content-type": "application/octet-stream"}},
    ],
)
async def test_a_secret_is_taken_in_each_form_and_never_given_back(
    site: Site, stage: Stage, given: dict[str, Any]
) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(secret_env=(SecretEnv(name="P", secret="db"),)), by=ME)

    made = await site.call("PUT", f"{SECRETS}/db", **given)
    again = await site.call("PUT", f"{SECRETS}/db", **given)
    listed = await site.call("GET", SECRETS)
    shown = await site.call("GET", f"{SECRETS}/db")

    assert (made.status, again.status, listed.json()["total"]) == (201, 200, 1)
    assert shown.json()["used_by"] == ["web"]
    for answer in (made, again, listed, shown):
        assert b"hunter2" not in answer.body
        assert base64.b64encode(b"hunter2") not in answer.body
    await stage.deployments.patch("web", {"image": "web:2"}, by=ME)
    assert stage.secrets.get("db").version == 1
    assert [event for event in stage.happened() if "hunter2" in repr(event)] == []
    assert node


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"value": 4711},
        {"value": ["hunter2"]},
        {"value": "hunter2", "value_base64": "aHVudGVyMg=="},
        {"value_base64": "hunter2!"},
        {"vlaue": "hunter2"},
        {"value": None},
    ],
)
async def test_a_refused_secret_is_not_repeated_in_the_refusal(site: Site, body: dict[str, Any]) -> None:
    answer = await site.call("PUT", f"{SECRETS}/db", json=body)

    assert answer.status == 400
    assert b"hunter2" not in answer.body
    assert b"4711" not in answer.body


async def test_a_secret_in_use_is_deleted_by_force_only(site: Site, stage: Stage) -> None:
    await site.call("PUT", f"{SECRETS}/db", json={"value": "hunter2"})
    await stage.deployments.create(spec(secret_env=(SecretEnv(name="P", secret="db"),)), by=ME)

    refused = await site.call("DELETE", f"{SECRETS}/db")
    assert (refused.status, "is used by web" in refused.json()["error"]) == (409, True)
    assert (await site.call("DELETE", f"{SECRETS}/db?force=true")).status == 204
    assert (await site.call("DELETE", f"{SECRETS}/db")).status == 404


async def test_the_environment_says_where_everything_is_from_and_no_values(site: Site, stage: Stage) -> None:
    await stage.node("edge-1")
    await site.call("POST", CONFIGS, json={"name": "base", "entries": [{"key": "A", "value": "plain-value"}]})
    await site.call("POST", f"{CONFIGS}/base/nodes/edge-1")
    files = [{"path": "/etc/x", "content": "file-content"}]
    await site.call("POST", CONFIGS, json={"name": "shop", "entries": BODY["entries"][:1], "files": files})
    secret = SecretEnv(name="P", secret="db")
    await stage.deployments.create(spec(env={"OWN": "own-value"}, secret_env=(secret,)), by=ME)

    found = (await site.call("GET", "/api/v1/deployments/web/env")).json()
    assert found["node"] == "edge-1"
    assert [(each["name"], each["origin"]) for each in found["variables"]] == [
        ("A", "node config base"),
        ("OWN", "env"),
        ("P", "secret env"),
    ]
    assert found["variables"][2]["missing"] is True
    assert {each["value"] for each in found["variables"]} == {"********"}
    await site.call("PUT", f"{SECRETS}/db", json={"value": "hunter2"})
    answer = await site.call("GET", "/api/v1/deployments/web/env?replica=7")
    assert (answer.status, answer.json()["error"]) == (404, "no replica 7 of 'web'")


async def test_every_answer_keeps_to_its_description(site: Site, stage: Stage) -> None:
    await stage.node("edge-1")
    await stage.deployments.create(spec(), by=ME)
    document = await described(site)
    requests: list[tuple[str, str, str, Any]] = [
        ("POST", CONFIGS, CONFIGS, BODY),
        ("GET", CONFIGS, CONFIGS, None),
        ("GET", f"{CONFIGS}/shop", f"{CONFIGS}/{{ref}}", None),
        ("PUT", f"{CONFIGS}/shop", f"{CONFIGS}/{{ref}}", {"entries": []}),
        ("POST", f"{CONFIGS}/shop/deployments/web", f"{CONFIGS}/{{ref}}/deployments/{{target}}", None),
        ("POST", f"{CONFIGS}/shop/deployments/web", f"{CONFIGS}/{{ref}}/deployments/{{target}}", None),
        ("DELETE", f"{CONFIGS}/shop/nodes/edge-1", f"{CONFIGS}/{{ref}}/nodes/{{target}}", None),
        ("PUT", f"{SECRETS}/db", f"{SECRETS}/{{ref}}", {"value": "x"}),
        ("PUT", f"{SECRETS}/db", f"{SECRETS}/{{ref}}", {"value": "y"}),
        ("GET", f"{SECRETS}/db", f"{SECRETS}/{{ref}}", None),
        ("GET", SECRETS, SECRETS, None),
        ("GET", "/api/v1/deployments/web/env", "/api/v1/deployments/{ref}/env", None),
        ("DELETE", f"{CONFIGS}/shop", f"{CONFIGS}/{{ref}}", None),
    ]

    for method, path, template, body in requests:
        answer = await site.call(method, path, json=body)
        assert answer.status < 300, answer.body
        schema = content_of(document, method, template, answer.status)
        assert list(faults(answer.json(), schema, document)) == [], (method, path)


PATHS = ("", "/shop", "/nix", "/shop/deployments/web", "/shop/nodes/edge-1", "/%00", "/a%2fb", "/db", "/db?force=yes")
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["A", "/x", "\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=10,
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]),
            st.sampled_from([CONFIGS, SECRETS, "/api/v1/deployments/web/env"]),
            st.sampled_from(PATHS),
            st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5).map(lambda body: json.dumps(body).encode())
            | st.binary(max_size=40),
            st.sampled_from(["application/json", "application/octet-stream"]),
        ),
        min_size=5,
        max_size=15,
    )
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_sent_the_answer_is_below_500(calls: list[tuple[str, str, str, bytes, str]]) -> None:
    async def story() -> None:
        with tempfile.TemporaryDirectory() as folder:
            stage = Stage(Path(folder) / "fledx.db")
            await stage.node("edge-1")
            await stage.deployments.create(spec(), by=ME)
            await stage.configs.create(decode(ConfigSpec, BODY), by=ME)
            site = Site(configs=stage.configs, secrets=stage.secrets)
            for method, root, path, body, kind in calls:
                answer = await site.call(method, root + path, body=body, headers={"content-type": kind})
                assert answer.status < 500, (method, root + path, body, answer.body)
            stage.store.close()

    anyio.run(story)
