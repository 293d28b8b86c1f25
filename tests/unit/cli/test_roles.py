"""The roles' flags are the settings that are declared, and nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from fledx.cli.command import Command
from fledx.cli.joining import join_string
from fledx.cli.roles import settings_of
from fledx.errors import InvalidSpec
from fledx.settings.agent import AgentSettings
from fledx.settings.control_plane import ControlPlaneSettings
from fledx.settings.declare import declared
from tests.unit.cli.harness import Cli


@pytest.mark.parametrize(("noun", "cls"), [("cp", ControlPlaneSettings), ("agent", AgentSettings)])
def test_every_setting_has_its_flag_and_its_line_of_help(noun: str, cls: type) -> None:
    text = " ".join(Command([noun]).parser().format_help().split())

    assert [] == [each.flag for each in declared(cls) if each.flag not in text or f"({each.env})" not in text]


def test_a_flag_wins_over_the_environment() -> None:
    command = Command(["cp", "--server-port", "81", "--tunnel-use-tls=false", "--metrics-public"])
    cli = Cli(FLEDX_CP_SERVER_PORT="82", FLEDX_CP_SERVER_HOST="::1")
    settings = settings_of(command.parse(command.parser()), cli.terminal(cli.out), ControlPlaneSettings)

    assert (81, "::1", False, True) == (
        settings.server_port,
        settings.server_host,
        settings.tunnel_use_tls,
        settings.metrics_public,
    )


def test_a_setting_that_makes_no_sense_is_named_as_it_was_given() -> None:
    cli = Cli(FLEDX_CP_SERVER_PORT="many")

    assert 2 == cli.run("cp", "--tunnel-port", "x")
    assert ["fledx: 2 faults:", "  FLEDX_CP_SERVER_PORT: 'many' is not a whole number"] == cli.said.splitlines()[:2]
    assert "--tunnel-port: 'x' is not a whole number" in cli.said


def test_a_join_string_may_come_by_stdin_or_by_file(tmp_path: Path) -> None:
    file = tmp_path / "join"
    file.write_text("fledx-join.y\n")
    terminal = Cli().terminal(io.StringIO("fledx-join.x\n"))
    assert ["fledx-join.x", "fledx-join.y", "fledx-join.z", None] == [
        join_string(word, "--join", terminal) for word in ("-", f"@{file}", "fledx-join.z", None)
    ]
    with pytest.raises(InvalidSpec, match="cannot be read"):
        join_string(f"@{tmp_path}/none", "--join", terminal)
