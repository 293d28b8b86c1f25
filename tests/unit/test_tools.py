"""What `build.py` does to a machine: an engine is found, started and stopped again, and nothing installed unasked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import rounds
from tests.tools import checks, engine, machine
from tests.tools.machine import ROOT, Stop

DOCKERD = f"""#!{sys.executable}
import os, signal, socket, sys
if "FAILS" in os.environ:
    sys.exit(os.environ["FAILS"])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(os.environ["DOCKER_HOST"].removeprefix("unix://"))
    listener.listen()
    print("listening", os.getpid(), flush=True)
    while True:
        peer, _ = listener.accept()
        peer.recv(1024)
        peer.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nOK")
        peer.close()
"""

CHILD = """
import pathlib, sys, time
try:
    time.sleep(0.5)  # until who started it waits for it
    print("ready", flush=True)
    time.sleep(120)
except KeyboardInterrupt:
    time.sleep(0.5)
    pathlib.Path(sys.argv[1]).touch()
    sys.exit(7)
"""

no_systemd = pytest.mark.skipif(Path("/run/systemd/system").exists(), reason="systemd starts the engine here")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts an engine")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose `dockerd` is a stand-in that does not run yet; its log."""
    program = tmp_path / "bin" / "dockerd"
    program.parent.mkdir()
    program.write_text(DOCKERD)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    return tmp_path / "dockerd.log"


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which an engine answers."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/found.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/found.sock")
        listener.listen()

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)  # what is closed with a question unread is a reset to who asked
                peer.sendall(b"HTTP/1.0 200 OK\r\n\r\nOK")

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        thread.join(60)


@pytest.mark.usefixtures("found")
def test_an_engine_that_answers_is_used_and_left_alone(tmp_path: Path) -> None:
    with engine.running(install=False, log=tmp_path / "dockerd.log"):
        pass
    assert not (tmp_path / "dockerd.log").exists()


@no_systemd
@root_only
def test_an_engine_that_was_started_is_stopped_again(log: Path) -> None:
    with engine.running(install=False, log=log):
        assert engine.answers()
        pid = int(log.read_text().split()[1])
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not engine.answers()


@no_systemd
@root_only
def test_an_engine_that_cannot_start_is_explained(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILS", "failed to start daemon: Devices cgroup isn't mounted")
    with pytest.raises(Stop, match=r"ended at once with 1(.|\n)*Devices cgroup(.|\n)*Hint: .*cgroupfs-mount"):
        engine.running(install=False, log=log).__enter__()


def test_a_number_that_is_another_process_s_by_now_is_forgotten(tmp_path: Path) -> None:
    stale = tmp_path / "docker.pid"
    stale.write_text(f"{os.getpid()}\n")
    engine.forget_the_dead(tmp_path)
    assert not stale.exists()


def test_nothing_is_installed_where_that_is_not_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = tmp_path / "called"
    for name in ("apt-get", "systemctl"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {called}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        Stop, match=r"there is no engine, and --no-install was given\. Install it with: apt-get install -y x"
    ):
        machine.install_packages(["x"], "there is no engine", allowed=False)
    assert not called.exists()


def test_a_distribution_without_apt_is_told_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Stop, match=r"there is no engine\. Install it with your distribution's package manager"):
        machine.install_packages(["x"], "there is no engine", allowed=True)


def test_pip_keeps_only_the_way_to_its_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://index.example/simple\nconstraint = /none\n")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels")
    monkeypatch.setenv("PIP_PROXY", "http://proxy.example:3128")
    env = machine.pip_environment([sys.executable, "-m", "pip"])
    assert (env["PIP_INDEX_URL"], env["PIP_PROXY"]) == ("https://index.example/simple", "http://proxy.example:3128")
    assert env["PIP_CONFIG_FILE"] == os.devnull
    assert not env.keys() & {"PIP_FIND_LINKS", "PIP_CONSTRAINT"}


def test_a_child_may_clean_up_after_an_interrupt(tmp_path: Path) -> None:
    cleaned = tmp_path / "cleaned"
    child = tmp_path / "child.py"
    child.write_text(CHILD)
    code = "import sys; from tests.tools.machine import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, sys.executable, str(child), str(cleaned)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.wait(120) == 7
    assert cleaned.exists()


def test_seed_and_soak_reach_the_tests() -> None:
    words, env = checks.chosen(["--soak", "tests/unit", "--seed", "7", "-x"])
    assert words == ["tests/unit", "--hypothesis-seed=7", "-x"]
    assert (env["FLEDX_TEST_SEED"], env["FLEDX_TEST_SOAK"]) == ("7", "1")
    with pytest.raises(Stop, match="--seed wants a number"):
        checks.chosen(["--seed", "seven"])


def test_the_seed_and_the_length_that_were_asked_for_reach_the_simulated_worlds() -> None:
    _, env = checks.chosen(["--soak", "--seed", "7"])
    assert (rounds.worlds(env), rounds.first_seed(env)) == (100_000, 7)
    assert (rounds.worlds({}), rounds.first_seed({})) == (2_000, 0)
    assert (rounds.worlds({**env, "FLEDX_WORLDS": "1"}), rounds.first_seed({**env, "FLEDX_SEED": "9"})) == (1, 9)


SUITE = """
import pathlib, pytest
TRIED = pathlib.Path(__file__).with_name("tried")
@pytest.mark.parametrize("number", range(6))
def test_it(number):
    with TRIED.open("a") as file:
        file.write(f"{number} ")
    before = TRIED.read_text().split().count(str(number))
    assert number not in FAULTS and (number not in CHANCE or before > 1)
"""


@pytest.mark.parametrize(
    ("faults", "chance", "code", "again"),
    [
        ((), (1, 4), 0, "1 4"),
        ((3,), (1,), 1, "1 3"),
        ((), (0, 1, 2, 4), 1, ""),  # so many are no chance
    ],
)
def test_a_few_tests_that_failed_beside_others_are_told_and_run_once_more(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    faults: tuple[int, ...],
    chance: tuple[int, ...],
    code: int,
    again: str,
) -> None:
    (tmp_path / "pytest.ini").write_text(f"[pytest]\ncache_dir = {tmp_path}/cache\n")
    (tmp_path / "test_suite.py").write_text(f"FAULTS, CHANCE = {faults}, {chance}\n{SUITE}")
    monkeypatch.setattr(checks, "FAILED", tmp_path / "cache/v/cache/lastfailed")
    suite: list[str | Path] = [sys.executable, "-m", "pytest", "-q", "-c", tmp_path / "pytest.ini", tmp_path]
    assert checks.TESTS_FAILED == machine.run(suite)
    assert code == checks.once_more(suite, os.environ)
    tried = (tmp_path / "tried").read_text().split()
    assert again == " ".join(tried[6:])
    told = capsys.readouterr().out
    assert ("failed beside others and passed alone" in told) is (code == 0)


def test_a_benchmark_that_does_not_exist_is_named() -> None:
    with pytest.raises(Stop, match="there is no benchmark moonshot; there are: "):
        checks.bench(["moonshot"], lambda *, install: Path(), install=False)
