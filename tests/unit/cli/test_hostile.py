"""Words that others wrote, in every place where they are shown."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fledx.cli.views.documents import as_json, as_json_line, as_yaml
from fledx.cli.views.text import UNSAFE, harmless, harmless_line
from tests.fakes.transport import error_answer, json_answer, lines_answer
from tests.unit.cli.harness import HOSTILE, Cli, assignment, deployment, event, instance, node, page


def is_harmless(text: str) -> bool:
    return all(character == "\n" or unicodedata.category(character) not in UNSAFE for character in text)


def poisoned(value: Any) -> Any:
    """The same shape with every text made hostile, states and moments included."""
    if isinstance(value, Mapping):
        return {key if key in KEYS else HOSTILE: poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return HOSTILE if isinstance(value, str) else value


RICH = deployment(
    instance=instance(0),
    command=["a"],
    entrypoint=["a"],
    env={"A": "1"},
    labels={"a": "b"},
    reason="r",
    rollout={"state": "s", "updated": 0, "wanted": 1, "reason": "r"},
    secret_env=[{"name": "a", "secret": "b"}],
    secret_files=[{"path": "a", "secret": "b"}],
    volumes=[{"host_path": "a", "container_path": "b"}, {"name": "d", "container_path": "e"}],
    user="u",
    tmpfs=[{"path": "p", "size_bytes": 1, "mode": "m"}],
    cap_drop=["c"],
    cap_add=["c"],
    devices=[{"host_path": "a", "container_path": "b", "permissions": "r"}],
    ulimits=[{"name": "n", "soft": 1}],
    stop_signal="s",
    health={"liveness": {"type": "http", "port": 1, "path": "p"}},
    constraints={"arch": "a", "os": "b", "labels": {"a": "b"}},
    placement={"affinity": {"node_ids": ["n"], "labels": {"a": "b"}}},
    update={"on_failure": "x"},
    pending=[{"replica_number": 3, "reason": "r"}],
    assignments=[assignment(0), assignment(1)],
    instances=[instance(0, message="m"), instance(1, "failed", message="m", endpoints=["e"])],
)
NODE = node(reason="r", address="a", runtime="r", agent_version="v", instances=[instance(0, message="m")])
KEYS = {
    key
    for thing in (RICH, NODE, event(1), instance(0), assignment(0))
    for key in (
        *thing,
        "secret",
        "path",
        "type",
        "port",
        "container_port",
        "host_port",
        "protocol",
        "wanted",
        "updated",
        "size_bytes",
        "mode",
        "permissions",
        "soft",
    )
} | {"liveness", "arch", "os", "affinity", "node_ids", "name", "host_path", "container_path", "on_failure", "state"}


@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml", "name"])
@pytest.mark.parametrize("tty", [False, True])
@pytest.mark.parametrize(
    "words",
    [["deployments", "list"], ["deployments", "show", "x"], ["nodes", "list"], ["nodes", "show", "x"], ["events"]],
)
def test_nothing_that_is_shown_can_harm_a_terminal(words: list[str], form: str, tty: bool) -> None:  # noqa: FBT001
    cli = Cli(
        {
            "GET /api/v1/deployments?": page(poisoned(RICH)),
            "GET /api/v1/deployments/": json_answer(poisoned(RICH)),
            "GET /api/v1/nodes?": page(poisoned(NODE)),
            "GET /api/v1/nodes/": json_answer(poisoned(NODE)),
            "GET /api/v1/events": json_answer({"items": [poisoned(event(1))]}),
        },
        TERM="dumb",
    )

    assert 0 == cli.run(*words, "-o", form, tty=tty)
    assert is_harmless(cli.shown)
    assert is_harmless(cli.said)


def test_a_hostile_refusal_is_one_harmless_line() -> None:
    cli = Cli({"GET /": error_answer(404, HOSTILE, hint=HOSTILE)})

    assert 1 == cli.run("status")
    assert is_harmless(cli.said)
    assert 1 == cli.said.count("\n")


def test_log_lines_are_harmless_on_a_terminal_and_untouched_in_a_pipe() -> None:
    line = {"deployment": "web", "replica_number": 0, "time": "t", "line": f"\x1b[32mok\x1b[0m\t{HOSTILE}"}
    routes = {"GET /api/v1/deployments/web/": lines_answer(line), "GET /api/v1/deployments/": json_answer(deployment())}
    routes["GET /api/v1/deployments/11111111-aaaa-4aaa-8aaa-111111111111/logs"] = lines_answer(line)
    piped, shown = Cli(dict(routes)), Cli(dict(routes), TERM="dumb")
    assert 0 == piped.run("logs", "web")
    assert 0 == shown.run("logs", "web", tty=True)

    assert f"web/0 | \x1b[32mok\x1b[0m\t{HOSTILE}\n" == piped.shown
    assert "web/0 | ok\t" in shown.shown
    assert is_harmless(shown.shown.replace("\t", ""))


@given(st.text(st.characters(codec=None), max_size=40))
def test_any_text_becomes_harmless_and_readable_text_stays(text: str) -> None:
    assert is_harmless(harmless(text).replace("\n", "!"))
    assert "\n" not in harmless(text)
    assert is_harmless(harmless_line(text).replace("\t", ""))
    if text.isprintable() and is_harmless(text):
        assert text == harmless(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda s: st.lists(s) | st.dictionaries(st.text(max_size=5), s),
        max_leaves=8,
    )
)
def test_documents_are_read_back_as_they_were_and_hold_no_control_characters(value: Any) -> None:
    for text in (as_json(value), as_json_line(value)):
        assert value == json.loads(text)
        assert is_harmless(text)
    assert value == yaml.safe_load(as_yaml(value))
    assert is_harmless(as_yaml(value))


def test_other_scripts_stay_readable_in_documents() -> None:
    assert '{\n  "name": "日本 café"\n}' == as_json({"name": "日本 café"})
    assert "name: 日本 café\n" == as_yaml({"name": "日本 café"})
