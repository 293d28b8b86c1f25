"""
What a running container really has mounted, as the kernel tells it.

A path is checked before Docker mounts it, and whoever may write beside it can put a link in its place in between. So
what was mounted is compared with what was allowed, by file system and by the directory within it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fledx.agent.runtime.containers import Container, Mount

ESCAPED = re.compile(r"\\([0-7]{3})")


class Spot(NamedTuple):
    """A directory within a file system, which is known by the numbers of its device."""

    device: str
    root: str


class _Line(NamedTuple):
    """One of `/proc/PID/mountinfo` (proc(5))."""

    number: str
    spot: Spot
    point: str


def strayed(container: Container, mounts: Iterable[Mount]) -> str | None:
    """
    The first directory of the node that the container should have and has not; None where all is well.

    Also None where it cannot be seen: the process is gone, is somebody else's by now, or may not be looked at.
    """
    wanted = [mount.source for mount in mounts if not mount.volume]
    if not wanted or container.pid is None or not _is_of(container.pid, container.id):
        return None
    try:
        found = {line.spot for line in _lines(f"/proc/{container.pid}/mountinfo")}
    except OSError:
        return None
    if not found or not _is_of(container.pid, container.id):
        return None
    for source in wanted:
        spot = _spot_of(source)
        if spot is not None and spot not in found:
            return source
    return None


def _is_of(pid: int, container_id: str) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cgroup", encoding="ascii", errors="replace") as groups:
        return container_id in groups.read()
    return False


def _spot_of(path: str) -> Spot | None:
    """Where a path lies; None where the kernel does not say."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as told:
            number = next((line.split()[1] for line in told if line.startswith("mnt_id:")), None)
        real = os.readlink(f"/proc/self/fd/{descriptor}")
        for line in _lines("/proc/self/mountinfo"):
            if line.number == number:
                below = os.path.relpath(real, line.point)
                return Spot(line.spot.device, os.path.normpath(os.path.join(line.spot.root, below)))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def _lines(path: str) -> Iterator[_Line]:
    with open(path, encoding="utf-8", errors="surrogateescape") as told:
        for line in told:
            words = line.split(" ")
            if len(words) > 5:
                yield _Line(words[0], Spot(words[2], _plain(words[3])), _plain(words[4]))


def _plain(text: str) -> str:
    """Blanks and backslashes are written in octal."""
    return ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
