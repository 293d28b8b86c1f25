"""`status --watch` and `deployments watch` in a real terminal, beside a control plane and containers that are real."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.system import System
from tests.acceptance.tmux import Tmux, ensure_tmux
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.slow]
GREYS = {16, 59, 102, 145, 188, 231, *range(232, 256)}
"""Of xterm's 256 colours."""
COLOUR = re.compile(r"\x1b\[[0-9;]*(3[1-7]|38;[25]|4[1-7]|48;[25])[0-9;]*m")


@pytest.fixture(scope="module")
def running(pyz: Path, sample: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Two nodes, a deployment that runs and one that cannot be placed."""
    ensure_tmux()
    with System(pyz, tmp_path_factory.mktemp("view")) as system:
        system.start("edge-1", "edge-2")
        system.deploy("web", replicas=2)
        wanted = ("--image", sample, "--require-label", "disk=ssd", "--detach")
        assert system.cli("deployments", "create", "waits", *wanted).returncode == 0
        yield system


@pytest.fixture
def tmux(running: System, tmp_path: Path) -> Iterator[Tmux]:
    """A terminal of 80 columns and 24 rows, whose fledx knows the system."""
    own = {"FLEDX_CLI_CONTROL_PLANE_URL": running.url, "FLEDX_CLI_OPERATOR_TOKEN": running.token}
    with Tmux(tmp_path, {**running.environ, **own}) as terminal:
        yield terminal


def watch(running: System, tmux: Tmux, *words: str) -> None:
    tmux.run(running._command(*(words or ("status", "--watch"))), "; echo ended with $?")


def test_it_shows_filters_opens_and_gives_the_terminal_back(running: System, tmux: Tmux) -> None:
    watch(running, tmux)
    seen = tmux.shows("● running", "○ pending", "web", "waits", "Filter", "Quit")
    assert seen.index("waits") < seen.index("web"), "what lacks something stands on top"
    tmux.type("Tab")
    tmux.shows("edge-1", "edge-2", "● ready")
    tmux.type("Tab", "/")
    tmux.type("-l", "wai")
    tmux.shows("1 of 2")
    tmux.type("Enter", "Enter")
    tmux.shows("label disk=ssd missing", "Back")
    tmux.type("Escape")
    tmux.shows("1 of 2")
    tmux.type("Escape")
    tmux.shows("web", "deployments: 2")
    tmux.type("/")
    tmux.type("-l", "web")
    tmux.shows("1 of 2")
    tmux.type("Enter", "Enter")
    tmux.shows("edge-1", "edge-2", "2/2 ready")
    tmux.type("l")
    tmux.shows("web/0 |", "web/1 |")
    tmux.resize(140, 40)
    tmux.type("l", "Escape")
    tmux.shows("1 of 2")
    tmux.type("Escape")
    tmux.shows("nodes: 2", "deployments: 2")
    tmux.resize(60, 12)
    tmux.shows("deployments: 2", "web")
    tmux.type("q")
    tmux.shows("ended with 0")
    assert tmux.is_whole()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
@pytest.mark.parametrize("which", [0, -1], ids=["parent", "child"])
def test_the_terminal_is_whole_after_a_kill(running: System, tmux: Tmux, number: signal.Signals, which: int) -> None:
    watch(running, tmux)
    tmux.shows("● running")
    tmux.kill(tmux.processes("status --watch")[which], number)

    eventually(tmux.is_whole)
    eventually(lambda: not tmux.processes("status --watch"))


def test_without_a_control_plane_there_is_a_banner_and_then_it_comes_back(running: System, tmux: Tmux) -> None:
    watch(running, tmux)
    tmux.shows("● running", "web")
    running.control_plane.kill()
    tmux.shows("does not answer", "old; trying again", "web")
    running.start_control_plane()
    eventually(lambda: "does not answer" not in tmux.screen(), within=120)
    with_one_more = running.cli("deployments", "update", "waits", "--label", "seen=late", "--detach")
    assert with_one_more.returncode == 0, with_one_more.stderr
    tmux.type("/")
    tmux.type("-l", "seen=late")
    tmux.shows("1 of 2", "waits")
    tmux.type("Escape")
    tmux.shows("deployments: 2", "web")
    tmux.type("q")
    tmux.shows("ended with 0")


def test_colours_are_only_an_addition(running: System, tmux: Tmux) -> None:
    watch(running, tmux, "status", "--watch")
    tmux.shows("● running", "○ pending")
    assert COLOUR.search(tmux.screen(colours=True))
    tmux.type("q")
    tmux.shows("ended with 0")
    tmux.run(["export", "NO_COLOR=1"])
    watch(running, tmux, "status", "--watch")
    tmux.shows("● running", "○ pending")
    colours = {match[0] for match in COLOUR.finditer(tmux.screen(colours=True))}
    assert all(grey(each) for each in colours), colours


def grey(sequence: str) -> bool:
    """Whether all colours in it are black, white or between."""
    exact = re.findall(r"[34]8;2;(\d+);(\d+);(\d+)", sequence)
    indexed = [int(number) for number in re.findall(r"[34]8;5;(\d+)", sequence)]
    return bool(exact or indexed) and all(len(set(each)) == 1 for each in exact) and GREYS.issuperset(indexed)


def test_one_deployment_is_watched_with_its_logs(running: System, tmux: Tmux) -> None:
    eventually(lambda: running.ready_nodes() == 2, within=120)
    watch(running, tmux, "deployments", "watch", "web", "--follow-logs")
    tmux.shows("2/2 ready", "web/0 |", "web/1 |", "Back")
    tmux.type("q")
    tmux.shows("ended with 0")
    assert tmux.is_whole()
