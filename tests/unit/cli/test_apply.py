"""`fledx deployments apply`: what files say, against what there is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings

from fledx.cli.output import document
from fledx.cli.views.differences import differences
from fledx.cli.views.files import MAX_BYTES, read_documents
from fledx.cli.views.spec import asked_for
from fledx.models.codec import decode, encode
from fledx.models.deployment import DeploymentSpec
from tests import specs
from tests.fakes.transport import error_answer, events_answer, json_answer
from tests.fakes.use_cases import deployment as shown_as
from tests.unit.cli.harness import HOSTILE, Cli, deployment, page

ONE = "/api/v1/deployments/11111111-aaaa-4aaa-8aaa-111111111111"
LIST = "GET /api/v1/deployments?"
SPEC = "name: web\nimage: nginx:1.27\nports:\n- container_port: 80\n"


def applied(cli: Cli, text: str, *words: str) -> int:
    cli.typed = text
    return cli.run("deployments", "apply", "-f", "-", *words)


def test_each_field_of_a_spec_is_in_the_property() -> None:
    assert {field.name for field in dataclasses.fields(DeploymentSpec)} <= set(specs.FIELDS)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(specs.specs())
@example(DeploymentSpec(name="a", image="b", env={"A": "\x85\x1b[31m\ttab\r\n\u2028", "B": "1.0e5", "C": ""}))
def test_an_exported_spec_is_read_back_as_it_was(spec: DeploymentSpec) -> None:
    exported = asked_for(encode(shown_as(spec)))
    for form in ("yaml", "json"):
        (found,) = read_documents(document(exported, form).encode(), "it")
        assert spec == decode(DeploymentSpec, found)
        assert [] == differences(encode(spec), encode(decode(DeploymentSpec, found)))


def test_what_is_not_there_is_created_and_waited_for() -> None:
    made = deployment()
    cli = Cli(
        {
            LIST: page(),
            "POST /api/v1/deployments": json_answer(made, 201),
            f"GET {ONE}/watch": events_answer(deployment(), 1.0, deployment(), 5.0),
        }
    )
    assert 0 == applied(cli, SPEC)
    assert "web created\n" == cli.shown
    assert {"name": "web", "image": "nginx:1.27", "ports": [{"container_port": 80}]} == cli.body("POST")


def test_what_is_so_already_is_left_alone() -> None:
    cli = Cli({LIST: page(deployment(restarted_at="2026-11-25T10:00:00Z"))})
    assert 0 == applied(cli, SPEC)
    assert "web unchanged\n" == cli.shown
    assert [] == [asked for asked in cli.asked() if not asked.startswith("GET")]


def test_what_is_different_is_replaced_at_the_generation_that_was_compared() -> None:
    routes = {LIST: page(deployment(env={"A": "1"}, generation=7)), f"PUT {ONE}": json_answer(deployment(generation=8))}
    cli = Cli(routes)
    assert 0 == applied(cli, SPEC.replace("1.27", "1.28") + "replicas: 3\n", "--detach")
    assert ["web changed", "  image: nginx:1.27 -> nginx:1.28", '  env: {"A": "1"} -> (none)'] == (
        cli.shown.splitlines()[:3]
    )
    assert "  replicas: 1 -> 3" in cli.shown
    (put,) = [each for each in cli.transport.requests if each.method == "PUT"]
    assert '"7"' == put.headers["if-match"]


def test_who_comes_between_is_not_overwritten() -> None:
    cli = Cli({LIST: page(deployment()), f"PUT {ONE}": error_answer(409, "web is at generation 2, not 1", "conflict")})
    assert 1 == applied(cli, SPEC + "replicas: 2\n")
    assert "web is at generation 2" in cli.said


def test_a_dry_run_tells_the_differences_and_the_places_and_changes_nothing() -> None:
    waiting = deployment(name="api", assignments=[], instances=[], pending=[{"replica_number": 0, "reason": "no node"}])
    cli = Cli(
        {
            f"{LIST}limit=500&offset=0&name=web": page(deployment()),
            f"{LIST}limit=500&offset=0&name=api": page(),
            "POST /api/v1/deployments?dry_run=true": json_answer(waiting),
        }
    )
    assert 0 == applied(cli, SPEC + "replicas: 2\n---\nname: api\nimage: app:1\n", "--dry-run")
    assert [
        "web would be changed",
        "  replicas: 1 -> 2",
        "api would be created",
        "  replica 0 pending: no node",
    ] == cli.shown.splitlines()
    assert [] == cli.asked("PUT")


def test_programs_get_each_step_with_its_changes() -> None:
    cli = Cli({LIST: page(deployment())})
    assert 0 == applied(cli, SPEC + "replicas: 2\n", "--dry-run", "--json")
    (item,) = json.loads(cli.shown)["items"]
    assert ("web", "change", [{"path": "replicas", "before": 1, "after": 2}]) == (
        item["name"],
        item["action"],
        item["changes"],
    )


def test_a_name_that_begins_another_ones_id_is_a_name() -> None:
    cli = Cli({LIST: page(deployment()), "POST /api/v1/deployments": json_answer(deployment(name="1111"), 201)})
    assert 0 == applied(cli, "name: '1111'\nimage: nginx\n", "--detach")
    assert "1111 created\n" == cli.shown


def test_all_documents_are_right_before_any_is_applied() -> None:
    cli = Cli({LIST: page()})
    assert 2 == applied(cli, SPEC + "---\nname: api\nimage: 12\nreplicas: none\ncolour: red\n---\nimage: x\n")
    for told in ("image: 12 is not a text", "replicas: 'none' is not a whole number", "colour: is not a known field"):
        assert f"stdin, document 2: {told}" in cli.said
    assert [] == cli.asked()


def test_several_files_are_one_whole_and_no_name_stands_twice(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SPEC)
    (tmp_path / "b.json").write_text('[{"name": "Web", "image": "x"}]')
    cli = Cli()
    assert 2 == cli.run("apply", str(tmp_path / "a.yaml"), "-f", str(tmp_path / "b.json"))
    assert "b.json, document 1: Web is described twice" in cli.said


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no spec in -"),
        ("---\n---\n", "no spec in -"),
        ("just words", "document 1 is not a spec"),
        ("image: nginx", "name: is missing"),
        ("name: web\nname: api\n", "stdin line 2: 'name' stands twice"),
        ('{"name": "web", "name": "api"}', "'name' stands twice"),
        ("name: web\n\timage: x\n", "stdin line 2"),
        ("name: [web\n", "stdin line"),
        ("name: web\nimage: !!python/object/apply:os.system [id]\n", "stdin line 2: could not determine a constructor"),
        ("a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
        ), "references"),
        ("a: &a\n  b: *a\n", "stdin"),
        ("[" * 5000, "nested too deeply"),
        ("name: a\x00b\n", "stdin"),
        ("? [a, b]\n: c\n", "a key must be a text"),
        ("name: web\nimage: nginx\nenv:\n  A: 1.10\n", "env.A: 1.1 is not a text"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_with_its_place(text: str, told: str) -> None:
    cli = Cli()
    assert 2 == applied(cli, text)
    assert told in cli.said
    assert 1 == cli.said.count("fledx: ")


def test_a_file_that_is_no_text_too_large_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no-text").write_bytes(b"name: \xff\xfe")
    (tmp_path / "large").write_bytes(b"#" * (MAX_BYTES + 1))
    for name, told in (("no-text", "not UTF-8"), ("large", "the most"), ("absent", "no such file"), (".", "directory")):
        cli = Cli()
        assert 2 == cli.run("deployments", "apply", str(tmp_path / name))
        assert told in cli.said


def test_without_a_file_it_says_how_to_give_one() -> None:
    cli = Cli()
    assert 2 == cli.run("deployments", "apply")
    assert "-f FILE" in cli.said


@pytest.mark.parametrize("word", ["yes", "NO", "on", "1:30", "012", "1e3", "1.0e5", "2026-11-25", "="])
def test_words_that_were_something_else_in_old_yaml_are_texts(word: str) -> None:
    assert [{"a": word}] == read_documents(f"\ufeffa: {word}\r\n".encode(), "it")


def test_documents_of_another_hand_may_use_references() -> None:
    text = "x: &x {A: '1'}\ny:\n  <<: *x\n  B: '2'\n"
    assert [{"x": {"A": "1"}, "y": {"A": "1", "B": "2"}}] == read_documents(text.encode(), "it")


def test_hostile_texts_in_a_file_reach_no_terminal() -> None:
    quoted = yaml.safe_dump({"name": "web", "image": "nginx:1.27", "env": {"A": HOSTILE}})
    cli = Cli({LIST: page(deployment(name="web"))})
    assert 0 == applied(cli, quoted, "--dry-run")
    assert all(character.isprintable() or character == "\n" for character in cli.shown)
    assert 2 == applied(cli, yaml.safe_dump({"name": HOSTILE, HOSTILE: 1}))
    assert all(character.isprintable() or character == "\n" for character in cli.said)


def test_several_are_exported_as_one_file() -> None:
    routes: dict[str, Any] = {
        "GET /api/v1/deployments/web": json_answer(deployment()),
        "GET /api/v1/deployments/api": json_answer(deployment(name="api")),
    }
    cli = Cli(routes)
    for words in ((), ("--json",)):
        assert 0 == cli.run("deployments", "export", "web", "api", *words)
        assert ["web", "api"] == [each["name"] for each in read_documents(cli.shown.encode(), "it")]
