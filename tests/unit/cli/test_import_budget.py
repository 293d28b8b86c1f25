"""What a command must not load: every TAB and every --help starts a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fledx

CHECKOUT = str(Path(fledx.__file__).parent.parent)
HEAVY = (
    *("docker", "starlette", "hypercorn", "paramiko", "rich", "textual", "cattrs", "yaml", "msgpack", "cryptography"),
    *("anyio", "prometheus_client", "asyncio", "http.client", "email", "urllib.parse", "ssl", "logging", "sqlite3"),
)
#: What a dataclass costs before the first is made, and the compressors that shutil would bring into argparse.
ALSO_HELP = (
    "dataclasses",
    "inspect",
    "shutil",
    "json",
    "socket",
    "argcomplete",
    "fledx.models",
    "fledx.settings",
)
AWAY = {"FLEDX_CLI_CONTROL_PLANE_URL": "http://127.0.0.1:9", "FLEDX_CLI_OPERATOR_TOKEN": "t0ken"}
SCRIPT = """
import sys
from fledx.cli.main import main
try:
    code = main(sys.argv[1:])
finally:
    sys.stderr.write("".join(f"\\n{name}" for name in sys.modules))
"""


def loaded(*words: str, **environ: str) -> set[str]:
    """The modules in memory after a command; a completion ends its process itself, so that it is asked by -X."""
    path = ":".join([CHECKOUT, *(each for each in sys.path if each)])
    around = {"PATH": "/usr/bin", "PYTHONPATH": path, "HOME": "/nowhere", **AWAY, **environ}
    command = [sys.executable, "-S", "-X", "importtime", "-c", SCRIPT, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=around, timeout=300)
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


def found(modules: set[str], forbidden: tuple[str, ...]) -> list[str]:
    return [name for name in forbidden if name in modules]


@pytest.mark.parametrize("words", [["--help"], ["--version"], [], ["-V"]])
def test_help_and_version_need_not_even_a_parser(words: list[str]) -> None:
    modules = loaded(*words)

    assert "fledx.cli.help" in modules
    assert [] == found(modules, (*HEAVY, *ALSO_HELP, "argparse", "typing", "re"))


@pytest.mark.parametrize("words", [["nodes", "--help"], ["deployments"], ["nodez"]])
def test_the_verbs_of_a_noun_are_told_with_a_parser_and_little_else(words: list[str]) -> None:
    modules = loaded(*words)

    assert "argparse" in modules
    assert [] == found(modules, (*HEAVY, *ALSO_HELP))


@pytest.mark.parametrize(
    "words",
    [
        ["nodes", "list", "--help"],
        ["deployments", "create", "--help"],
        ["logs", "--help"],
        ["exec", "--help"],
        ["forward", "--help"],
    ],
)
def test_the_help_of_a_command_loads_no_library(words: list[str]) -> None:
    assert [] == found(loaded(*words), HEAVY)


@pytest.mark.parametrize("words", [["nodes", "list"], ["status"], ["logs"], ["events"], ["deployments", "show", "web"]])
def test_a_command_that_reads_loads_no_library(words: list[str]) -> None:
    modules = loaded(*words)

    assert "fledx.client.connection" in modules
    assert [] == found(modules, HEAVY)


@pytest.mark.parametrize("line", ["fledx dep", "fledx deployments create --im", "fledx nodes show "])
def test_a_completion_loads_no_library_but_its_own(line: str) -> None:
    modules = loaded(
        _ARGCOMPLETE="1",
        COMP_LINE=line,
        COMP_POINT=str(len(line)),
        _ARGCOMPLETE_STDOUT_FILENAME=os.devnull,
    )

    assert "argcomplete" in modules
    assert [] == found(modules, HEAVY)
