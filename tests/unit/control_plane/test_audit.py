"""Who did what is written down with the change itself, and nobody can mend it unseen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fledx.control_plane.audit import BURST, SOURCE_BURST, AuditFilter
from fledx.control_plane.store.audit import Chain
from fledx.control_plane.trust.operator_tokens import NewToken
from fledx.errors import Conflict
from fledx.models.audit import entry, kept
from fledx.models.config import ConfigSpec
from fledx.models.deployment import DeploymentSpec
from fledx.models.moment import stamp
from fledx.models.token import Operator
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio
ALICE = Operator(name="alice", role="operator", source="198.51.100.7", token_id="t-1", request_id="r-1")
SPEC = DeploymentSpec(name="web", image="nginx", env={"MODE": "a", "DB_PASSWORD": "hunter2hunter2"})


async def lines(stage: Stage, **wanted: Any) -> list[dict[str, Any]]:
    """The lines, oldest first."""
    found, _ = await stage.audit.page(AuditFilter(**{"after": 0, **wanted}), limit=500, offset=0)
    return [json.loads(each) for each in found]


async def busy(stage: Stage, count: int = 5) -> None:
    """So many lines."""
    for number in range(count):
        await stage.audit.refused(f"test.{number}", Operator(name="x", source=f"192.0.2.{number}"), "no")


async def test_a_line_tells_who_did_what_from_where_and_what_changed(stage: Stage) -> None:
    made = await stage.deployments.create(SPEC, by=ALICE)
    await stage.deployments.patch("web", {"env": {"MODE": "b", "DB_PASSWORD": "hunter3hunter3"}}, by=ALICE)

    created, updated = await lines(stage)

    assert (created["action"], created["resource_type"], created["resource_id"], created["resource_name"]) == (
        "deployment.create",
        "deployment",
        made.deployment_id,
        "web",
    )
    assert (created["operator"], created["operator_role"], created["operator_token_id"]) == ("alice", "operator", "t-1")
    assert (created["source"], created["request_id"], created["status"]) == ("198.51.100.7", "r-1", "success")
    assert created["created_at"] == stamp(stage.now)
    assert updated["before"] == {"env": {"MODE": "a", "DB_PASSWORD": "<redacted>"}}
    assert updated["after"] == {"env": {"MODE": "b", "DB_PASSWORD": "<redacted>"}}
    assert "hunter" not in json.dumps([created, updated])


async def test_what_was_undone_left_no_line(stage: Stage) -> None:
    await stage.deployments.create(SPEC, by=ALICE)

    with pytest.raises(Conflict):
        await stage.deployments.create(SPEC, by=ALICE)
    await stage.deployments.preview(DeploymentSpec(name="other", image="nginx"), by=ALICE)

    assert [each["action"] for each in await lines(stage)] == ["deployment.create"]
    assert (await stage.audit.verify()).intact


async def test_every_kind_of_change_has_its_line(stage: Stage) -> None:
    await stage.deployments.create(SPEC, by=ALICE)
    await stage.deployments.patch("web", {"desired_state": "stopped"}, by=ALICE)
    await stage.deployments.patch("web", {"desired_state": "running"}, by=ALICE)
    await stage.configs.create(ConfigSpec(name="conf"), by=ALICE)
    await stage.configs.update("conf", {"name": "conf2"}, by=ALICE)
    await stage.configs.attach("conf2", "deployment", "web", by=ALICE)
    await stage.configs.detach("conf2", "deployment", "web", by=ALICE)
    await stage.configs.delete("conf2", by=ALICE)
    await stage.secrets.put("key", b"s3cr3t", by=ALICE)
    await stage.secrets.delete("key", by=ALICE)
    await stage.operator_tokens.create(NewToken(name="ci"), by=ALICE)
    await stage.operator_tokens.revoke("ci", by=ALICE)
    await stage.tokens.create_join(ttl_seconds=60, uses=1, by=ALICE)
    await stage.deployments.delete("web", by=ALICE)
    await stage.node("edge-1")

    assert [each["action"] for each in await lines(stage)] == [
        *("deployment.create", "deployment.stop", "deployment.start"),
        *("config.create", "config.update", "config.attach.deployment", "config.detach.deployment", "config.delete"),
        *("secret.set", "secret.delete", "operator_token.create", "operator_token.revoke"),
        *("join_token.create", "deployment.delete", "node.register"),
    ]
    assert (await stage.audit.verify()).lines == 15


async def test_lines_are_found_by_what_they_are_about(stage: Stage) -> None:
    await stage.deployments.create(SPEC, by=ALICE)
    await stage.configs.create(ConfigSpec(name="conf"), by=ME)
    stage.now += 100
    await stage.audit.refused("authz", ALICE, "alice is no admin")

    for wanted, count in (
        ({"action": "deployment"}, 1),
        ({"action": "deployment.create"}, 1),
        ({"action": "deploy"}, 0),
        ({"operator": "alice"}, 2),
        ({"status": "failure"}, 1),
        ({"resource_name": "conf"}, 1),
        ({"since": stamp(stage.now)}, 1),
        ({"until": stamp(stage.now - 1)}, 2),
        ({"after": 2}, 1),
    ):
        assert len(await lines(stage, **wanted)) == count, wanted
    newest, total = await stage.audit.page(AuditFilter(), limit=1, offset=0)
    assert (json.loads(newest[0])["action"], total) == ("authz", 3)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("UPDATE audit SET body = replace(body, 'test.2', 'test.9') WHERE number = 3", "line 3 does not fit"),
        ("DELETE FROM audit WHERE number = 3", "line 3 is missing"),
        ("DELETE FROM audit WHERE number IN (3, 4)", "lines 3 to 4 are missing"),
        ("DELETE FROM audit WHERE number = 1", "line 1 is missing"),
        ("DELETE FROM audit WHERE number = 5", "lines at the end are missing"),
        ("DELETE FROM audit", "lines at the end are missing"),
        ("DELETE FROM audit_bound", "the mark of the log's end is missing"),
        ("UPDATE audit_bound SET number = 4", "was not made with this control plane's key"),
        ("UPDATE audit SET number = number + 10", "lines 1 to 10 are missing"),
        ("INSERT INTO audit SELECT 6, body, digest FROM audit WHERE number = 2", "line 6 does not fit"),
        ("UPDATE audit SET body = (SELECT body FROM audit WHERE number = 1) WHERE number = 2", "line 2 does not fit"),
    ],
)
async def test_whatever_is_done_to_the_table_is_found_out(stage: Stage, harm: str, told: str) -> None:
    await busy(stage)
    assert (await stage.audit.verify()).intact

    await stage.store.write(lambda sql: sql.execute(harm))

    found = await stage.audit.verify()
    assert not found.intact
    assert told in str(found.fault)


async def test_who_knows_the_chain_but_not_its_key_cannot_mend_it(stage: Stage) -> None:
    await busy(stage)
    forger = Chain(b"a guess")

    def forge(sql: Any) -> None:
        sql.execute("DELETE FROM audit")
        sql.execute("DELETE FROM audit_bound")
        forger.append(sql, entry(stamp(0), "test.forged", Operator(name="nobody")))

    await stage.store.write(forge)

    assert not (await stage.audit.verify()).intact


async def test_what_has_become_too_old_goes_and_the_rest_still_holds(stage: Stage) -> None:
    await busy(stage, 3)
    stage.now += 1000
    await busy(stage, 2)

    for _ in range(2):
        await stage.act(lambda tx: tx._chain.prune(tx.sql, stamp(stage.now - 1)))
        found = await stage.audit.verify()
        assert (found.intact, found.lines, found.first, found.last) == (True, 2, 4, 5)

    await stage.store.write(lambda sql: sql.execute("DELETE FROM audit WHERE number = 4"))
    assert (await stage.audit.verify()).fault == "line 4 is missing"


async def test_the_newest_line_stays_however_old_it_is(stage: Stage) -> None:
    await busy(stage, 2)

    await stage.act(lambda tx: tx._chain.prune(tx.sql, stamp(stage.now + 1000)))
    await busy(stage, 1)

    assert [each["number"] for each in await lines(stage)] == [2, 3]
    assert (await stage.audit.verify()).intact


async def test_refusals_of_one_source_are_few_and_the_others_are_counted(stage: Stage) -> None:
    guesser = Operator(name="unknown", role="none", source="203.0.113.66")
    for _ in range(SOURCE_BURST + 30):
        await stage.audit.refused("auth", guesser, "not known")
    assert len(await lines(stage)) == SOURCE_BURST

    await stage.audit.refused("authz", ALICE, "alice is no admin")

    assert (await lines(stage))[-1]["payload"] == "alice is no admin (and 30 more before, not written down)"


async def test_refusals_of_all_sources_together_are_bounded_too(stage: Stage) -> None:
    for number in range(BURST * 3):
        guesser = Operator(name="unknown", source=f"203.0.{number}.1")
        await stage.audit.refused("auth", guesser, "not known")
    assert len(await lines(stage)) == BURST

    stage.now += 86400
    for number in range(BURST * 3):
        await stage.audit.refused("auth", Operator(name="unknown", source=f"203.1.{number}.1"), "not known")

    assert len(await lines(stage)) == BURST * 2


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"token": "abc"}, {"token": "<redacted>"}),
        ({"env": {"API_KEY": "x", "MODE": "y"}}, {"env": {"API_KEY": "<redacted>", "MODE": "y"}}),
        ({"secret_env": [{"name": "A", "secret": "b"}]}, {"secret_env": [{"name": "A", "secret": "b"}]}),
        ({"entries": [{"key": "PASSWORD", "value": "x"}]}, {"entries": [{"key": "PASSWORD", "value": "<redacted>"}]}),
        ({"command": ["sh", "-c", "curl -H 'Authorization: Bearer abc'"]}, {"command": ["sh", "-c", "<redacted>"]}),
        ({"url": "postgres://me:pw@db/x"}, {"url": "<redacted>"}),
        ({"cert": "-----BEGIN PRIVATE KEY-----"}, {"cert": "<redacted>"}),
        ({"token": None, "uses": 1}, {"token": None, "uses": 1}),
        ({"big": "x" * 10000}, {"bytes": 10011, "fields": ["big"]}),
    ],
)
def test_no_secret_comes_into_a_line(facts: dict[str, Any], expected: dict[str, Any]) -> None:
    assert kept(facts) == expected
