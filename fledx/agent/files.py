"""The agent's data directory: private, written atomically, and used by one agent at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from fledx.errors import Conflict, Unavailable

logger = logging.getLogger(__name__)
FULL = (errno.ENOSPC, errno.EDQUOT)


def open_directory(directory: Path) -> None:
    """
    Make the directory, 0700, if it is missing; Unavailable with the reason when it cannot be written to.

    One that is merely full will do: what lies in it is enough to run what is wanted.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(directory / ".writable", b"")
        (directory / ".writable").unlink()
    except OSError as problem:
        if problem.errno in FULL and directory.is_dir():
            logger.warning("the disk of the data directory is full", extra={"directory": str(directory)})
            return
        raise Unavailable(
            f"the agent's data directory {directory} cannot be written to: {problem.strerror}",
            hint="choose another one with --data-dir or FLEDX_AGENT_DATA_DIR",
        ) from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep a second agent off this directory; the lock ends with the process, however that ends."""
    path = directory / "agent.lock"
    with open(path, "a+b", opener=_private) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read(20).decode("ascii", "replace").strip()
            raise Conflict(
                f"another agent{f' (process {owner})' if owner else ''} uses the data directory {directory}",
                hint="stop it first, or give this one a directory of its own with --data-dir",
            ) from None
        _sign(file.fileno())
        yield


def _sign(fd: int) -> None:
    """Write who holds the lock, for the error of another; a full disk cannot take even that."""
    with contextlib.suppress(OSError):
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())


def write_private(path: Path, content: bytes) -> None:
    """Replace a file as a whole, 0600 and on disk before it has its name: a crash leaves the old or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_directory(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def set_aside(path: Path, stamp: str) -> Path:
    """Give a file that cannot be read another name, so that it is neither lost nor in the way; returns that name."""
    aside = path.with_name(f"{path.name}.unreadable-{stamp.replace(':', '')}")
    os.replace(path, aside)
    return aside
