"""Commands of this machine, run to their end."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SECONDS = 120.0


class CommandFailed(RuntimeError):
    """The command, its exit code and the end of what it said."""


def run(
    *argv: str | Path,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float = SECONDS,
) -> str:
    """What the command printed, stripped; with ``check`` an exit code other than 0 raises `CommandFailed`."""
    done = finish(*argv, stdin=stdin, env=env, timeout=timeout)
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise CommandFailed(f"{' '.join(map(str, argv))} ended with {done.returncode}: {said}")
    return done.stdout.strip()


def finish(
    *argv: str | Path, stdin: str | None = None, env: Mapping[str, str] | None = None, timeout: float = SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, whatever that is; ``env`` is added to our own."""
    words = [str(word) for word in argv]
    around = {**os.environ, **env} if env else None
    quiet = subprocess.DEVNULL if stdin is None else None
    return subprocess.run(
        words, input=stdin, stdin=quiet, env=around, text=True, capture_output=True, timeout=timeout, check=False
    )


def patiently(work: Callable[[], T]) -> T:
    """Do what asks a package mirror, and again after a while, twice, when it fails: mirrors have their moments."""
    for pause in (5, 20):
        try:
            return work()
        except (CommandFailed, subprocess.TimeoutExpired) as problem:
            print(f"once more in {pause} s: {problem}", flush=True)
        time.sleep(pause)
    return work()
