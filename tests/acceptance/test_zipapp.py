"""The archive with everything that ships, under every CPython on this machine, on hosts that have nothing else."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fledx import _boot
from tests.tools import wheels
from tests.tools.machine import ROOT, pythons

pytestmark = pytest.mark.slow

PYTHONS = pythons()
PROGRAMS = sorted(path for path in Path(__file__).with_name("inside").glob("[!_]*.py"))
OLD_PYTHONS = [
    str(python)
    for version in ("2.7", "3.6", "3.7", "3.8", "3.9")
    for python in Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python")
]
ELF_MACHINES = {62: "x86_64", 183: "aarch64"}
NEWEST_GLIBC = (2, 17)
"""What manylinux2014 promises, and so every distribution that has a Python 3.10."""


@pytest.fixture
def archive(pyz: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(pyz) as opened:
        yield opened


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all interpreters, as a user who has several would have it."""
    return tmp_path_factory.mktemp("cache")


def inside(pyz: Path, code: str) -> list[str]:
    """Arguments for a Python that shall run `code` with the archive's imports and nothing of a site."""
    start = f"import sys; sys.path.insert(0, {str(pyz)!r}); from fledx import _boot; _boot.install()"
    return ["-I", "-S", "-W", "error", "-c", f"{start}\n{code}"]


def succeed(*command: str | Path, cwd: Path, **env: str) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
@pytest.mark.parametrize("version", PYTHONS)
def test_every_library_works_from_the_file_alone(
    pyz: Path, cache: Path, tmp_path: Path, version: str, program: Path
) -> None:
    command = [PYTHONS[version], *inside(pyz, program.read_text().replace("from __future__ import annotations\n", ""))]
    for _ in ("the first run compiles and unpacks", "the second finds that done"):
        succeed(*command, cwd=tmp_path, FLEDX_CACHE_DIR=str(cache), PYTHONWARNINGS="error")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("version", PYTHONS)
def test_every_module_compiles_without_a_warning(pyz: Path, tmp_path: Path, version: str) -> None:
    code = """
import zipfile
with zipfile.ZipFile(_boot.archive()) as archive:
    for name in archive.namelist():
        if name.endswith(".py") and not name.startswith("fledx/"):
            compile(archive.read(name), name, "exec")
"""
    succeed(PYTHONS[version], *inside(pyz, code), cwd=tmp_path, FLEDX_CACHE_DIR=str(tmp_path))


@pytest.mark.parametrize("python", OLD_PYTHONS)
def test_an_old_python_says_so_in_one_line(pyz: Path, tmp_path: Path, python: str) -> None:
    for program, name in ((pyz, "fledx"), (ROOT / "build.py", "build.py")):
        if program == pyz or not python.split("/")[-3].startswith("2."):
            done = subprocess.run([python, program], cwd=tmp_path, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
            assert done.stderr.startswith(f"{name} needs Python 3.10 or newer; ")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree that nobody works in, with what it makes; the wheels are shared."""
    copy = tmp_path_factory.mktemp("tree")
    for part in ("fledx", "tests/tools"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("build.py", "tests/__init__.py"):
        shutil.copy(ROOT / part, copy / part)
    (copy / "build").mkdir()
    (copy / "build" / "wheels").symlink_to(ROOT / "build" / "wheels")
    succeed(sys.executable, copy / "build.py", cwd=copy, PATH=os.defpath)
    return copy


@pytest.mark.parametrize("version", PYTHONS)
def test_any_machine_makes_the_same_file(tree: Path, tmp_path: Path, version: str) -> None:
    command = f"umask 027; exec '{PYTHONS[version]}' '{tree}/build.py' --check '{tree}/dist/fledx.pyz'"
    env = {"TZ": "Pacific/Auckland", "LANG": "C", "PYTHONHASHSEED": "7", "HOME": str(tmp_path), "PATH": os.defpath}
    assert "is exactly what this tree makes" in succeed("sh", "-c", command, cwd=tmp_path, **env)


def test_a_file_that_is_not_ours_is_told_apart(tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pyz"
    other.write_bytes((tree / "dist" / "fledx.pyz").read_bytes() + b"\0")
    command = [sys.executable, str(tree / "build.py"), "--check", str(other)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("is NOT what this tree makes")) == (1, 1)


def test_native_modules_fit_the_machines_they_are_for(archive: zipfile.ZipFile) -> None:
    native = [name for name in archive.namelist() if name.startswith("_native/")]
    assert len(native) == len(wheels.MACHINES) * (len(_boot.NATIVE) - 1 + len(wheels.PYTHONS))
    for name in native:
        content = archive.read(name)
        assert ELF_MACHINES[struct.unpack_from("<H", content, 18)[0]] == name.split("/")[1].removeprefix("manylinux_")
        needed = {tuple(map(int, found.split(b"."))) for found in re.findall(rb"GLIBC_(\d+\.\d+)", content)}
        assert max(needed) <= NEWEST_GLIBC


def test_every_package_ships_with_its_licence_and_its_version(archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    for pin, _ in wheels.read_lock().values():
        name, _, version = pin.partition("==")
        folder = re.compile(rf"{name.replace('-', '[-_.]')}-{re.escape(version)}\.dist-info/", re.IGNORECASE)
        files = [entry for entry in names if folder.match(entry)]
        assert [entry for entry in files if entry.endswith("/METADATA")], pin
        assert [entry for entry in files if re.search("LICEN[CS]E|COPYING", entry)], pin


def test_the_file_stays_small(pyz: Path, archive: zipfile.ZipFile) -> None:
    """Measured: 16.0 MB and 1,040 members before our own 2.3; each member costs 2 microseconds of every start."""
    assert pyz.stat().st_size < 20_000_000
    assert len([name for name in archive.namelist() if not name.startswith("fledx/")]) < 1_100


@pytest.fixture
def unshared() -> list[str]:
    """A command that gives what follows its own mounts, where this user may do that."""
    command = ["unshare", "--mount", "sh", "-c"]
    if subprocess.run([*command, "mount -t tmpfs none /mnt"], capture_output=True, check=False).returncode:
        pytest.skip("only root can mount")
    return command


def test_natives_load_where_the_cache_may_not_be_executed(pyz: Path, tmp_path: Path, unshared: list[str]) -> None:
    (tmp_path / "cache").mkdir()
    code = "import bcrypt._bcrypt; print(bcrypt._bcrypt.__file__[:14], _boot.cache())"
    script = f'mount -t tmpfs -o noexec,mode=700 none {tmp_path}/cache; exec "$@"'
    command = [*unshared, script, "sh", sys.executable, *inside(pyz, code)]
    said = succeed(*command, cwd=tmp_path, FLEDX_CACHE_DIR=f"{tmp_path}/cache", PATH=os.defpath)
    assert said.startswith(f"/proc/self/fd/ {tmp_path}/cache/")


def test_a_full_cache_is_no_obstacle_and_gets_no_debris(pyz: Path, tmp_path: Path, unshared: list[str]) -> None:
    (tmp_path / "cache").mkdir()
    code = "import paramiko; print(paramiko.__version__)"
    script = f'mount -t tmpfs -o size=3m,mode=700 none {tmp_path}/cache; "$@" && find {tmp_path}/cache -name "*~"'
    command = [*unshared, script, "sh", sys.executable, *inside(pyz, code)]
    said = succeed(*command, cwd=tmp_path, FLEDX_CACHE_DIR=f"{tmp_path}/cache", PATH=os.defpath)
    assert wheels.read_lock()["paramiko"][0] == f"paramiko=={said}"


def test_a_host_that_can_write_nowhere_runs_everything(pyz: Path, tmp_path: Path, unshared: list[str]) -> None:
    places = "/var/cache /var/tmp /dev/shm /tmp"
    empty = "mount -t tmpfs none /var/cache"  # where this very build may have run before
    script = f"{empty}; for place in {places}; do mount --bind $place $place; mount -o remount,bind,ro $place; done"
    code = "import paramiko, anyio; print(_boot.cache())"
    command = [*unshared, f'{script}; exec "$@"', "sh", sys.executable, *inside(pyz, code)]
    assert succeed(*command, cwd=tmp_path, PATH=os.defpath) == "None"
