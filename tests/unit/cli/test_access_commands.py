"""`fledx tokens` and `fledx audit`: what is asked for, what is printed."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest

from fledx.cli.views.text import UNSAFE
from tests.fakes.transport import Answer, json_answer
from tests.unit.cli.harness import HOSTILE, Cli, ago, joined, lines, page
from tests.unit.cli.test_usage_commands import minute

TOKEN = "44444444-dddd-4ddd-8ddd-444444444444"
MADE = {"token_id": TOKEN, "token": "fo_abc", "name": "ci", "role": "operator"}


def token(**fields: Any) -> dict[str, Any]:
    base = {"token_id": TOKEN, "name": "ci", "role": "operator", "created_at": ago(3600), "created_by": "admin"}
    return {**base, **fields}


def line(number: int, **fields: Any) -> dict[str, Any]:
    base = {
        "id": f"id-{number}",
        "number": number,
        "created_at": ago(60 * number),
        "action": "deployment.update",
        "resource_type": "deployment",
        "status": "success",
        "operator": "alice",
        "operator_role": "operator",
        "source": "198.51.100.7",
        "request_id": "r-1",
        "resource_name": "web",
        "before": {"replicas": 1},
        "after": {"replicas": 3},
    }
    return {**base, **fields}


@pytest.mark.parametrize("words", [("ci",), ("--name", "ci")])
def test_a_new_token_is_all_that_goes_to_stdout(words: tuple[str, ...]) -> None:
    cli = Cli({"POST /api/v1/tokens": json_answer({**MADE, "expires_at": "2026-12-18T00:00:00.000Z"}, 201)})

    assert 0 == cli.run("tokens", "create", *words, "--role", "operator", "--ttl", "30d")

    assert "fo_abc\n" == cli.shown
    assert "ci is operator until 2026-12-18T00:00:00Z; the token is shown this once\n" == cli.said
    assert {"name": "ci", "role": "operator", "ttl_seconds": 30 * 86400.0} == cli.body("POST")


@pytest.mark.parametrize("words", [(), ("a", "--name", "b"), ("a", "--role", "root"), ("a", "--ttl", "0")])
def test_what_is_no_token_is_not_asked_for(words: tuple[str, ...]) -> None:
    cli = Cli()

    assert 2 == cli.run("tokens", "create", *words)

    assert [] == cli.asked()


def test_tokens_are_listed_with_what_they_are_good_for() -> None:
    items = [
        token(last_used_at=ago(90), expires_at=ago(-86400 * 30)),
        token(name="old", expires_at=ago(1), role="admin"),
        token(name=HOSTILE[:4], revoked_at=ago(5), role="read_only"),
    ]
    cli = Cli({"GET /api/v1/tokens": page(*items)})

    assert 0 == cli.run("tokens", "list")

    assert joined(lines(cli.shown)) == (
        "NAME     ROLE       STATE                         USED  AGE  ID\n"
        "ci       operator   good until 2026-12-18T11:06Z  90s   60m  44444444\n"
        "old      admin      expired                       -     60m  44444444\n"
        "\\x1b[2J  read_only  revoked                       -     60m  44444444\n"
    )


def test_no_tokens_is_said_with_what_to_do() -> None:
    cli = Cli({"GET /api/v1/tokens": page()})

    assert 0 == cli.run("tokens", "list")

    assert "No tokens but those of the settings. `fledx tokens create NAME` makes one.\n" == cli.shown


def test_tokens_are_revoked_by_name_after_a_question_on_a_terminal() -> None:
    cli = Cli({"DELETE /api/v1/tokens/": Answer(status=204)})
    cli.typed = "n\n"
    assert 1 == cli.run("tokens", "revoke", "ci", tty=True)
    assert [] == cli.asked()

    assert 0 == cli.run("tokens", "rm", "ci", "44444444", "--yes", tty=True)

    assert ["DELETE /api/v1/tokens/ci", "DELETE /api/v1/tokens/44444444"] == cli.asked()


def test_the_audit_log_reads_from_old_to_new() -> None:
    failed = line(1, status="failure", payload="bob is no admin", action="authz", operator="bob", resource_name=None)
    created = line(2, action="deployment.create", before=None)
    cli = Cli({"GET /api/v1/audit-logs": page(line(3), created, failed)})

    assert 0 == cli.run("audit", "--operator", "alice", "--since", "2h", "--on", "web")

    assert joined(lines(cli.shown)) == (
        "NO  AGO  WHO    DID                TO   WHAT\n"
        "1   60s  bob    authz              -    failed: bob is no admin\n"
        "2   2m   alice  deployment.create  web\n"
        "3   3m   alice  deployment.update  web  replicas: 1 -> 3\n"
    )
    assert ["GET /api/v1/audit-logs?limit=50&offset=0&name=web&operator=alice&since=2h"] == cli.asked()


def test_what_was_done_inside_a_replica_is_told_with_its_command() -> None:
    asked = {"replica": 0, "node": "edge-1", "command": ["sh", "-c", "id"]}
    ended = {"replica": 0, "seconds": 1.5, "bytes_in": 0, "bytes_out": 40}
    items = [
        line(2, action="deployment.exec_end", resource_name="web", before=None, after=ended),
        line(1, action="deployment.exec", resource_name="web", before=None, after=asked),
    ]
    cli = Cli({"GET /api/v1/audit-logs": page(*items)})

    assert cli.run("audit") == 0
    assert 'deployment.exec      web  replica: 0, node: edge-1, command: ["sh","-c","id"]' in cli.shown
    assert "deployment.exec_end  web  replica: 0, seconds: 1.5, bytes_in: 0, bytes_out: 40" in cli.shown


def test_wide_tells_the_role_the_address_and_the_request() -> None:
    cli = Cli({"GET /api/v1/audit-logs": page(line(1))})

    assert 0 == cli.run("audit", "list", "--wide")

    assert lines(cli.shown)[1].split()[2:6] == ["alice", "operator", "198.51.100.7", "r-1"]


def test_a_followed_log_goes_on_where_it_was() -> None:
    cli = Cli({"GET /api/v1/audit-logs": [page(line(1)), page(line(2)), KeyboardInterrupt()]})

    assert 130 == cli.run("audit", "--follow")

    assert [text.split("  ")[2] for text in lines(cli.shown)] == ["deployment.update"] * 2
    assert [each.rpartition("&")[2] for each in cli.asked()[1:]] == ["after=1", "after=2"]


WHOLE = {"intact": True, "lines": 2, "first": 1, "last": 2, "digest": "ab12"}


@pytest.mark.parametrize(
    ("found", "code", "told"),
    [
        (WHOLE, 0, "the audit log is whole: 2 lines, 1 to 2; its end is ab12"),
        ({"intact": True, "lines": 0}, 0, "the audit log is empty"),
        (
            {"intact": False, "lines": 1, "fault": "line 2 is missing"},
            1,
            "fledx: the audit log was tampered with: line 2 is missing",
        ),
    ],
)
def test_a_checked_log_says_whether_it_is_whole(found: dict[str, Any], code: int, told: str) -> None:
    cli = Cli({"GET /api/v1/audit-logs/verify": json_answer(found)})

    assert code == cli.run("audit", "verify")

    assert told in (cli.said if code else cli.shown)
    assert code == cli.run("audit", "verify", "--json")
    assert found == json.loads(cli.shown)


def test_a_verb_nobody_knows_is_not_taken_for_a_flags_value() -> None:
    cli = Cli({"GET /api/v1/audit-logs": page(line(1))})

    assert 2 == cli.run("audit", "verfy")
    assert "verify" in cli.said
    assert 0 == cli.run("audit", "--limit", "5")


def poisoned(value: Any) -> Any:
    """The same with every text made hostile."""
    if isinstance(value, dict):
        return {key: poisoned(item) for key, item in value.items()}
    return HOSTILE if isinstance(value, str) else value


@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml", "name"])
@pytest.mark.parametrize(
    "words", [["tokens", "list"], ["audit"], ["audit", "verify"], ["usage", "list", "--node", "x"], ["metrics", "show"]]
)
def test_nothing_that_is_shown_can_harm_a_terminal(words: list[str], form: str) -> None:
    failed = line(2, status="failure", payload="p")
    asked = poisoned({"method": "m", "path": "p", "status": "s", "count": 1})
    cli = Cli(
        {
            "GET /api/v1/tokens": page(poisoned(token(expires_at="e", last_used_at="l"))),
            "GET /api/v1/audit-logs": page(poisoned(line(1)), poisoned(failed)),
            "GET /api/v1/audit-logs/verify": json_answer(poisoned(WHOLE)),
            "GET /api/v1/usage": page(poisoned(minute())),
            "GET /api/v1/metrics/summary": json_answer({"items": [asked], "window_secs": 60}),
        }
    )

    assert 0 == cli.run(*words, "-o", form)
    for text in (cli.shown, cli.said):
        assert all(character == "\n" or unicodedata.category(character) not in UNSAFE for character in text)
