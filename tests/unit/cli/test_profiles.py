"""Profiles on disk and by command, and which value wins."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fledx.cli.command import Command
from fledx.cli.profiles import Profiles, load, path, save, written
from fledx.cli.target import Target, resolve
from fledx.errors import InvalidSpec, NotFound
from tests.unit.cli.harness import Cli

HOSTILE = 'a "b" \\ \x1b[2J \n ü .c'


def resolved(home: Path, *words: str, **environ: str) -> Target:
    command = Command(["status", *words])
    return resolve(command.parse(command.parser()), {"HOME": str(home), **environ})


def profile(home: Path, name: str, **fields: str) -> None:
    file = path({"HOME": str(home)})
    save(load(file).with_profile(name, fields), file)


def test_a_flag_wins_over_the_environment_which_wins_over_the_profile(tmp_path: Path) -> None:
    profile(tmp_path, "p", control_plane_url="http://profile:1", operator_token="tp", operator_header="X-P")
    environ = {"FLEDX_CLI_CONTROL_PLANE_URL": "http://env:2", "FLEDX_CLI_OPERATOR_TOKEN": "te"}

    by_flag = resolved(tmp_path, "--control-plane-url", "http://flag:3", **environ)
    by_env = resolved(tmp_path, **environ)
    by_profile = resolved(tmp_path)

    assert [str(each.address) for each in (by_flag, by_env, by_profile)] == [
        "http://flag:3",
        "http://env:2",
        "http://profile:1",
    ]
    assert [each.credentials.operator_token for each in (by_flag, by_env, by_profile)] == ["te", "te", "tp"]
    assert by_flag.credentials.header == "X-P"
    assert by_profile.token_hint == "the token came from profile p"


def test_without_anything_the_control_plane_on_this_machine_is_meant(tmp_path: Path) -> None:
    found = resolved(tmp_path)

    assert (
        str(found.address),
        found.credentials.operator_token,
        found.credentials.header,
        found.timeout,
    ) == ("http://localhost:8080", None, "authorization", 30.0)


@pytest.mark.parametrize("where", ["state", "data"])
def test_the_token_of_a_control_plane_on_this_machine_is_found(tmp_path: Path, where: str) -> None:
    directory = tmp_path / where / ("fledx/cp" if where == "state" else "")
    directory.mkdir(parents=True)
    (directory / "operator-token").write_text("local\n")
    environ = {
        "state": {"XDG_STATE_HOME": str(tmp_path / "state")},
        "data": {"FLEDX_CP_DATA_DIR": str(tmp_path / "data")},
    }

    assert resolved(tmp_path, **environ[where]).credentials.operator_token == "local"
    assert resolved(tmp_path, "--token", "given", **environ[where]).credentials.operator_token == "given"


def test_the_local_token_never_leaves_this_machine(tmp_path: Path) -> None:
    (tmp_path / "operator-token").write_text("local")
    found = resolved(tmp_path, "--control-plane-url", "http://cp.example.com", FLEDX_CP_DATA_DIR=str(tmp_path))

    assert found.credentials.operator_token is None
    assert "give one with --operator-token" in found.token_hint


def test_a_profile_is_chosen_by_flag_then_environment_then_default(tmp_path: Path) -> None:
    profile(tmp_path, "one", control_plane_url="http://one")
    profile(tmp_path, "two", control_plane_url="http://two")
    profile(tmp_path, "three", control_plane_url="http://three")

    assert [
        str(resolved(tmp_path, *words, **environ).address)
        for words, environ in (
            (["--profile", "three"], {"FLEDX_CLI_PROFILE": "two"}),
            ([], {"FLEDX_CLI_PROFILE": "two"}),
            ([], {}),
        )
    ] == ["http://three", "http://two", "http://one"]


def test_a_profile_that_is_not_there_suggests_a_near_one(tmp_path: Path) -> None:
    profile(tmp_path, "production")

    with pytest.raises(NotFound) as fault:
        resolved(tmp_path, "--profile", "producton")
    assert fault.value.hint == "did you mean production?"


@pytest.mark.parametrize("url", ["ftp://x", "http://a b", "http://x:99999"])
def test_a_url_that_is_none_says_where_it_came_from(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidSpec, match="it came from FLEDX_CLI_CONTROL_PLANE_URL"):
        resolved(tmp_path, FLEDX_CLI_CONTROL_PLANE_URL=url)


def test_without_a_home_the_command_line_still_works() -> None:
    command = Command(["status"])

    assert str(resolve(command.parse(command.parser()), {}).address) == "http://localhost:8080"


def test_what_is_written_is_read_again_whatever_the_words(tmp_path: Path) -> None:
    file = str(tmp_path / "deep" / "profiles.toml")
    before = Profiles().with_profile(HOSTILE, {"operator_token": HOSTILE}).with_profile("b", {})
    save(before, file)

    assert before == load(file)
    assert [oct(stat.S_IMODE(os.stat(each).st_mode)) for each in (file, os.path.dirname(file))] == ["0o600", "0o700"]


def test_the_file_is_sorted_and_unknown_keys_of_others_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text('bootstrap_repo_owner = "x"\n[profiles.b]\ncontrol_plane_url = "http://b"\nodd = 1\n[profiles.a]\n')
    file.chmod(0o600)

    assert written(load(str(file))) == '[profiles."a"]\n\n[profiles."b"]\ncontrol_plane_url = "http://b"\n'


def test_a_file_that_others_can_read_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    profile(tmp_path, "p")
    file = Path(path({"HOME": str(tmp_path)}))
    file.chmod(0o644)

    with pytest.raises(InvalidSpec, match="mode 644") as fault:
        resolved(tmp_path)
    assert f"chmod 600 {file}" == fault.value.hint


@pytest.mark.parametrize("text", ["not toml", "profiles = 1", "[profiles]\na = 1"])
def test_a_file_that_is_not_ours_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(text)
    file.chmod(0o600)

    with pytest.raises(InvalidSpec, match=r"profiles\.toml"):
        load(str(file))


def test_the_commands_of_the_readme_do_what_they_say(tmp_path: Path) -> None:
    cli = Cli(home=tmp_path, FLEDX_CLI_OPERATOR_TOKEN="")
    assert cli.run("profile", "list") == 0
    assert (cli.shown, "no profiles yet" in cli.said) == ("DEFAULT  NAME  CONTROL PLANE\n", True)

    url = "https://cp.example.com"
    assert (
        cli.run("profile", "set", "--name", "production", "--control-plane-url", url, "--operator-token", "secret") == 0
    )
    assert cli.run("profile", "set", "lab", "--control-plane-url", "lab:8080") == 0
    assert cli.run("profile", "set-default", "--name", "lab") == 0
    assert cli.run("profile", "list") == 0
    assert cli.shown == (
        "DEFAULT  NAME        CONTROL PLANE\n"
        "*        lab         http://lab:8080\n"
        "         production  https://cp.example.com\n"
    )

    assert cli.run("profile", "show", "--name", "production") == 0
    assert "control_plane_url  https://cp.example.com\noperator_token     <set>\n" in cli.shown
    assert "secret" not in cli.shown
    assert cli.run("profile", "show", "--json") == 0
    assert '"name": "lab"' in cli.shown

    assert cli.run("profile", "delete", "lab", "--yes") == 0
    assert cli.run("profile", "show") == 2
    assert "There is no default one" in cli.said


def test_a_token_may_come_by_stdin(tmp_path: Path) -> None:
    cli = Cli(home=tmp_path)
    cli.typed = "from-stdin\n"
    assert cli.run("profile", "set", "p", "--operator-token", "-") == 0

    assert load(path(cli.environ)).known["p"] == {"operator_token": "from-stdin"}


def test_a_token_of_the_environment_is_not_stored_unasked(tmp_path: Path) -> None:
    cli = Cli(home=tmp_path, FLEDX_CLI_REGISTRATION_TOKEN="env")
    assert cli.run("profile", "set", "p", "--control-plane-url", "http://x") == 0

    assert load(path(cli.environ)).known["p"] == {"control_plane_url": "http://x"}


def test_deleting_asks_the_person_at_the_terminal(tmp_path: Path) -> None:
    profile(tmp_path, "p")
    cli = Cli(home=tmp_path)
    cli.typed = "n\n"

    assert cli.run("profile", "delete", "p", tty=True) == 1
    assert cli.said == "Delete profile p and its tokens? [y/N] nothing was deleted\n"
    assert "p" in load(path(cli.environ)).known
