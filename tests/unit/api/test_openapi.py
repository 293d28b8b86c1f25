"""The description of the API, and whether the API keeps to it."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from fledx.models.deployment import Deployment, DeploymentSpec, Pending, Rollout
from fledx.models.instance import Instance
from fledx.settings.control_plane import ControlPlaneSettings
from tests.fakes.use_cases import NOW, log_line
from tests.unit.api.caller import Answer
from tests.unit.api.schemas import faults, resolved
from tests.unit.api.site import Site

pytestmark = pytest.mark.anyio
V1 = "/api/v1"
WHOLE_SPEC = {
    "name": "web",
    "image": "nginx:1.27",
    "replicas": 2,
    "command": ["nginx"],
    "entrypoint": ["/init", "--"],
    "env": {"A": "b"},
    "secret_env": [{"name": "TOKEN", "secret": "token"}],
    "secret_files": [{"path": "/run/key", "secret": "key", "optional": True}],
    "ports": [{"container_port": 80, "host_port": None, "protocol": "tcp", "expose": True, "host_ip": "10.0.0.1"}],
    "volumes": [{"host_path": "/var/lib/fledx/volumes/a", "container_path": "/data", "read_only": True}],
    "health": {
        "liveness": {"type": "http", "port": 80, "path": "/"},
        "readiness": {"type": "exec", "command": ["true"]},
    },
    "limits": {"cpu_millis": 500, "memory_bytes": 67108864, "pids": 100},
    "labels": {"tier": "front"},
    "constraints": {"arch": "amd64", "labels": {"disk": "ssd"}, "capacity": {"cpu_millis": 100}},
    "placement": {"affinity": {"node_ids": ["edge-1"]}, "spread": True},
    "update": {"max_unavailable": 2, "on_failure": "pause"},
    "restart": "on_failure",
    "stop_grace_seconds": 3,
    "requires_public_ip": True,
}


async def described(site: Site) -> dict[str, Any]:
    document: dict[str, Any] = (await site.caller(token=None)("GET", "/openapi.json")).json()
    return document


def content_of(document: dict[str, Any], method: str, path: str, status: int) -> dict[str, Any]:
    answer = document["paths"][path][method.lower()]["responses"][str(status)]
    answer = resolved(answer["$ref"], document) if "$ref" in answer else answer
    found: dict[str, Any] = answer["content"]["application/json"]["schema"]
    return found


async def test_every_answer_keeps_to_its_description(site: Site) -> None:
    site.nodes.add("edge-1")
    site.events.happen("deployment.created")
    document = await described(site)
    one, ref = f"{V1}/deployments/web", f"{V1}/deployments/{{ref}}"
    requests: list[tuple[str, str, str, Any]] = [
        ("POST", f"{V1}/deployments", f"{V1}/deployments", WHOLE_SPEC),
        ("POST", f"{V1}/deployments?dry_run", f"{V1}/deployments", WHOLE_SPEC),
        ("GET", f"{V1}/deployments", f"{V1}/deployments", None),
        ("GET", one, ref, None),
        ("PATCH", one, ref, {"replicas": 3}),
        ("PUT", one, ref, {"name": "web", "image": "caddy"}),
        ("GET", f"{V1}/nodes", f"{V1}/nodes", None),
        ("GET", f"{V1}/nodes/edge-1", f"{V1}/nodes/{{ref}}", None),
        ("POST", f"{V1}/nodes/register", f"{V1}/nodes/register", {"name": "edge-2"}),
        ("POST", f"{V1}/nodes/join-tokens", f"{V1}/nodes/join-tokens", {"uses": None}),
        ("GET", f"{V1}/events", f"{V1}/events", None),
        ("GET", f"{V1}/status", f"{V1}/status", None),
        ("GET", f"{V1}/authority", f"{V1}/authority", None),
        ("GET", "/health", "/health", None),
        ("GET", f"{V1}/deployments?limit=0", f"{V1}/deployments", None),
        ("GET", f"{V1}/deployments/nix", ref, None),
        ("POST", f"{V1}/deployments", f"{V1}/deployments", {"image": ""}),
        ("POST", f"{V1}/nodes/register", f"{V1}/nodes/register", {"name": "edge-2"}),
    ]

    for method, path, template, body in requests:
        answer = await site.call(method, path, json=body)
        schema = content_of(document, method, template, answer.status)
        assert list(faults(answer.json(), schema, document)) == [], (method, path)


async def test_what_the_whole_spec_is_described_as_lets_it_pass(site: Site) -> None:
    document = await described(site)
    schema = document["paths"][f"{V1}/deployments"]["post"]["requestBody"]["content"]["application/json"]["schema"]

    assert list(faults(WHOLE_SPEC, schema, document)) == []
    assert list(faults({"image": "nginx", "replica": 1}, schema, document)) == [": replica is not described"]
    assert list(faults({}, schema, document)) == [": image is missing"]
    assert list(faults({"image": "nginx", "replicas": 0}, schema, document)) != []


async def test_changes_may_be_null_in_any_field(site: Site) -> None:
    document = await described(site)
    body = document["paths"][f"{V1}/deployments/{{ref}}"]["patch"]["requestBody"]
    changes = {field.name: None for field in dataclasses.fields(DeploymentSpec)}

    assert list(faults(changes, body["content"]["application/json"]["schema"], document)) == []


async def test_a_deployment_in_every_state_keeps_to_its_description(site: Site) -> None:
    document = await described(site)
    instance = Instance(deployment_id="d", replica_number=0, state="failed", exit_code=1, last_updated=NOW)
    await site.call("POST", f"{V1}/deployments", json=WHOLE_SPEC)
    site.deployments.known["web"] = dataclasses.replace(
        site.deployments.known["web"],
        status="failed",
        reason="replica 0: exit code 1",
        instances=(instance,),
        instance=instance,
        pending=(Pending(replica_number=1, reason="no node"),),
        rollout=Rollout(state="paused", revision=2, updated=1, wanted=2, reason="because", since=NOW),
        last_reported=NOW,
    )

    found = (await site.call("GET", f"{V1}/deployments/web")).json()

    assert list(faults(found, {"$ref": "#/components/schemas/Deployment"}, document)) == []
    assert {"reason", "instances", "pending", "rollout"} <= found.keys()


async def test_every_route_is_described_and_every_description_has_a_route(site: Site) -> None:
    document = await described(site)

    assert set(document["paths"]) == {getattr(route, "path", "") for route in site.app.routes}
    for path, item in document["paths"].items():
        allowed = (
            (await site.call("OPTIONS", path.replace("{ref}", "x").replace("{target}", "y")))
            .headers["allow"]
            .split(", ")
        )
        assert {method.upper() for method in item if method != "parameters"} == set(allowed) - {"HEAD", "OPTIONS"}


async def test_every_operation_has_a_name_of_its_own_a_sentence_and_its_access(site: Site) -> None:
    document = await described(site)
    operations = [
        (path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    ]

    names = [operation["operationId"] for _, operation in operations]
    assert len(set(names)) == len(names)
    for path, operation in operations:
        assert re.fullmatch(r"[A-Z].*\.", operation["summary"], re.DOTALL), path
    public = {path for path, operation in operations if operation["security"] == []}
    assert public == {"/health", "/openapi.json", "/docs", "/artifact/fledx.pyz", f"{V1}/authority"}


async def test_every_reference_leads_somewhere(site: Site) -> None:
    document = await described(site)

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                resolved(value["$ref"], document)
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(document)
    assert document["openapi"] == "3.1.0"


async def test_every_field_of_a_deployment_is_described(site: Site) -> None:
    document = await described(site)

    described_fields = set(document["components"]["schemas"]["Deployment"]["properties"])
    assert described_fields == {field.name for field in dataclasses.fields(Deployment)}


async def test_lines_and_events_are_described_by_their_items(site: Site) -> None:
    document = await described(site)
    site.logs.items = [log_line(0, "tick")]

    logs = document["paths"][f"{V1}/logs"]["get"]["responses"]["200"]["content"]["application/x-ndjson"]["schema"]
    line = (await site.call("GET", f"{V1}/logs")).json()
    assert list(faults(line, logs, document)) == []
    events = document["paths"][f"{V1}/events"]["get"]["responses"]["200"]["content"]
    assert set(events) == {"application/json", "text/event-stream"}


async def test_the_page_for_people_needs_nothing_from_elsewhere(site: Site) -> None:
    answer: Answer = await site.caller(token=None)("GET", "/docs")
    text = answer.body.decode()

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"<script|src=|https?://|@import|url\(", text)
    for path in (await described(site))["paths"]:
        assert f"<code>{path}</code>" in text
    anchors = set(re.findall(r'href="#([^"]+)"', text))
    assert anchors <= set(re.findall(r'id="([^"]+)"', text))


async def test_a_name_in_the_settings_cannot_write_html() -> None:
    site = Site(settings=ControlPlaneSettings(operator_header_name="<script>"))

    assert b"<script" not in (await site.call("GET", "/docs")).body
