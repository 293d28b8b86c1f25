"""`fledx bootstrap` as an operator meets it: its flags, what it tells, and the profile it leaves."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from fledx.bootstrap.control_plane import Access
from fledx.bootstrap.news import News, Outcome, Timing
from fledx.bootstrap.steps import RemoveFile
from fledx.cli import bootstrapping, profiles
from fledx.cli.command import Command
from fledx.cli.commands import bootstrap
from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal
from fledx.cli.views.bootstrap import Progress, ended
from tests.fakes.transport import Answer, error_answer
from tests.unit.cli.harness import HOSTILE, Cli

URL = "https://cp.example.com:8080"
PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def news(host: str, kind: str, text: str, **more: Any) -> News:
    return News(host=host, kind=kind, text=text, **more)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["agent"], "which host? Name it, or say --local"),
        (["agent", "--local", "--ssh-host", "n1"], "--local: means this machine"),
        (["agent", "--ssh-host", "n1", "--join", "x"], "--join: is for a host that joins by itself"),
        (["agent", "--local", "--join", "@/nowhere/at/all"], "/nowhere/at/all cannot be read"),
        (["cp"], "--cp-hostname"),
        (["cp", "--cp-hostname", "https://x"], "'https://x' is not a host name or address"),
        (["cp", "--cp-hostname", "x", "--server-port", "0"], "not a port between 1 and 65535"),
        (["cp", "--cp-hostname", "x"], "this is a checkout"),
        (["cp", "--cp-hostname", "x", "--data-dir", "re lative"], "--data-dir: 're lative' is not an absolute path"),
        (["status", "--ssh-host", "n1", "--bin-dir", "/a'; reboot; '"], "is not an absolute path of letters"),
        (["upgrade", "--back", "--version", "latest"], "two answers to one question"),
        (["uninstall", "node", "--ssh-host", "n1"], "invalid choice: 'node'"),
        (["status", "--ssh-host", "a b"], "'a b' is not [USER@]HOST[:PORT]"),
    ],
)
def test_what_makes_no_sense_is_refused_with_2_before_any_host_is_touched(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    cli = Cli({})
    assert 2 == cli.run("bootstrap", *words)
    assert said in cli.said + capsys.readouterr().err


@pytest.mark.parametrize("verb", bootstrap.VERBS)
def test_every_command_explains_its_flags(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert 0 == Cli({}).run("bootstrap", verb, "--help")
    assert "--ssh-host" in capsys.readouterr().out


def test_the_readmes_options_and_defaults_are_there() -> None:
    parser = Parser("fledx bootstrap cp", "")
    bootstrap.VERBS["cp"].flags(parser)
    args = parser.parse_args(["--cp-hostname", "cp", "--ssh-host", "ops@cp", "--ssh-identity-file", "k"])
    assert ("accept-new", 10.0, 120.0) == (args.ssh_host_key_checking, args.ssh_connect_timeout_secs, args.wait_timeout)
    unsaid = ("server_port", "tunnel_port", "bin_dir", "config_dir", "data_dir", "version", "ssh_user", "ssh_port")
    assert dict.fromkeys(unsaid) == {name: getattr(args, name) for name in unsaid}


def test_without_a_terminal_each_step_is_a_line_of_its_own() -> None:
    err = io.StringIO()
    progress = Progress(Terminal(err=err, environ={}), ["n1", "n2"])
    progress.tell(news("n1", "looked", "Debian"))
    progress.tell(news("n1", "planned", "make a user", reason="it has none", number=1, of=2))
    progress.tell(news("n1", "doing", "make a user", number=1, of=2))
    progress.tell(news("n2", "undoing", "remove it"))
    progress.tell(news("n1", "done", ""))
    assert [
        "n1: Debian",
        "n1:    1. make a user (it has none)",
        "n1: [1/2] make a user",
        "n2: undoing: remove it",
    ] == err.getvalue().splitlines()


def test_on_a_terminal_each_host_has_one_line_that_is_redrawn_below_the_rest() -> None:
    err = Screen()
    progress = Progress(Terminal(err=err, environ={}), ["n1", "n2"])
    progress.tell(news("n1", "doing", "first", number=1, of=2))
    progress.tell(news("n2", "doing", "other", number=1, of=9))
    progress.tell(news("n1", "told", "a word"))
    progress.tell(news("n1", "done", ""))
    assert (
        "n1: [1/2] first\n"
        "\x1b[1F\x1b[Jn1: [1/2] first\nn2: [1/9] other\n"
        "\x1b[2F\x1b[Jn1: a word\nn1: [1/2] first\nn2: [1/9] other\n"
        "\x1b[2F\x1b[Jn2: [1/9] other\n"
    ) == err.getvalue()


def test_what_a_host_says_cannot_move_the_operators_cursor() -> None:
    err = io.StringIO()
    progress = Progress(Terminal(err=err, environ={}), ["n1"])
    progress.tell(news("n1", "looked", HOSTILE))
    bad = Outcome(host=HOSTILE, error=HOSTILE, hint=HOSTILE)
    assert "\x1b" not in err.getvalue() + ended(bad)


def test_an_outcome_is_one_line_or_the_error_with_its_mend() -> None:
    step = RemoveFile(path="/x", reason="a test")
    took = (Timing(what="in all", seconds=3.4),)
    assert "n1: done, 3s" == ended(Outcome(host="n1", steps=(step,), done=1, timings=took))
    assert "n1: nothing to do, 3s" == ended(Outcome(host="n1", timings=took))
    assert "n1: nothing was changed, 3s" == ended(Outcome(host="n1", steps=(step,), timings=took))
    assert "n1: broken\n  mend it" == ended(Outcome(host="n1", error="broken", hint="mend it", timings=took))


@pytest.mark.parametrize(
    ("codes", "expected"),
    [((None, None), 0), ((None, "not_reached"), 3), (("not_reached", "conflict"), 1), (("denied",), 1)],
)
def test_the_exit_code_is_3_only_where_all_is_installed_and_some_of_it_late(
    codes: tuple[str | None, ...], expected: int
) -> None:
    outcomes = [Outcome(host="n", error=code and "late", code=code) for code in codes]
    args = Parser("x", "").parse_args([])
    args.output, args.quiet = None, False
    out = Terminal(out=io.StringIO(), err=io.StringIO(), environ={})
    assert expected == bootstrapping._end(outcomes, args, out, lambda outcome: "well")


def saved(home: Path, url: str, profile: str | None = None) -> profiles.Profiles:
    args = Parser("x", "").parse_args([])
    args.profile = profile
    terminal = Terminal(err=io.StringIO(), environ={"XDG_CONFIG_HOME": str(home)})
    bootstrapping._save(Access(url=url, token="hush", authority=PEM), args, terminal)
    return profiles.load(str(home / "fledx/profiles.toml"))


def test_the_first_control_plane_is_the_default_profile_with_its_authority_beside_it(tmp_path: Path) -> None:
    found = saved(tmp_path, URL)
    ca = tmp_path / "fledx/default-ca.pem"
    assert "default" == found.default
    assert {"control_plane_url": URL, "operator_token": "hush", "ca_cert_path": str(ca)} == found.known["default"]
    assert (PEM, 0o600) == (ca.read_text(), ca.stat().st_mode & 0o777)


def test_another_control_plane_gets_a_profile_of_its_own_and_the_same_one_keeps_its(tmp_path: Path) -> None:
    saved(tmp_path, URL)
    found = saved(tmp_path, "https://other.example.com:8080")
    assert ("other.example.com", URL) == (found.default, found.known["default"]["control_plane_url"])
    found = saved(tmp_path, URL)
    assert ("default", {"default", "other.example.com"}) == (found.default, set(found.known))


def test_a_profile_that_is_named_is_the_one_that_is_written_and_its_file_has_a_plain_name(tmp_path: Path) -> None:
    found = saved(tmp_path, URL, profile="../edge one")
    assert "../edge one" == found.default
    assert {".._edge_one-ca.pem", "profiles.toml"} == {path.name for path in (tmp_path / "fledx").iterdir()}


def test_a_node_that_is_gone_for_good_is_forgotten_or_it_is_told_how() -> None:
    gone, unknown, left = (Outcome(host=name, facts={"node_id": name, "kept": []}) for name in ("n1", "n2", "n3"))
    cli = Cli({
        "DELETE /api/v1/nodes/n1?force=true": Answer(status=204),
        "DELETE /api/v1/nodes/n3": error_answer(503, "the control plane is busy"),
    })  # fmt: skip
    terminal = cli.terminal(io.StringIO())
    command = Command(["bootstrap", "uninstall", "--purge"])
    bootstrapping._forget((gone, unknown, left), command.parse(command.parser()), terminal)
    for each in (gone, unknown):
        assert bootstrapping._uninstall_line(each).endswith("; the control plane has forgotten its node")
    assert "`fledx nodes delete --force n3`" in bootstrapping._uninstall_line(left)
    assert "the control plane is busy" in bootstrapping._uninstall_line(left)


def test_where_a_control_plane_answers_is_not_told_by_a_run_that_only_planned_one() -> None:
    facts = {"version": "0.1.0", "url": "https://cp:8080"}
    step = RemoveFile(path="/x", reason="it is in the way")
    planned, made = (Outcome(host="cp", steps=(step,), done=done, facts=facts) for done in (0, 1))
    assert "cp: nothing was changed, 0s" == bootstrapping._control_plane_line(planned)
    assert "cp: done, 0s\ncontrol plane 0.1.0 at https://cp:8080" == bootstrapping._control_plane_line(made)
