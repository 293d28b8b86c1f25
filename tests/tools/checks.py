"""Format, lint, types, tests and benchmarks, in an environment of locked packages."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tests.tools import engine
from tests.tools.machine import BUILD, ROOT, Stop, make_venv, patient, pip_environment, run, say

LOCK = ROOT / "tests" / "requirements.lock"
CHECKED = ("fledx", "tests", "build.py")
STATIC = {
    "format": ("ruff", "format", "--check", "--quiet", *CHECKED),
    "lint": ("ruff", "check", "--quiet", *CHECKED),
    "types": ("mypy", "--strict", "--no-error-summary", *CHECKED),
}
#: Slow tests mostly wait: two files at a time; what needs the same hosts is in one file, or has a set of its own.
BESIDE = ("-n", "2", "--dist", "loadfile")
TESTS_FAILED = 1
FEW = 3
FAILED = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
QUICK = "not slow and not docker and not bed and not ssh"


class Build(Protocol):
    """`build.build`: makes the archive and returns its path."""

    def __call__(self, *, install: bool) -> Path: ...


def test(arguments: Sequence[str], build: Build, *, install: bool) -> int:
    """What a change must pass, with --quick what each commit must; the exit code of the first step that fails."""
    words, env = chosen(arguments)
    python = environment(install=install)
    for what, command in STATIC.items():
        say(what)
        code = run([python, "-m", *command])
        if code:
            return code
    pytest: list[str | Path] = [python, "-m", "pytest"]
    quick = "--quick" in words
    if quick:
        words.remove("--quick")
        pytest += ["-m", QUICK]
    else:
        env["FLEDX_PYZ"] = str(build(install=install))
    if any(not word.startswith("--hypothesis-seed") for word in words):
        with contextlib.nullcontext() if quick else engine.running(install=install):
            say("pytest, as asked")
            return run([*pytest, *words], env)
    parallel = ["-n", str(min(os.cpu_count() or 1, 8))]
    if quick:
        say("the tests that need no engine and little time")
        return run([*pytest, *parallel, *words], env)
    with engine.running(install=install):
        say("the tests that need no engine and little time")
        code = run([*pytest, *parallel, "-m", QUICK, *words], env)
        if code:
            return code
        say("the tests that are slow or need a Docker engine")
        slow = [*pytest, "-m", f"not ({QUICK})", *words]
        code = run([*slow, *BESIDE], env)
        return once_more(slow, env) if code == TESTS_FAILED else code


def once_more(slow: Sequence[str | Path], env: Mapping[str, str]) -> int:
    """
    Run the few that failed a second time, alone; the exit code.

    These hundreds share two processors with real engines and hosts, and now and then one meets a machine that stood
    still. That is told apart from a fault here, and never passed over in silence: it may as well be a race of ours.
    """
    failed = json.loads(FAILED.read_text()) if FAILED.exists() else {}
    if not 0 < len(failed) <= FEW:
        return TESTS_FAILED
    say(f"once more, alone: {', '.join(failed)}")
    code = run([*slow, "--last-failed", "--last-failed-no-failures=none"], env)
    if not code:
        say(f"failed beside others and passed alone, read why above: {', '.join(failed)}")
    return code


def bench(names: Sequence[str], build: Build, *, install: bool) -> int:
    """Run the benchmarks of tests/benchmarks, or those named; the first exit code that is not 0."""
    known = {path.stem.removeprefix("bench_"): path for path in sorted(ROOT.glob("tests/benchmarks/bench_*.py"))}
    strange = sorted(set(names) - known.keys())
    if strange:
        raise Stop(f"there is no benchmark {', '.join(strange)}; there are: {', '.join(known) or 'none'}")
    python = environment(install=install)
    (BUILD / "bench").mkdir(parents=True, exist_ok=True)
    env = os.environ | {"FLEDX_PYZ": str(build(install=install)), "PYTHONPATH": str(ROOT), "MSGPACK_PUREPYTHON": "1"}
    failed = 0
    with engine.running(install=install):
        for name in names or known:
            say(f"benchmark {name}")
            failed = failed or run([python, known[name]], env)
    return failed


def environment(*, install: bool) -> Path:
    """The interpreter of a virtual environment with exactly what the lock names; made once for each lock."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    folder = BUILD / f"venv-{sys.implementation.cache_tag}-{digest}"
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        say(f"making {folder.relative_to(ROOT)} from {LOCK.relative_to(ROOT)}")
        make_venv(folder, install=install)
        pip = [str(python), "-m", "pip"]
        options = ["--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:", "-r", str(LOCK)]
        patient([*pip, "install", *options], pip_environment(pip))
        complete.touch()
    return python


def chosen(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The words for pytest, and its environment: tests read the seed and the length of their run there."""
    words, env = [], os.environ | {"MSGPACK_PUREPYTHON": "1"}  # the archive ships no other
    rest = iter(arguments)
    for word in rest:
        if word == "--soak":
            env["FLEDX_TEST_SOAK"] = "1"
        elif word == "--seed":
            env["FLEDX_TEST_SEED"] = next(rest, "")
            words.append(f"--hypothesis-seed={env['FLEDX_TEST_SEED']}")
        else:
            words.append(word)
    if not env.get("FLEDX_TEST_SEED", "0").isdecimal():
        raise Stop("--seed wants a number")
    return words, env
