"""What `build.py` makes, shown on small archives: its header, its format, its identity; and the lock it goes by."""

from __future__ import annotations

import ast
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import build
from tests.archives import make
from tests.tools import wheels
from tests.tools.lock import NOT_SHIPPED, TESTS_LOCK
from tests.tools.machine import Stop

SHELLS = [shell for shell in ("sh", "dash", "bash", "busybox") if shutil.which(shell)]


@pytest.fixture
def pyz(tmp_path: Path) -> Path:
    path = tmp_path / "fledx.pyz"
    make(path)
    return path


def run(*command: str | Path, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    known = {"PATH": os.defpath, "FLEDX_PYTHON": sys.executable} | env
    return subprocess.run(command, cwd=cwd, env=known, capture_output=True, text=True, timeout=300, check=False)


def pythons_in(folder: Path, *names: str) -> str:
    """A PATH on which these names alone are the Python that runs the tests."""
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(sys.executable)
    return str(folder)


def test_the_file_runs_by_its_name_from_anywhere(pyz: Path) -> None:
    assert run(pyz, "import sys; print(*sys.argv)").stdout == f"{pyz} import sys; print(*sys.argv)\n"
    assert run("./fledx.pyz", "import sys; print(sys.argv[0])", cwd=pyz.parent).stdout == "./fledx.pyz\n"


def test_a_link_shows_the_name_it_was_called_by(pyz: Path, tmp_path: Path) -> None:
    link = tmp_path / "a folder" / "fledx-agent"
    link.parent.mkdir()
    link.symlink_to(pyz)
    assert run(link, "import sys; print(sys.argv[0])").stdout == f"{link}\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_understands_the_header(pyz: Path, shell: str) -> None:
    command = [shell, "sh"] if shell == "busybox" else [shell]
    assert run(*command, pyz, "print('hello')").stdout == "hello\n"


def test_the_exit_code_and_arguments_pass_through(pyz: Path) -> None:
    assert run(pyz, "raise SystemExit(130)", "a b", "").returncode == 130
    assert run(pyz, "import sys; print(sys.argv[2:])", "a  b", "", "*").stdout == "['a  b', '', '*']\n"


def test_the_host_s_python_settings_stay_out(pyz: Path, tmp_path: Path) -> None:
    (tmp_path / "argparse.py").write_text("raise SystemExit('a stranger was imported')")
    code = "import argparse, sys; print('site' in sys.modules, sys.flags.isolated)"
    done = run(pyz, code, cwd=tmp_path, PYTHONPATH=str(tmp_path), PYTHONSTARTUP="/nonexistent")
    assert (done.stdout, done.stderr) == ("False 1\n", "")


def test_a_python_with_its_version_in_its_name_will_do(pyz: Path, tmp_path: Path) -> None:
    path = pythons_in(tmp_path / "bin", "python3.12")
    assert run(pyz, "print('hello')", PATH=path, FLEDX_PYTHON="").stdout == "hello\n"


def test_a_host_without_python_is_told_so(pyz: Path, tmp_path: Path) -> None:
    done = run(pyz, PATH=pythons_in(tmp_path / "bin"), FLEDX_PYTHON="")
    assert (done.returncode, done.stderr) == (1, "fledx needs Python 3.10 or newer, and found no python3\n")


def test_completion_finds_its_marker_where_it_looks(pyz: Path) -> None:
    assert b"PYTHON_ARGCOMPLETE_OK" in pyz.read_bytes()[:1024]


def test_the_oldest_python_can_read_what_tells_it_that_it_is_too_old() -> None:
    ast.parse(build.MAIN, feature_version=(3, 4))
    ast.parse(Path(build.__file__).read_text(), feature_version=(3, 6))


def test_every_zip_reader_takes_the_archive(pyz: Path) -> None:
    with zipfile.ZipFile(pyz) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names == sorted(set(names))
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o100644}


def test_the_order_of_files_on_the_disk_does_not_matter() -> None:
    boot = build.stored("fledx/_boot.py", b"BUILD: str | None = None\n")
    members = [boot, build.stored("b.py", b"1"), build.stored("a.py", b"2")]
    assert build.pack(members) == build.pack(reversed(members))


def test_the_identity_is_that_of_the_content() -> None:
    def identity(content: bytes) -> bytes:
        members = [build.stored("fledx/_boot.py", b"BUILD: str | None = None\n"), build.stored("a.py", content)]
        with zipfile.ZipFile(io.BytesIO(build.pack(members))) as archive:
            return archive.read("fledx/_boot.py")

    assert identity(b"1") == identity(b"1") != identity(b"2")
    assert len(identity(b"1")) == len(b'BUILD: str | None = "0123456789abcdef"\n')


def test_a_wheel_gives_its_files_as_they_lie_compressed(tmp_path: Path) -> None:
    wheel = tmp_path / "thing-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("thing/__init__.py", "WORD = 1\n" * 50)
        archive.writestr("thing/__init__.pyi", "WORD: int")
        archive.writestr("thing/py.typed", "")
        archive.writestr("thing-1.dist-info/METADATA", "Name: thing")
        archive.writestr("thing-1.dist-info/licenses/LICENSE.txt", "free")
        archive.writestr("thing-1.dist-info/RECORD", "")
    members = {member.name: member for member in build.shipped(wheel)}
    assert sorted(members) == [
        "thing-1.dist-info/METADATA",
        "thing-1.dist-info/licenses/LICENSE.txt",
        "thing/__init__.py",
    ]
    assert members["thing/__init__.py"].method == zipfile.ZIP_DEFLATED
    assert len(members["thing/__init__.py"].data) < members["thing/__init__.py"].size == 450


def test_what_could_not_be_imported_stops_the_build() -> None:
    with pytest.raises(Stop, match=r"a/b/c\.py lies in a folder without __init__\.py"):
        build.check({"a/b/c.py": build.stored("a/b/c.py", b"")})
    with pytest.raises(Stop, match="the native modules for x86_64 are"):
        build.check({})


def test_two_wheels_that_disagree_stop_the_build(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with zipfile.ZipFile(tmp_path / f"{name}-1-py3-none-any.whl", "w") as archive:
            archive.writestr("shared.py", name)
    with pytest.raises(Stop, match=r"two wheels carry a different shared\.py"):
        build.assemble(sorted(tmp_path.glob("*.whl")))


def test_the_lock_names_what_ships_and_nothing_that_need_not() -> None:
    lock = wheels.read_lock()
    assert {"starlette", "hypercorn", "docker", "anyio", "msgpack", "argcomplete", "paramiko"} < lock.keys()
    assert not lock.keys() & NOT_SHIPPED.keys()
    assert len(lock["cffi"][1]) == len(wheels.PYTHONS) * len(wheels.MACHINES)


def test_the_tests_run_with_what_ships() -> None:
    ours = {name: pin for name, (pin, _) in wheels.read_lock().items()}
    theirs = {name: pin for name, (pin, _) in wheels.read_lock(TESTS_LOCK).items()}
    assert ours.items() <= theirs.items()


def test_a_pin_without_a_hash_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("anyio==4.16.0\n")
    with pytest.raises(Stop, match=r"'anyio==4\.16\.0' is not NAME==VERSION --hash=sha256:"):
        wheels.read_lock(lock)
