"""Imports from the archive: a small archive with the real `_boot.py`, run by real interpreters."""

from __future__ import annotations

import hashlib
import marshal
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fledx import _boot
from tests.archives import Archive, make

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    path = tmp_path / "fledx.pyz"
    make(path, word="WORD = 'old'", late="WORD = 'old'")
    return Archive(path, tmp_path / "cache")


def test_a_checkout_has_no_archive() -> None:
    _boot.install()
    assert _boot.archive() is None
    assert _boot.build_id() is None
    assert _boot.cache() is None
    with pytest.raises(FileNotFoundError, match="does not run from an archive"):
        _boot.open_archive()


def test_the_archive_knows_itself(archive: Archive) -> None:
    said = archive.says(
        """
        from fledx import _boot
        import fledx._boot, hashlib, os
        assert fledx._boot is _boot
        with open(f"/proc/self/fd/{_boot.open_archive()}", "rb") as file:
            print(_boot.archive(), _boot.build_id(), hashlib.sha256(file.read()).hexdigest())
        """
    )
    path, identity, digest = said.split()
    assert path == str(archive.path)
    assert len(identity) == 16
    assert digest == hashlib.sha256(archive.path.read_bytes()).hexdigest()
    assert (archive.cache / identity).is_dir()


def test_two_builds_of_different_content_have_different_caches(archive: Archive) -> None:
    first = archive.says("from fledx import _boot; print(_boot.build_id())")
    make(archive.path, word="WORD = 'new'")
    assert archive.says("from fledx import _boot; print(_boot.build_id())") != first
    assert archive.says("import word; print(word.WORD)") == "new"


def test_a_second_start_runs_what_the_first_compiled(archive: Archive) -> None:
    assert archive.says("import word; print(word.WORD)") == "old"
    kept = next(path for path in archive.kept() if path.name == "word")
    code = marshal.dumps(compile("WORD = 'from the cache'", "word", "exec"))
    kept.write_bytes((len(code) + 4).to_bytes(4, "little") + code)
    assert archive.says("import word; print(word.WORD)") == "from the cache"


def test_each_optimisation_has_its_own_code(archive: Archive) -> None:
    for options in ([], ["-O"], ["-OO"]):
        archive.says("import word", *options)
    assert len({path.parent for path in archive.kept()}) == 3


@pytest.mark.parametrize("damage", [b"", b"\0" * 300, b"\xff\xff"], ids=["empty", "zeros", "garbage"])
def test_a_torn_cache_heals(archive: Archive, damage: bytes) -> None:
    whole: dict[Path, bytes] = {}
    for _ in range(2):
        assert (
            archive.says("import word, _cffi_backend; print(word.WORD, _cffi_backend.__name__)") == "old _cffi_backend"
        )
        assert whole in ({}, {path: path.read_bytes() for path in archive.kept()})
        whole = {path: path.read_bytes() for path in archive.kept()}
        for path in whole:
            path.write_bytes(damage)


def test_a_truncated_cache_heals(archive: Archive) -> None:
    archive.says("import word, _cffi_backend")
    whole = {path: path.read_bytes() for path in archive.kept()}
    for path, content in whole.items():
        path.write_bytes(content[: len(content) // 2])
    archive.says("import word, _cffi_backend")
    assert {path: path.read_bytes() for path in archive.kept()} == whole


def test_nobody_else_can_reach_the_cache_whatever_the_umask(archive: Archive) -> None:
    command = f"umask 0; exec '{sys.executable}' -IS '{archive.path}' 'import word, _cffi_backend'"
    subprocess.run(["sh", "-c", command], env={"FLEDX_CACHE_DIR": str(archive.cache)}, check=True)
    modes = {path.stat().st_mode & 0o777 for path in archive.cache.rglob("*") if path.is_dir()}
    assert modes | {archive.cache.stat().st_mode & 0o777} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in archive.kept()} == {0o600}


def widen(cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o770)


def link(cache: Path) -> None:
    (cache.parent / "elsewhere").mkdir(mode=0o700)
    cache.symlink_to(cache.parent / "elsewhere")


def squat(cache: Path) -> None:
    cache.mkdir(mode=0o700)
    os.chown(cache, 1, 1)


def block(cache: Path) -> None:
    cache.touch(0o600)


@pytest.mark.parametrize("spoil", [widen, link, pytest.param(squat, marks=root_only), block])
def test_a_directory_that_others_can_touch_is_not_used(archive: Archive, spoil: Callable[[Path], None]) -> None:
    spoil(archive.cache)
    assert archive.says("import word; from fledx import _boot; print(word.WORD, _boot.cache())").startswith("old ")
    assert not archive.kept()
    assert not any((archive.cache.parent / "elsewhere").glob("*"))


def test_a_build_directory_that_others_can_touch_is_not_used(archive: Archive) -> None:
    used = Path(archive.says("from fledx import _boot; print(_boot.cache())"))
    used.chmod(0o750)
    assert archive.says("from fledx import _boot; print(_boot.cache())") != str(used)


def test_a_home_that_does_not_exist_is_not_made(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLEDX_CACHE_DIR", str(tmp_path / "no" / "such" / "place"))
    assert _boot.find_cache("0123456789abcdef")
    assert not (tmp_path / "no").exists()


def test_a_relative_place_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLEDX_CACHE_DIR", "here")
    assert _boot.find_cache("0123456789abcdef")
    assert not any(tmp_path.iterdir())


def test_without_any_cache_everything_runs_from_memory(archive: Archive) -> None:
    code = """
        import word, _cffi_backend
        from fledx import _boot
        print(word.WORD, _cffi_backend.__file__.startswith("/proc/self/fd/"), _boot.cache())
    """
    start = f"""
        import os, runpy, sys
        def refuse(*_):
            raise PermissionError(13, "refused")
        os.lstat = refuse
        sys.argv = [{str(archive.path)!r}, {textwrap.dedent(code)!r}]
        runpy.run_path(sys.argv[0], run_name="__main__")
    """
    done = subprocess.run(
        [sys.executable, "-IS", "-c", textwrap.dedent(start)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "old True None\n"
    assert not archive.cache.exists()


def test_first_runs_at_once_all_succeed_and_leave_no_debris(archive: Archive) -> None:
    command = [sys.executable, "-IS", str(archive.path), "import word, _cffi_backend; print(word.WORD)"]
    env = {"FLEDX_CACHE_DIR": str(archive.cache)}
    runs = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(16)]
    assert {run.communicate(timeout=300)[0] for run in runs} == {"old\n"}
    assert not [path for path in archive.kept() if path.name.endswith("~")]


def test_a_newer_file_may_be_renamed_over_the_running_one(archive: Archive, tmp_path: Path) -> None:
    newer = tmp_path / "newer.pyz"
    make(newer, word="WORD = 'new'", late="WORD = 'new'")
    code = f"""
        import importlib, os
        os.rename({str(newer)!r}, {str(archive.path)!r})
        importlib.invalidate_caches()
        import late, pkgutil
        print(late.WORD, pkgutil.get_data("late", "word.py"))
    """
    assert archive.says(code) == "old b\"WORD = 'old'\""


def test_the_running_file_may_be_removed(archive: Archive) -> None:
    assert archive.says("import os; from fledx import _boot; os.unlink(_boot.archive()); import late; print(late.WORD)")


def test_overwriting_the_running_file_is_named_as_the_cause(archive: Archive, tmp_path: Path) -> None:
    newer = tmp_path / "newer.pyz"
    make(newer, a_first="PAD = 1" * 99, late="WORD = 'new'")
    copy = f"import shutil; shutil.copyfile({str(newer)!r}, {str(archive.path)!r}); import late"
    done = archive.run(copy)
    assert done.returncode
    assert "was overwritten while in use; start fledx again" in done.stderr


def test_a_spawned_child_imports_as_its_parent_does(archive: Archive) -> None:
    make(
        archive.path,
        child="""
            def work(pipe):
                from fledx import _boot
                before = _boot.archive()
                _boot.install()
                import _cffi_backend
                pipe.send((before, _boot.archive()))
        """,
    )
    code = """
        import child, multiprocessing
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=child.work, args=(theirs,))
        process.start()
        print(*ours.recv())
        process.join()
    """
    assert archive.says(code) == f"None {archive.path}"


def test_data_and_sources_are_read_from_the_archive(archive: Archive) -> None:
    code = """
        import importlib.resources, inspect, fledx.cli.main
        text = importlib.resources.files("fledx.cli").joinpath("main.py").read_text()
        print(text == inspect.getsource(fledx.cli.main))
    """
    assert archive.says(code) == "True"


def test_set_up_that_fails_leaves_plain_imports(archive: Archive) -> None:
    code = f"""
        import os, runpy, sys
        del os.O_CLOEXEC
        sys.argv = [{str(archive.path)!r}, "import word; from fledx import _boot; print(word.WORD, _boot.archive())"]
        runpy.run_path(sys.argv[0], run_name="__main__")
    """
    done = subprocess.run(
        [sys.executable, "-IS", "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "old None\n"


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("os.confstr = lambda name: int(name)", "it needs glibc, and this system has another C library"),
        ("sys.abiflags = 't'", "it needs CPython with its global lock"),
        ("sys.maxsize = 2**31 - 1", "this is a 32-bit Python"),
        ("os.uname = lambda: type('', (), {'machine': 'riscv64'})", "_cffi_backend does not ship for riscv64 and cp3"),
    ],
    ids=["another C library", "free threads", "32 bits", "another machine"],
)
def test_a_host_without_native_modules_is_told_why_and_runs_the_rest(archive: Archive, host: str, reason: str) -> None:
    code = f"""
        import os, sys
        {host}
        import word
        try:
            import _cffi_backend
        except ImportError as problem:
            print(word.WORD, problem)
    """
    said = archive.says(code)
    assert said.startswith("old _cffi_backend ")
    assert reason in said


def test_a_module_missing_from_this_python_is_explained(archive: Archive) -> None:
    done = archive.run("raise ModuleNotFoundError('gone', name='sqlite3')")
    assert done.returncode == 1
    assert "lacks the module sqlite3 of Python's own library" in done.stderr
    assert "Traceback" not in done.stderr


def test_caches_of_builds_long_unused_are_removed_once_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEDX_CACHE_DIR", str(tmp_path / "cache"))
    mine, recent, old, foreign = "a" * 16, "b" * 16, "c" * 16, "photos"
    now = time.time()
    for name, days in ((mine, 2), (recent, 29), (old, 31), (foreign, 31)):
        (tmp_path / "cache" / name / "native").mkdir(parents=True)
        os.utime(tmp_path / "cache" / name, (now - days * 86400,) * 2)
    for directory in (tmp_path / "cache", tmp_path / "cache" / mine):
        directory.chmod(0o700)
    assert _boot.find_cache(mine) == str(tmp_path / "cache" / mine)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [mine, recent, foreign]
    assert (tmp_path / "cache" / mine).stat().st_mtime == pytest.approx(now, abs=60)


def test_a_cache_removed_under_a_running_process_is_made_anew(archive: Archive) -> None:
    code = """
        import os, shutil; from fledx import _boot
        shutil.rmtree(os.path.dirname(_boot.cache()))
        import word, _cffi_backend
        print(word.WORD, sorted(os.listdir(_boot.cache())), oct(os.stat(_boot.cache()).st_mode))
    """
    assert "native" in archive.says(code)
    assert archive.cache.stat().st_mode & 0o777 == 0o700
