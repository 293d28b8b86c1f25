"""Nothing that a client sends is a fault of ours."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import anyio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message

from fledx.models.deployment import DeploymentSpec
from fledx.models.node import NodeFacts
from tests.unit.api.caller import Answer, _take
from tests.unit.api.site import Site

WORDS = st.sampled_from(
    (
        *(
            "",
            "a",
            "web",
            "edge-1",
            "10m",
            "-1",
            "0",
            "999999999999999999999",
            "true",
            "NaN",
            "\x00",
            "\x1b[31m",
            "é",
            "🦊",
        ),
        *(
            "a=b",
            "%",
            "../..",
            "' OR 1=1 --",
            "<script>",
            "$(id)",
            "--flag",
            "\u202e",
            "x" * 300,
            "2026-11-25T10:00:00Z",
        ),
    )
)
ROUTES = """
    / * /nope /health /metrics /openapi.json /docs /api/v1/deployments /api/v1/deployments/web
    /api/v1/deployments/web/logs /api/v1/deployments/web/watch /api/v1/nodes /api/v1/nodes/register
    /api/v1/nodes/join-tokens /api/v1/logs /api/v1/events /api/v1/status /api/v1/authority
"""
PATHS = st.sampled_from(ROUTES.split()) | WORDS.map(lambda word: f"/api/v1/deployments/{quote(word)}")
NAMES = st.sampled_from(
    (
        *("limit", "offset", "status", "name", "label", "node", "deployment", "follow", "tail", "since", "until"),
        *("replica", "kind", "after", "dry_run", "availability"),
    )
)
QUERIES = st.lists(st.tuples(NAMES | WORDS, WORDS | st.text()), max_size=4).map(
    lambda pairs: "&".join(f"{quote(name)}={quote(text)}" for name, text in pairs).encode()
) | st.binary(max_size=30)
HEADERS = st.dictionaries(
    st.sampled_from(
        (
            b"if-match idempotency-key last-event-id accept content-type content-length traceparent x-request-id"
            b" content-encoding authorization x-forwarded-for host transfer-encoding"
        ).split()
    ),
    st.binary(max_size=40)
    | st.sampled_from(
        [b"application/json", b"text/event-stream", b"Bearer operator", b"Bearer join", b"7", b"chunked"]
    ),
    max_size=5,
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | WORDS, inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted({*DeploymentSpec.__dataclass_fields__, *NodeFacts.__dataclass_fields__, "ttl_seconds", "uses"})
BODIES = (
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6).map(lambda body: json.dumps(body).encode()) | st.binary()
)


async def sent(site: Site, method: str, path: str, query: bytes, headers: dict[bytes, bytes], body: bytes) -> Answer:
    """A request by a client who leaves after it has sent everything, so that no stream goes on."""
    scope = site.call._scope(method, path, {"content-type": "application/json"}, "operator")
    scope["query_string"] = query
    scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in headers] + list(headers.items())
    messages: list[Message] = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]
    answer = Answer()

    async def receive() -> Message:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message: Message) -> None:
        _take(answer, message)

    with anyio.fail_after(60):
        await site.app(scope, receive, send)
    return answer


@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"]),
    PATHS,
    QUERIES,
    HEADERS,
    BODIES,
)
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_sent_the_answer_is_below_500_and_sound(
    method: str, path: str, query: bytes, headers: dict[bytes, bytes], body: bytes
) -> None:
    async def story() -> Answer:
        site = await Site().with_web()
        return await sent(site, method, path, query, headers, body)

    answer = anyio.run(story)

    assert answer.status < 500, answer.body
    assert b"Traceback" not in answer.body
    if answer.headers.get("content-type") == "application/json":
        found = json.loads(answer.body)
        assert answer.status < 400 or {"error", "code", "request_id"} <= found.keys()
        assert not any(character in answer.body for character in b"\x00\x1b\x07\x7f")


@given(st.sampled_from(["POST", "PUT", "PATCH"]), BODIES)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_stands_in_a_spec_it_is_taken_or_refused(method: str, body: bytes) -> None:
    async def story() -> Answer:
        site = await Site().with_web()
        return await sent(site, method, "/api/v1/deployments" + "/web" * (method != "POST"), b"", {}, body)

    assert anyio.run(story).status in (200, 201, 400, 409)
