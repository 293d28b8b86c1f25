"""Operators' tokens and the audit log over HTTP, and what is written down of refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fledx.control_plane.api.endpoint import Endpoint, action_of
from fledx.control_plane.audit import AuditFilter
from fledx.control_plane.trust.operator_tokens import MadeToken, NewToken
from fledx.models.audit import AuditEntry, Verified
from fledx.models.codec import encode
from fledx.models.token import Operator, OperatorToken
from tests.fakes.use_cases import NOW
from tests.unit.api.schemas import faults
from tests.unit.api.site import FakeAudit, Site
from tests.unit.api.test_openapi import content_of, described

pytestmark = pytest.mark.anyio
ENTRY = AuditEntry(
    id="i", number=1, created_at=NOW, action="config.create", resource_type="config", status="success", operator="me"
)


class FakeOperatorTokens:
    """One token, made and revoked."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    async def create(self, wanted: NewToken, *, by: Operator) -> MadeToken:
        self.calls.append((wanted, by.name))
        return MadeToken(token_id="t", token="fo_secret", name=wanted.name, role=wanted.role)

    def page(self, *, limit: int, offset: int) -> tuple[list[OperatorToken], int]:
        return [OperatorToken(token_id="t", name="ci", role="operator", created_at=NOW, created_by="me")], 1

    async def revoke(self, ref: str, *, by: Operator) -> None:
        self.calls.append((ref, by.name))


class ReadAudit(FakeAudit):
    """One line, and a chain that holds."""

    wanted: Any = None

    async def page(self, wanted: AuditFilter, *, limit: int, offset: int) -> tuple[list[bytes], int]:
        self.wanted = wanted
        return [json.dumps(encode(ENTRY)).encode()], 1

    async def verify(self) -> Verified:
        return Verified(intact=True, lines=1, first=1, last=1, digest="00")


@pytest.fixture
async def site() -> Site:
    return Site(operator_tokens=FakeOperatorTokens(), audit=ReadAudit())


async def test_a_token_is_made_shown_once_listed_and_revoked(site: Site) -> None:
    made = await site.call("POST", "/api/v1/tokens", json={"name": "ci", "role": "read_only"}, token="admin")
    listed = await site.call("GET", "/api/v1/tokens", token="admin")
    revoked = await site.call("DELETE", "/api/v1/tokens/ci", token="admin")

    assert (made.status, made.json()["token"]) == (201, "fo_secret")
    assert "fo_secret" not in listed.body.decode()
    assert (revoked.status, revoked.body) == (204, b"")
    assert site.operator_tokens.calls == [(NewToken(name="ci", role="read_only"), "the admin"), ("ci", "the admin")]


@pytest.mark.parametrize(("method", "path"), [("GET", "tokens"), ("POST", "tokens"), ("DELETE", "tokens/ci")])
@pytest.mark.parametrize("role", ["operator", "read_only"])
async def test_tokens_are_for_admins(site: Site, method: str, path: str, role: str) -> None:
    answer = await site.call(method, f"/api/v1/{path}", json={"name": "ci"}, token=role)

    assert (answer.status, answer.json()["error"]) == (403, f"the {role} is no admin")
    assert site.audit.known == [("authz", f"the {role}", f"{method} {answer_path(path)}: the {role} is no admin", None)]


def answer_path(path: str) -> str:
    return f"/api/v1/{path}".replace("/ci", "/{ref}")


async def test_every_role_reads_the_audit_log(site: Site) -> None:
    for role in ("admin", "operator", "read_only"):
        answer = await site.call("GET", "/api/v1/audit-logs?action=config&name=web&status=success&after=3", token=role)
        assert answer.json()["items"] == [encode(ENTRY)]
        assert (await site.call("GET", "/api/v1/audit-logs/verify", token=role)).json()["intact"] is True
    assert site.audit.wanted == AuditFilter(action="config", resource_name="web", status="success", after=3)


async def test_a_wrong_token_and_a_failed_change_are_written_down_with_who_and_why(site: Site) -> None:
    await site.call("GET", "/api/v1/nodes", token="wrong")
    await site.call("POST", "/api/v1/nodes/join-tokens", token="read_only", json={})
    await site.call("DELETE", "/api/v1/deployments/nobody")
    await site.call("POST", "/api/v1/deployments", json={"name": "web"})
    await site.call("GET", "/api/v1/deployments/nobody")

    assert [(each[0], each[1], each[3]) for each in site.audit.known] == [
        ("auth", "unknown", None),
        ("authz", "the read_only", None),
        ("deployment.delete", "the operator", "nobody"),
        ("deployment.create", "the operator", None),
    ]
    assert site.audit.known[0][2] == "GET /api/v1/nodes: this operator token is not known"


@pytest.mark.parametrize(
    ("path", "role"), [("/api/v1/tokens", "admin"), ("/api/v1/audit-logs", "admin"), ("/api/v1/audit-logs/verify", "")]
)
async def test_answers_keep_to_their_description(site: Site, path: str, role: str) -> None:
    document = await described(site)

    answer = await site.call("GET", path, token=role)

    assert list(faults(answer.json(), content_of(document, "GET", path, 200), document)) == []


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("POST", "/deployments", "deployment.create"),
        ("PATCH", "/deployments/{ref}", "deployment.update"),
        ("PUT", "/secrets/{ref}", "secret.set"),
        ("DELETE", "/tokens/{ref}", "operator_token.revoke"),
        ("POST", "/configs/{ref}/nodes/{target}", "config.attach.node"),
        ("DELETE", "/configs/{ref}/deployments/{target}", "config.detach.deployment"),
        ("POST", "/nodes/join-tokens", "join_token.create"),
        ("POST", "/deployments/{ref}/rollback", "deployment.rollback"),
    ],
)
def test_a_change_that_fails_has_a_name(method: str, path: str, action: str) -> None:
    assert action_of(Endpoint(method, f"/api/v1{path}", lambda call: None)) == action  # type: ignore[arg-type,return-value]
