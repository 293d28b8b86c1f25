"""The developer's machine: running programs, packages of the distribution, a Python that has pip."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"

# Where an index is and how to reach it; all other settings of pip (constraints, other indexes, folders of wheels)
# would let this machine decide what is chosen.
PIP_KEEPS = ("index-url", "cert", "client-cert", "proxy", "trusted-host", "timeout", "default-timeout", "retries")


class Stop(Exception):
    """The command cannot go on; the text says why and what to do."""


def say(text: str) -> None:
    """Tell in one line what is done next."""
    print(f"==> {text}", flush=True)


def run(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> int:
    """Run in the project's folder, let it clean up after Ctrl-C, and return its exit code, 128 + N for signal N."""
    child = subprocess.Popen([str(part) for part in command], cwd=ROOT, env=env)
    while child.returncode is None:
        try:
            child.wait()
        except KeyboardInterrupt:
            pass  # the terminal has told the child as well
        except SystemExit:
            child.terminate()
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def quiet(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> str:
    """Run and return standard output; `Stop` with the end of what it said when it fails."""
    parts = [str(part) for part in command]
    try:
        done = subprocess.run(parts, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    except OSError as problem:
        raise Stop(f"cannot run {parts[0]}: {problem.strerror}") from None
    if done.returncode:
        said = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-15:])
        raise Stop(f"`{' '.join(parts)}` failed with {done.returncode}:\n{said}")
    return done.stdout


def patient(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> str:
    """The same for what asks the network: what it fails at is tried again after a while, twice."""
    for pause in (5, 20):
        try:
            return quiet(command, env)
        except Stop as problem:
            say(f"once more in {pause} s: {problem}")
        time.sleep(pause)
    return quiet(command, env)


def install_packages(packages: Sequence[str], why: str, *, allowed: bool, recommended: bool = True) -> None:
    """Install packages of the distribution, saying so; `Stop` with the command to type where that may not be done."""
    options = ["-y"] if recommended else ["-y", "--no-install-recommends"]
    command = f"apt-get install {' '.join([*options, *packages])}"
    if not shutil.which("apt-get"):
        raise Stop(f"{why}. Install it with your distribution's package manager (on Debian: {command})")
    if not allowed:
        raise Stop(f"{why}, and --no-install was given. Install it with: {command}")
    if os.geteuid():
        raise Stop(f"{why}, and only root can install it: sudo {command}")
    say(f"{why}: installing {' '.join(packages)} from the distribution")
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    apt = "apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3"
    with _turn("apt"):
        patient(["sh", "-c", f"{apt} update && {apt} install {' '.join([*options, *packages])}"], env)


@contextlib.contextmanager
def _turn(what: str) -> Iterator[None]:
    """One at a time on this machine: tests run in several processes, and the package manager refuses a second."""
    with open(f"{tempfile.gettempdir()}/fledx-{what}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pythons() -> dict[str, str]:
    """Full version -> path of every CPython 3.10 to 3.14 found here that starts: on the PATH, in /usr or in pyenv."""
    folders = [*os.get_exec_path(), "/usr/bin", "/usr/local/bin"]
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    folders += [str(path) for path in sorted(root.glob("versions/*/bin"))]
    ask = "import platform, sys; print(platform.python_implementation(), platform.python_version(), sys.executable)"
    found: dict[str, str] = {}
    for python in (f"{folder}/python3.{minor}" for minor in range(10, 15) for folder in folders):
        if os.access(python, os.X_OK):
            said = subprocess.run(
                [python, "-IS", "-c", ask], capture_output=True, text=True, check=False
            ).stdout.split()
            if said[:1] == ["CPython"]:  # a shim of pyenv may stand for nothing
                found.setdefault(said[1], said[2])
    return found


def has_module(python: str | Path, name: str) -> bool:
    """Whether that interpreter can import the module."""
    command = [str(python), "-c", f"import {name}"]
    return not subprocess.run(command, capture_output=True, check=False).returncode


def make_venv(folder: Path, *, install: bool, python: str = sys.executable) -> Path:
    """Make a virtual environment with pip and return its interpreter; gets what Debian splits from its Python."""
    if not has_module(python, "ensurepip"):
        version = quiet([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).strip()
        package = f"python{version}-venv"
        install_packages([package], f"{python} cannot make virtual environments", allowed=install)
    shutil.rmtree(folder, ignore_errors=True)
    quiet([python, "-m", "venv", folder])
    return folder / "bin" / "python"


def pip(*, install: bool) -> list[str]:
    """The command that runs pip; where this Python has none, one in a virtual environment under build/ is made."""
    if has_module(sys.executable, "pip"):
        return [sys.executable, "-m", "pip"]
    inside = BUILD / "venv-pip" / "bin" / "python"
    if not inside.exists() or not has_module(inside, "pip"):
        say(f"{sys.executable} has no pip: making a virtual environment that has")
        inside = make_venv(inside.parents[1], install=install)
    return [str(inside), "-m", "pip"]


def pip_environment(command: Sequence[str]) -> dict[str, str]:
    """The environment in which pip keeps only how this machine reaches its index."""
    settings: dict[str, str] = {}
    for line in sorted(quiet([*command, "config", "list"]).splitlines(), key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = ast.literal_eval(value)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    env |= {f"PIP_{name.upper().replace('-', '_')}": settings[name] for name in PIP_KEEPS if name in settings}
    return env | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
