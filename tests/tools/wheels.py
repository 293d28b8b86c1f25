"""The wheels that ship: their lock in pip's own format, and a folder that holds exactly what it names."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.tools.machine import BUILD, ROOT, Stop, patient, pip, pip_environment, say

LOCK = ROOT / "fledx" / "requirements.lock"
FOLDER = BUILD / "wheels"

MACHINES = ("x86_64", "aarch64")
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15")
PER_PYTHON = ("cffi",)
"""One native wheel for each Python and machine."""
PER_MACHINE = ("bcrypt", "cryptography", "pynacl")
"""One native wheel for each machine, by the stable ABI."""
PURE_PART = ("msgpack", "pyyaml")
"""No pure wheel is published: any one will do, for its native part, all about speed, is left out."""


@dataclass(frozen=True)
class Batch:
    """Wheels that one call of pip can choose: for one Python, and for any of some platforms."""

    names: tuple[str, ...]
    python: str
    platforms: tuple[str, ...]

    def options(self) -> list[str]:
        """The options of `pip download` and `pip install` that make it choose for another machine."""
        chosen = ["--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", self.python]
        return [*chosen, *(f"--platform={platform}" for platform in self.platforms)]


def batches(names: list[str]) -> Iterator[Batch]:
    """Split what ships by how its wheels differ; 3.10 is the floor, so what needs a newer Python is refused."""
    special = {*PER_PYTHON, *PER_MACHINE, *PURE_PART}
    yield Batch(tuple(name for name in names if name not in special), "3.10", ("any",))
    yield Batch(PURE_PART, "3.10", ("manylinux2014_x86_64",))
    for machine in MACHINES:
        platforms = (f"manylinux2014_{machine}",)
        yield Batch(PER_MACHINE, "3.10", platforms)
        for python in PYTHONS:
            yield Batch(PER_PYTHON, python, platforms)


def read_lock(path: Path = LOCK) -> dict[str, tuple[str, frozenset[str]]]:
    """Normalised name -> the requirement (`name==version`) and the SHA-256 of each wheel of it that may be used."""
    lock: dict[str, tuple[str, frozenset[str]]] = {}
    text = "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("#"))
    for entry in text.replace("\\\n", " ").splitlines():
        pin, *hashes = entry.split()
        prefix = "--hash=sha256:"
        if "==" not in pin or not hashes or not all(word.startswith(prefix) for word in hashes):
            raise Stop(f"{path.name}: {entry!r} is not NAME==VERSION --hash=sha256:…")
        lock[pin.partition("==")[0]] = (pin, frozenset(word[len(prefix) :] for word in hashes))
    return lock


def fetch(*, install: bool) -> list[Path]:
    """Every wheel of the lock, sorted by name; what lies in the folder with the right content is not fetched again."""
    lock = read_lock()
    wanted = frozenset().union(*(hashes for _, hashes in lock.values()))
    found = _known(wanted)
    if len(found) < len(wanted):
        say(f"fetching {len(wanted) - len(found)} wheels of {LOCK.relative_to(ROOT)}")
        command = pip(install=install)
        env = pip_environment(command)
        FOLDER.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda batch: _download(batch, lock, command, env), batches(sorted(lock))))
        found = _known(wanted)
    missing = wanted - found.keys()
    if missing:
        raise Stop(
            f"the index gave no wheel with sha256 {', '.join(sorted(missing))}; `build.py lock` writes the lock anew"
        )
    return sorted(found.values(), key=lambda path: path.name)


def _known(wanted: frozenset[str]) -> dict[str, Path]:
    digests = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in sorted(FOLDER.glob("*.whl"))}
    return {digest: path for digest, path in digests.items() if digest in wanted}


def _download(
    batch: Batch, lock: dict[str, tuple[str, frozenset[str]]], command: list[str], env: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory(dir=BUILD) as scratch:
        asked = Path(scratch, "requirements.txt")
        pins = (
            (lock[name][0], *(f"--hash=sha256:{digest}" for digest in sorted(lock[name][1]))) for name in batch.names
        )
        asked.write_text("".join(" ".join(pin) + "\n" for pin in pins))
        patient(
            [*command, "download", "-q", "--require-hashes", *batch.options(), "-d", scratch, "-r", str(asked)], env
        )
        for wheel in Path(scratch).glob("*.whl"):
            shutil.move(wheel, FOLDER / wheel.name)
