"""Finding the command, and what becomes of errors: one line, and an exit code that programs can rely on."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

import fledx
from fledx.cli.command import Command
from fledx.cli.main import main
from fledx.cli.terminal import Terminal
from fledx.errors import Unavailable
from tests.fakes.transport import error_answer
from tests.unit.cli.harness import Cli, deployment, node, page


def test_help_fits_one_screen_and_names_every_command() -> None:
    cli = Cli()

    assert cli.run("--help") == 0
    assert cli.shown.count("\n") < 50
    assert all(f"  {noun} " in cli.shown for noun in ("deployments", "nodes", "status", "cp", "agent", "profile"))
    assert cli.said == ""


@pytest.mark.parametrize("words", [[], ["deployments"], ["nodes"], ["--json"], ["--profile", "x"]])
def test_without_a_command_help_goes_to_stderr_and_the_code_is_2(words: list[str]) -> None:
    cli = Cli()

    assert cli.run(*words) == 2
    assert cli.shown == ""
    assert "usage: fledx" in cli.said


@pytest.mark.parametrize(
    "words", [["help", "deployments", "create"], ["deployments", "create", "--help"], ["deployments", "-h", "create"]]
)
def test_help_of_a_command_goes_to_stdout(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[0] == "usage: fledx deployments create [NAME] [flags]"


@pytest.mark.parametrize("word", ["-V", "--version", "version"])
def test_the_version_is_told_in_every_spelling(word: str) -> None:
    cli = Cli()

    assert cli.run(word) == 0
    assert f"fledx {fledx.__version__}" == cli.shown.strip().partition(" (build")[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nodez"], "no command fledx nodez: did you mean `fledx nodes`?"),
        (["deployments", "crate"], "no command fledx deployments crate: did you mean `fledx deployments create`?"),
        (["history", "web"], "'history' needs its noun: `fledx deployments history`"),
        (["label", "edge-1"], "'label' needs its noun: `fledx nodes label`"),
        (["attach"], "'attach' needs its noun: `fledx configs attach`"),
        (["run", "web"], "no command fledx run: did you mean `fledx deployments create`?"),
        (["nodes", "token", "x"], "no command fledx nodes token (see `fledx nodes --help`)"),
        (["xyzzy"], "no command fledx xyzzy (see `fledx --help`)"),
        (["--hepl"], "unknown flag '--hepl': did you mean --help? (see `fledx --help`)"),
    ],
)
def test_a_mistyped_command_is_answered_with_the_near_one(words: list[str], told: str) -> None:
    cli = Cli()

    assert cli.run(*words) == 2
    assert f"fledx: {told}\n" == cli.said


def test_a_verb_that_several_nouns_have_is_told_with_each() -> None:
    cli = Cli()

    assert cli.run("describe") == 2
    shows = ", ".join(f"`fledx {noun} describe`" for noun in ("deployments", "nodes", "configs"))
    assert f"fledx: 'describe' needs its noun: {shows}\n" == cli.said


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["nodes", "token", "rotate", "edge-1"], ("nodes", "rotate-token")),
        (["drain", "edge-1"], ("nodes", "drain")),
        (["rollback", "web"], ("deployments", "rollback")),
        (["restart", "web"], ("deployments", "restart")),
    ],
)
def test_what_people_type_first_is_understood(words: list[str], path: tuple[str, ...]) -> None:
    command = Command(words)

    assert (path, words[-1:]) == (command.path, command.words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nodes", "list", "--lable", "a=b"], "unknown flag '--lable': did you mean --label?"),
        (["nodes", "list", "more"], "unknown word 'more'"),
        (["nodes", "list", "--status", "red"], "--status: invalid choice: 'red'"),
        (["ls", "--label", "zone"], "--label: 'zone' is not KEY=VALUE"),
        (["deployments", "create", "--port", "80/sctp"], "--port: protocol: 'sctp' is not tcp or udp"),
        (["deployments", "create", "--replicas", "0"], "--replicas: '0' is less than 1"),
    ],
)
def test_a_wrong_flag_ends_with_2_and_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"fledx: {told}")
    assert said.count("\n") == 1


def test_flags_of_every_command_stand_before_it_between_its_words_or_after() -> None:
    url = ("--control-plane-url", "http://cp:1")
    for words in ((*url, "nodes", "list"), ("nodes", *url, "list"), ("nodes", "list", *url)):
        cli = Cli({"GET /api/v1/nodes": page(node())})
        assert cli.run(*words) == 0
        assert [str(address) for address in cli.addresses] == ["http://cp:1"]


def test_names_and_flags_may_be_mixed() -> None:
    cli = Cli({"GET /api/v1/deployments/": error_answer(404, "no"), "GET /api/v1/deployments?": page()})
    cli.run("deployments", "delete", "--yes", "a", "--timeout", "3", "b")

    assert cli.asked("GET /api/v1/deployments/") == ["GET /api/v1/deployments/a"]


def test_a_link_named_after_a_role_is_that_role(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/fledx-cp", "--help"])

    assert main(terminal=Terminal()) == 0
    assert capsys.readouterr().out.startswith("usage: fledx cp [flags]")


@pytest.mark.parametrize(
    ("status", "told", "code"),
    [
        (404, "no such thing (try this) [request r-1]", 1),
        (403, "denied: no such thing (try this) [request r-1]", 1),
        (503, "no such thing (try this) [request r-1]", 1),
        (400, "no such thing (try this) [request r-1]", 2),
    ],
)
def test_a_refusal_is_one_line_with_hint_and_request(status: int, told: str, code: int) -> None:
    cli = Cli({"GET /": error_answer(status, "no such thing", hint="try this")})

    assert code == cli.run("status")
    assert f"fledx: {told}\n" == cli.said


def test_a_token_that_is_not_known_is_traced_to_where_it_came_from() -> None:
    cli = Cli({"GET /": error_answer(401, "this operator token is not known")})
    cli.run("status")
    cli_with_flag = Cli({"GET /": error_answer(401, "this operator token is not known")})
    cli_with_flag.run("status", "--token", "x")

    assert "(the token came from FLEDX_CLI_OPERATOR_TOKEN)" in cli.said
    assert "(the token came from --operator-token)" in cli_with_flag.said


def test_all_faults_of_a_request_are_told_together() -> None:
    problems = [{"path": "name", "text": "is empty"}, {"path": "ports[0]", "text": "is \x1b odd"}]
    cli = Cli({"POST /": error_answer(400, "two", problems=problems)})

    assert cli.run("deployments", "create", "--image", "x") == 2
    assert cli.said == "fledx: 2 faults [request r-1]:\n  name: is empty\n  ports[0]: is \\x1b odd\n"


def test_silence_and_absence_are_failures_not_tracebacks() -> None:
    cli = Cli({"GET /": Unavailable("no control plane at http://cp: refused", hint="start one")})

    assert cli.run("status") == 1
    assert cli.said == "fledx: no control plane at http://cp: refused (start one)\n"


def test_what_nobody_foresaw_is_one_line_too() -> None:
    cli = Cli({"GET /": RuntimeError("boom")})

    assert cli.run("status") == 1
    assert cli.said == "fledx: this should not happen: RuntimeError: boom (FLEDX_DEBUG=1 shows where)\n"


def test_ctrl_c_is_130() -> None:
    cli = Cli({"GET /": KeyboardInterrupt()})

    assert cli.run("status") == 130


def test_a_reader_that_has_gone_is_no_error() -> None:
    script = "import sys; from fledx.cli.main import main; sys.exit(main(['--help']))"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=120)

    assert (process.returncode, said) == (0, b"")


def test_letters_that_the_terminal_cannot_show_are_written_out() -> None:
    script = (
        "import sys; from fledx.cli.main import main, _own_terminal; t = _own_terminal(); t.data('\\u2603 \\ud800')"
    )
    environ = {"PATH": "/usr/bin", "PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environ, timeout=120)

    assert (done.stdout, done.stderr) == (b"\\u2603 \\ud800\n", b"")


def test_words_are_kept_away_by_quiet_but_errors_are_not() -> None:
    cli = Cli({"GET /api/v1/deployments": page(deployment())})
    assert cli.run("deployments", "list", "--quiet") == 0
    assert (cli.shown, cli.said) == ("web\n", "")
    assert cli.run("nodes", "show", "none", "--quiet") == 1
    assert cli.said.startswith("fledx: no such thing")


def test_a_closed_stream_does_not_break_the_terminal() -> None:
    cli = Cli()
    cli.err = io.StringIO()
    cli.out = io.StringIO()
    terminal = cli.terminal(io.StringIO())
    cli.err.close()

    assert not terminal.live
