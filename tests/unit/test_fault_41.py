"""
Fault 41: names, labels and variables that somebody wrote to do harm.

The same table goes through every place that takes such a word, and everything that was taken is then read back in
every form there is: a word is refused by the one rule, or it is shown so that it harms nobody.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from fledx.agent.spec import container_name, container_spec, marks_for
from fledx.cli.views.text import UNSAFE
from fledx.errors import InvalidSpec
from fledx.models import check
from fledx.models.codec import decode_lenient, encode
from fledx.models.desired import NodeDesiredState
from fledx.models.node import NodeFacts
from tests.builders import spec
from tests.fakes.transport import lines_answer
from tests.unit.cli.harness import Cli, deployment, page
from tests.unit.whole import Whole, document, running

GOOD = {"one letter": "a", "63 bytes": "a" * 63, "all that is allowed": "A-b_c.9"}
BAD = {
    "64 bytes": "a" * 64,
    "255 bytes": "a" * 255,
    "256 bytes": "a" * 256,
    "64 KiB": "a" * 65536,
    "an accent": "café",
    "another script": "日本",
    "right to left": "\u202egnp.exe",
    "a letter that looks like another": "p\u0430ypal",
    "no width": "we\u200bb",
    "an emoji": "🦊",
    "a command's output": "$(reboot)",
    "the same in old style": "`reboot`",
    "a second command": "web;reboot",
    "a pipe": "web|sh",
    "a newline": "web\nfake: line",
    "a carriage return": "web\rroot",
    "a flag": "--privileged",
    "a short flag": "-v",
    "SQL": "x'; DROP TABLE deployment; --",
    "HTML": "<script>alert(1)</script>",
    "a template": "{{.Secrets}}",
    "a format": "%s%n{0}",
    "a cleared screen": "\x1b[2J\x1b]0;owned\x07",
    "an escape in one byte": "\x9b31mred",
    "NUL": "web\x00",
    "a path": "../../etc/passwd",
    "two dots": "..",
    "a slash": "a/b",
    "a blank within": "a b",
    "half a character": "\ud83d",
}
#: Refused with the body that holds them, for what they are: no text, or too much of it for a stranger.
UNREADABLE, WHOLE_BODY = ("half a character", "64 KiB"), [""]
EMPTY = {"nothing": "", "a blank": " "}
WORDS = {**GOOD, **BAD, **EMPTY}
PLACES: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "a deployment": ("POST", "/api/v1/deployments", lambda word: {"name": word, "image": "nginx"}),
    "a deployment's other name": ("PATCH", "/api/v1/deployments/known", lambda word: {"name": word}),
    "a replaced deployment": ("PUT", "/api/v1/deployments/known", lambda word: {"name": word, "image": "nginx"}),
    "a node": ("POST", "/api/v1/nodes/register", lambda word: {"name": word, "host_key": word[:60]}),
    "a config": ("POST", "/api/v1/configs", lambda word: {"name": word}),
    "a token": ("POST", "/api/v1/tokens", lambda word: {"name": word}),
}
SECRETS: dict[str, Callable[[str], Any]] = {
    "a variable": lambda word: {"secret_env": [{"name": "A", "secret": word}]},
    "a file": lambda word: {"secret_files": [{"path": "/a", "secret": word}]},
}
TEXTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "labels": lambda word: {"labels": {word: word}},
    "env": lambda word: {"env": {"A": word}},
    "a variable's name": lambda word: {"env": {word: "1"}},
    "command": lambda word: {"command": [word, word]},
    "entrypoint": lambda word: {"entrypoint": [word, word]},
    "constraints": lambda word: {"constraints": {"arch": word, "os": word, "labels": {word: word}}},
    "placement": lambda word: {"placement": {"affinity": {"node_ids": [word], "labels": {word: word}}}},
    "volumes": lambda word: {"volumes": [{"host_path": f"/{word}", "container_path": f"/{word}"}]},
    "health": lambda word: {"health": {"liveness": {"type": "http", "port": 80, "path": word}}},
    "image": lambda word: {"image": word},
}
FORMS = ("table", "wide", "json", "yaml", "name")
MOST_SAID = 2000

each_word = pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with running(tmp_path_factory.mktemp("whole")) as made:
        made.do(made.stage.deployments.create, spec(name="known"), by=_me())
        yield made


def _me() -> Any:
    from fledx.models.token import Operator

    return Operator(name="tester")


def harmless(text: str) -> bool:
    return all(character == "\n" or unicodedata.category(character) not in UNSAFE for character in text)


def sound(body: bytes) -> dict[str, Any]:
    """An answer of the API: JSON without a control character, and no longer than what it says."""
    assert not any(byte < 32 or byte == 127 for byte in body)
    found: dict[str, Any] = json.loads(body)
    return found


def refused(whole: Whole, method: str, path: str, body: Any) -> list[str]:
    """The paths of the faults; the refusal is short, whatever was sent."""
    answer = whole.ask(method, path, json=body)
    assert answer.status in (400, 413), answer.body[:300]
    assert len(answer.body) < MOST_SAID
    return [problem["path"] for problem in sound(answer.body).get("problems", [{"path": ""}])]


@pytest.mark.parametrize("place", PLACES)
def test_fault_41_every_place_that_names_a_thing_has_the_same_rule(whole: Whole, place: str) -> None:
    method, path, body = PLACES[place]
    for what, word in BAD.items():
        found = refused(whole, method, path, body(word))
        assert found in (["name"], WHOLE_BODY) if what in UNREADABLE else found == ["name"], what
    for word in GOOD.values():
        assert whole.ask(method, path, json=body(word)).status in (200, 201)
        if method != "POST":
            whole.ask("PATCH", f"/api/v1/deployments/{word}", json={"name": "known"})
        elif "deployments" in path:
            whole.ask("DELETE", f"/api/v1/deployments/{word}")


@pytest.mark.parametrize("place", SECRETS)
def test_fault_41_a_secret_is_asked_for_by_the_rule_that_it_is_kept_by(whole: Whole, place: str) -> None:
    for what, word in BAD.items():
        body = {"name": "s", "image": "nginx", **SECRETS[place](word)}
        found = [path.rpartition(".")[2] for path in refused(whole, "POST", "/api/v1/deployments", body)]
        assert found in (["secret"], WHOLE_BODY) if what in UNREADABLE else found == ["secret"], what
        kept = whole.ask("PUT", f"/api/v1/secrets/{quote(word, errors='replace')}", json={"value": "x"})
        assert kept.status in (400, 404, 405), what
    for word in GOOD.values():
        assert whole.ask("PUT", f"/api/v1/secrets/{word}", json={"value": "x"}).status in (200, 201)


def test_fault_41_a_node_and_an_agent_have_the_rule_too(whole: Whole) -> None:
    wanted = encode(whole.stage.desired(whole.do(whole.stage.node, "edge")))
    replica = {
        "image": "nginx",
        "deployment_id": "d",
        "deployment": "web",
        "replica_number": 0,
        "generation": 1,
        "revision": 1,
        "template": "t",
        "fence": 1,
    }
    for word in BAD.values():
        with pytest.raises(InvalidSpec):
            NodeFacts(name=word)
        for field in ("deployment", "deployment_id"):
            with pytest.raises(InvalidSpec):
                decode_lenient(NodeDesiredState, {**wanted, "replicas": [{**replica, field: word}]})
    for word in GOOD.values():
        state = decode_lenient(NodeDesiredState, {**wanted, "replicas": [{**replica, "deployment": word}]})
        assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", container_name(state.replicas[0], "11111111"))


@each_word
def test_fault_41_what_a_container_gets_is_the_word_itself_and_no_shell_sees_it(word: str) -> None:
    if check.env_value(word) or check.line(word, most=4096):
        return
    from fledx.models.desired import ReplicaDesired

    replica = ReplicaDesired(
        image="nginx",
        deployment_id="d",
        deployment="web",
        replica_number=0,
        generation=1,
        revision=1,
        template="t",
        fence=1,
        command=("echo", word),
        env={"A": word},
    )
    made = container_spec(replica, marks_for(replica, "n", 0), node="n", secrets={}, mounts=())
    assert (("echo", word), word) == (made.command, made.env["A"])


@each_word
def test_fault_41_a_word_in_a_path_or_a_question_is_a_name_that_nothing_has(whole: Whole, word: str) -> None:
    in_path = quote(word, safe="", errors="replace")
    paths = whole.ask("GET", "/openapi.json").json()["paths"]
    for path, item in paths.items():
        if "{" not in path or path.endswith(("/watch", "/logs")):
            continue
        for method in item.keys() - {"parameters"}:
            asked = re.sub(r"\{\w+\}", in_path, path)
            body: Any = {} if method in ("post", "put", "patch") else None
            answer = whole.ask(method.upper(), asked, json=body)
            assert answer.status in (400, 404, 405, 409) or word in GOOD.values(), (method, asked[:100])
            assert len(answer.body) < MOST_SAID
    for path in ("deployments", "nodes"):
        for query in (f"name={in_path}", f"label={in_path}={in_path}", f"status={in_path}", f"{in_path}=1"):
            answer = whole.ask("GET", f"/api/v1/{path}?{query}")
            assert answer.status in (200, 400)
            assert answer.status == 400 or not sound(answer.body)["items"] or word in GOOD.values()


COMMANDS: tuple[tuple[str, ...], ...] = (
    ("deployments", "create", "--image", "nginx", "--detach", "--name", "{}"),
    ("deployments", "create", "{}", "--image", "nginx", "--detach"),
    ("deployments", "create", "--detach", "--image", "{}"),
    ("deployments", "show", "{}"),
    ("deployments", "update", "--id", "{}", "--replicas", "2", "--detach"),
    ("deployments", "update", "known", "--detach", "--label", "a={}"),
    ("deployments", "delete", "--yes", "{}"),
    ("deployments", "list", "--name", "{}", "--label", "{}"),
    ("scale", "{}=2", "--detach"),
    ("logs", "{}"),
    ("events", "--deployment", "{}"),
    ("nodes", "show", "{}"),
    ("nodes", "label", "{}", "a=b"),
    ("nodes", "cordon", "{}", "--reason", "{}"),
    ("nodes", "drain", "{}"),
    ("nodes", "register", "--name", "{}"),
    ("configs", "create", "--name", "{}"),
    ("configs", "create", "--name", "c", "--var", "{}"),
    ("configs", "attach", "deployment", "--config-id", "{}", "--deployment-id", "{}"),
    ("secrets", "set", "{}"),
    ("secrets", "delete", "{}", "--yes"),
    ("tokens", "create", "{}"),
    ("usage", "list", "--deployment", "{}"),
    ("profile", "show", "--name", "{}"),
    ("status", "--profile", "{}"),
    ("{}",),
    ("deployments", "{}"),
)


@pytest.mark.parametrize("what", [*BAD, *EMPTY])
def test_fault_41_the_command_line_refuses_in_few_harmless_words(whole: Whole, what: str, tmp_path: Path) -> None:
    word = WORDS[what]
    if "\0" in word:
        return  # the kernel lets no argument hold one
    for command in COMMANDS:
        code = whole.cli(*(part.replace("{}", word) for part in command), typed="x", home=tmp_path)
        told = whole.err + whole.out
        assert code in (0, 1, 2), command
        assert harmless(told), command
        assert "Traceback" not in told, command
        assert "should not happen" not in told, command
        assert len(whole.err) < MOST_SAID or command[0] == "{}", (command, len(whole.err))


@each_word
def test_fault_41_free_texts_are_taken_or_refused_where_they_stand(whole: Whole, word: str) -> None:
    for field, body in TEXTS.items():
        path = "/api/v1/deployments?dry_run=true"
        answer = whole.ask("POST", path, json={"name": "free", "image": "nginx"} | body(word))
        assert answer.status in (200, 400), field
        if answer.status == 400:
            assert len(answer.body) < 2 * MOST_SAID
            (first, *_) = sound(answer.body)["problems"]
            assert first["path"].partition(".")[0].partition("[")[0] in (*body(word), ""), field


def _taken(whole: Whole, word: str) -> dict[str, Any]:
    """A spec with the word wherever it is taken."""
    whole_body: dict[str, Any] = {"image": "nginx"}
    for body in TEXTS.values():
        merged = {**whole_body, **body(word), "env": {**whole_body.get("env", {}), **body(word).get("env", {})}}
        answer = whole.ask("POST", "/api/v1/deployments?dry_run=true", json={"name": "free"} | merged)
        whole_body = merged if answer.status == 200 else whole_body
    return whole_body


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """A control plane that was told every word of the table wherever it takes free text."""
    with running(tmp_path_factory.mktemp("told")) as made:
        node = made.do(made.stage.node, "edge-1", labels={"a": "b"}, runtime=BAD["a cleared screen"])
        for i, word in enumerate(WORDS.values()):
            made.ask("POST", "/api/v1/deployments", json={"name": f"d{i}", **_taken(made, word)})
            made.ask("PATCH", f"/api/v1/nodes/{node}/labels", json={"labels": {word: word}})
            made.ask("POST", f"/api/v1/nodes/{node}/cordon", json={"reason": word})
            made.ask("POST", f"/api/v1/nodes/{node}/uncordon")
            made.ask("POST", "/api/v1/configs", json={"name": f"c{i}", "entries": [{"key": "A", "value": word}]})
            made.ask(
                "POST", "/api/v1/configs", json={"name": f"f{i}", "files": [{"path": f"/{word}", "content": word}]}
            )
            made.ask("DELETE", f"/api/v1/deployments/{quote(word, safe='', errors='replace')}")
        yield made


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tty", [False, True], ids=["pipe", "terminal"])
def test_fault_41_whatever_was_taken_is_shown_harmless(told: Whole, form: str, *, tty: bool) -> None:
    commands = [
        ("deployments", "list"), ("nodes", "list"), ("configs", "list"), ("secrets", "list"), ("tokens", "list"),
        ("events",), ("audit", "--limit", "60"), ("status",), ("nodes", "show", "edge-1"),
    ]  # fmt: skip
    names = [item["name"] for item in told.ask("GET", "/api/v1/deployments?limit=500").json()["items"]]
    some = names[::3]
    commands += [(*words, name) for name in some for words in (("deployments", "show"), ("deployments", "history"))]
    commands += [("deployments", "show", "--env", name) for name in some]
    commands += [("configs", "show", f"c{i}") for i in range(0, len(WORDS), 5)]
    for words in commands:
        code = told.cli(*words, "-o", form, tty=tty)
        assert code == 0 or words[0] == "configs", (words, told.err)
        assert harmless(told.out), words
        assert harmless(told.err), words
        if code == 0 and form == "json" and words[0] != "events":
            document(told)
        elif code == 0 and form == "yaml":
            yaml.safe_load(told.out)


def test_fault_41_what_was_exported_is_applied_again_and_is_the_same(told: Whole) -> None:
    names = [item["name"] for item in told.ask("GET", "/api/v1/deployments?limit=500").json()["items"]]
    for words in ((), ("--json",)):
        assert 0 == told.cli("deployments", "export", *names, *words)
        assert 0 == told.cli("deployments", "apply", "-f", "-", typed=told.out)
        assert {"unchanged"} == {line.rpartition(" ")[2] for line in told.out.splitlines()}


def test_fault_41_the_description_and_its_page_hold_nothing_that_anybody_wrote(told: Whole) -> None:
    page, described = told.ask("GET", "/docs").body, told.ask("GET", "/openapi.json").body
    for word in BAD.values():
        if len(word) > 7:
            assert word.encode(errors="replace") not in page
            assert word.encode(errors="replace") not in described


def test_fault_41_a_name_before_a_log_line_is_harmless_even_from_a_control_plane_that_lies() -> None:
    for word in BAD.values():
        line = {"deployment": word[:300], "replica_number": 0, "node": word[:300], "time": "t", "line": "said"}
        cli = Cli({"GET /api/v1/deployments?": page(deployment()), "GET /api/v1/logs": lines_answer(line)})
        assert 0 == cli.run("logs")
        assert harmless(cli.shown)
        assert 1 == cli.shown.count("\n")
