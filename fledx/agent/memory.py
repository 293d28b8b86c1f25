"""Files for containers that exist in memory only: gone with the power, made again before each start."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fledx.agent.runtime.containers import Mount
from fledx.agent.spec import Key
from fledx.errors import InvalidSpec

IN_MEMORY = ("tmpfs", "ramfs")
PLACES = ("/run", "/dev/shm")


@dataclass(frozen=True, kw_only=True)
class MemoryFile:
    """One file as the container is to see it: where, what is in it, whose it is, and its mode."""

    target: str
    content: bytes = field(repr=False)
    owner: tuple[int, int] | None = None
    mode: int = 0o400


def places(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Where there may be a file system in memory, best first: what systemd made for the service (systemd.exec(5))."""
    given = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return (given, *PLACES) if given else PLACES


class MemoryFiles:
    """
    A directory of this node on a file system in memory, for the agent alone (0700).

    Below it, each replica has a directory a template, so that what a running container has mounted is never touched. A
    container sees the single files, by bind mounts, and so only what is its own.
    """

    def __init__(self, node_id: str, places: Sequence[str] = PLACES) -> None:
        self._name = f"fledx-{os.geteuid()}-{node_id[:8]}"
        self._places = tuple(places)
        self._root: Path | None = None

    def put(self, key: Key, template: str, files: Sequence[MemoryFile]) -> tuple[Mount, ...]:
        """Write the files of a replica and return what to mount; InvalidSpec when this node has no place for them."""
        if not files:
            return ()
        place = self._place(key, template)
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            return tuple(_written(place, file) for file in files)
        except OSError as problem:
            raise InvalidSpec("files", f"they cannot be kept in memory, in {place}: {problem.strerror}") from None

    def sweep(self, keep: Collection[tuple[Key, str]]) -> None:
        """Forget the files of all replicas and templates but these: their containers are gone for good."""
        kept = {f"{key[0]}-{key[1]}/{template}" for key, template in keep}
        for root in (Path(place) / self._name for place in self._places):
            for found in root.glob("*/*"):
                if f"{found.parent.name}/{found.name}" not in kept:
                    shutil.rmtree(found, ignore_errors=True)
                    with contextlib.suppress(OSError):
                        found.parent.rmdir()

    def _place(self, key: Key, template: str) -> Path:
        return self.root() / f"{key[0]}-{key[1]}" / template

    def root(self) -> Path:
        """The directory, made if it is missing: after a start of the machine it is."""
        if self._root is None or not self._root.is_dir():
            self._root = self._made()
        return self._root

    def _made(self) -> Path:
        return private_directory(self._places, self._name)


def shared_with_envoy(node_id: str) -> str:
    """The name of the directory that a gateway's agent and its Envoy share."""
    return f"fledx-gateway-{os.geteuid()}-{node_id[:8]}"


def private_directory(places: Sequence[str], name: str) -> Path:
    """A directory of this name for the agent alone in the first place that is in memory; InvalidSpec if none is."""
    reasons = []
    for place in places:
        try:
            return _private(Path(place), name)
        except OSError as problem:
            reasons.append(f"{place} {problem.strerror or problem}")
    raise InvalidSpec(
        "files",
        f"this node has no place in memory for them ({'; '.join(reasons)})",
        hint="mount a tmpfs on /run or /dev/shm that the agent may write to",
    )


def _private(place: Path, name: str) -> Path:
    """Our directory there; one that somebody else has made under its name is not used."""
    if file_system(place) not in IN_MEMORY:
        raise OSError(f"is {file_system(place) or 'nothing that is known'}, not a file system in memory")
    path = place / name
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise OSError(f"has {path}, which is not a directory of the agent alone")
    if not os.access(path, os.W_OK | os.X_OK):
        raise OSError(f"has {path}, which cannot be written to")
    return path


def file_system(path: Path) -> str | None:
    """The type of the file system a path lies on, by /proc/self/mountinfo (proc(5)): the last of the deepest mounts."""
    real, best, kind = os.path.realpath(path), -1, None
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            fields, _, rest = line.partition(" - ")
            point = fields.split()[4].encode().decode("unicode_escape")
            if len(point) >= best and (real + "/").startswith(point.rstrip("/") + "/"):
                best, kind = len(point), rest.split()[0]
    return kind


def _written(place: Path, file: MemoryFile) -> Mount:
    """Whole under its name at once, with its owner and mode before that."""
    path = place / hashlib.sha256(file.target.encode()).hexdigest()[:16]
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as opened:
        opened.write(file.content)
        _give(opened.fileno(), file)
    os.replace(draft, path)
    return Mount(source=str(path), target=file.target, read_only=True)


def _give(descriptor: int, file: MemoryFile) -> None:
    """
    Owner and mode as asked.

    An agent that is not root cannot give a file away: then all in the container may read it, and still nobody outside
    of it, as nobody gets through the directory.
    """
    mode = file.mode
    if file.owner is not None and file.owner != (os.geteuid(), os.getegid()):
        try:
            os.fchown(descriptor, *file.owner)
        except OSError:
            mode |= 0o444
    os.fchmod(descriptor, mode)
