"""Which fledx this is, and which one the control plane is."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from fledx import __version__
from fledx.cli.commands.version import differ
from fledx.errors import Unavailable
from tests.fakes.transport import Answer, json_answer, lines_answer
from tests.unit.cli.harness import Cli

URL = "http://cp.example.com:8080"
OWN = f"fledx {__version__}"


def asking(health: Any, **environ: Any) -> Cli:
    answer = health if isinstance(health, Answer) or not isinstance(health, dict) else json_answer(health)
    return Cli({"GET /health": answer}, **environ)


def test_the_control_planes_version_stands_below_ones_own() -> None:
    cli = asking({"version": __version__, "build": None})
    assert 0 == cli.run("version")
    assert [OWN, f"control plane {__version__} at http://localhost:8080"] == cli.shown.splitlines()
    assert ["GET /health"] == cli.asked()
    assert "authorization" not in cli.transport.requests[0].headers


def test_two_that_differ_are_told_with_what_brings_them_together() -> None:
    cli = asking({"version": "9.9.9", "build": "00ff"}, FLEDX_CLI_CONTROL_PLANE_URL=URL)
    assert 0 == cli.run("version")
    assert [
        OWN,
        f"control plane 9.9.9 (build 00ff) at {URL}",
        f"The two differ: `fledx bootstrap upgrade` puts this one there; that one is at {URL}/artifact/fledx.pyz",
    ] == cli.shown.splitlines()


def test_a_program_reads_whether_they_differ() -> None:
    cli = asking({"version": "9.9.9", "build": "00ff"})
    assert 0 == cli.run("version", "--json")
    there = {"url": "http://localhost:8080", "version": "9.9.9", "build": "00ff", "differs": True}
    assert {"version": __version__, "build": None, "control_plane": there} == json.loads(cli.shown)

    assert 0 == cli.run("version", "--json", "--client")
    assert {"version": __version__, "build": None} == json.loads(cli.shown)

    assert 0 == Cli({"GET /health": Unavailable("away")}).run("version", "--json")


@pytest.mark.parametrize(
    ("own", "there", "expected"),
    [
        (("1", "aa"), ("1", "aa"), False),
        (("1", "aa"), ("1", "bb"), True),
        (("1", "aa"), ("2", "aa"), True),
        (("1", None), ("1", "bb"), False),
        (("1", "aa"), ("1", None), False),
    ],
)
def test_builds_of_one_version_differ_where_both_are_known(own: Any, there: Any, *, expected: bool) -> None:
    names = ("version", "build")
    assert expected is differ(dict(zip(names, own, strict=True)), dict(zip(names, there, strict=True)))


def test_for_ones_own_version_nobody_is_asked() -> None:
    cli = asking({"version": "9.9.9"}, FLEDX_CLI_CONTROL_PLANE_URL=URL)
    assert 0 == cli.run("version", "--client")
    assert ([OWN], []) == (cli.shown.splitlines(), cli.asked())


@pytest.mark.parametrize(
    "answer",
    [
        Unavailable("nobody is there"),
        json_answer({"error": "no such thing"}, 404),
        json_answer({"status": "ok"}),
        json_answer({"version": 7}),
        json_answer(["a list"]),
        lines_answer("no JSON of ours"),
    ],
    ids=lambda answer: repr(answer)[:40],
)
def test_a_control_plane_that_does_not_tell_is_no_error(answer: Any) -> None:
    """Told where somebody named it; that nothing of ours listens at the default's place is no news."""
    unnamed = asking(answer)
    assert 0 == unnamed.run("version")
    assert ([OWN], "") == (unnamed.shown.splitlines(), unnamed.said)

    named = asking(answer)
    assert 0 == named.run("version", "--control-plane-url", URL)
    assert [OWN] == named.shown.splitlines()
    assert named.said.startswith("the control plane does not tell its version: ")


def test_one_that_is_silent_is_not_waited_for() -> None:
    """It never answers while this test runs, so that whoever waited for it would not come back."""
    over = threading.Event()

    def silent(_: Any) -> Answer:
        over.wait()
        return json_answer({"version": "9.9.9"})

    cli = asking(silent, FLEDX_CLI_CONTROL_PLANE_URL=URL)
    try:
        assert 0 == cli.run("version", "--timeout", "0.1")
        assert [OWN] == cli.shown.splitlines()
        assert f"the control plane does not tell its version: no answer from {URL} for 0.1 seconds\n" == cli.said
    finally:
        over.set()


def test_profiles_that_cannot_be_read_keep_nobody_from_his_own_version(tmp_path: Path) -> None:
    file = tmp_path / ".config/fledx/profiles.toml"
    file.parent.mkdir(parents=True)
    file.write_text("no = [toml")
    cli = Cli(home=tmp_path)
    assert 0 == cli.run("version")
    assert ([OWN], []) == (cli.shown.splitlines(), cli.asked())
    assert cli.said.startswith("no control plane is asked: ")


def test_what_a_stranger_calls_its_version_cannot_harm_a_terminal() -> None:
    cli = asking({"version": "9\x1b[2J\n9", "build": "\x07"})
    assert 0 == cli.run("version")
    assert not set(cli.shown) & {"\x1b", "\x07"}
    assert 3 == len(cli.shown.splitlines())
