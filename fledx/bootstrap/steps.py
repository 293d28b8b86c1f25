"""
What can be done to a host: each step is data with one printable line, the script that does it, and what undoes it.

A script either has its whole effect or none, and running it twice is running it once: a run that was cut off anywhere
can be repeated. Steps for undoing are steps too, gentle ones: what holds data stays.
"""

from __future__ import annotations

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass

from fledx.bootstrap.facts import Entry

# The command exits with 1 on a digest that does not match: a connection that broke has cut the input short. What a run
# that was killed here has left is removed by the next one.
RECEIVE = """\
rm -f {directory}/.fledx-????????
t=$(mktemp {directory}/.fledx-XXXXXXXX)
trap 'rm -f "$t"' EXIT
trap 'exit 1' HUP INT PIPE TERM
cat >"$t"
[ "$(sha256sum "$t" | cut -d ' ' -f 1)" = {digest} ] || {{ echo "{path} did not arrive whole" >&2; exit 1; }}
chown {owner} "$t"
chmod {mode} "$t"
sync "$t"
mv -fT "$t" {path}
"""


@dataclass(frozen=True, kw_only=True)
class Step(ABC):
    """One thing to do and why; ``limit`` is how many seconds it may take."""

    reason: str
    limit: float = dataclasses.field(default=60.0, repr=False)

    @property
    @abstractmethod
    def line(self) -> str:
        """What is done, for the plan that the operator reads."""

    @abstractmethod
    def script(self) -> str:
        """What root's /bin/sh is given."""

    def feed(self) -> bytes:
        return b""

    def undo(self) -> tuple[Step, ...]:
        """The steps that take it back, after it was done wholly, or not at all."""
        return ()


@dataclass(frozen=True, kw_only=True)
class MakeDirectory(Step):
    """
    A directory with this owner (`user:group`) and mode; ``previous`` is what an existing one had.

    ``locks`` are files in it that hold nothing and go with it when it is undone.
    """

    path: str
    owner: str
    mode: str
    previous: tuple[str, str] | None = None
    locks: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        verb = "make" if self.previous is None else "set"
        return f"{verb} {self.path} ({self.owner}, {self.mode})"

    def script(self) -> str:
        return f"mkdir -p {self.path}\nchown {self.owner} {self.path}\nchmod {self.mode} {self.path}\n"

    def undo(self) -> tuple[Step, ...]:
        if self.previous is None:
            return (RemoveDirectory(path=self.path, locks=self.locks, reason="it was made by this run"),)
        owner, mode = self.previous
        return (dataclasses.replace(self, owner=owner, mode=mode, reason="as it was before"),)


@dataclass(frozen=True, kw_only=True)
class RemoveDirectory(Step):
    """Remove it if it is empty but for lock files."""

    path: str
    locks: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        return f"remove {self.path} if it is empty"

    def script(self) -> str:
        held = f'"$(ls -A {self.path} 2>/dev/null)"'
        locks = "".join(f"[ {held} != {name} ] || rm -f {self.path}/{name}\n" for name in self.locks)
        return f"{locks}rmdir {self.path} 2>/dev/null || true\n"


@dataclass(frozen=True, kw_only=True)
class RemoveTree(Step):
    """Remove a directory with all that is in it."""

    path: str

    @property
    def line(self) -> str:
        return f"remove {self.path} and what is in it"

    def script(self) -> str:
        return f"rm -rf {self.path}\n"


@dataclass(frozen=True, kw_only=True)
class PlaceArchive(Step):
    """Ship the archive to where versions lie side by side; its digest (SHA-256 in hex) is checked on arrival."""

    path: str
    digest: str
    data: bytes = dataclasses.field(repr=False)
    known: bool = False

    @property
    def line(self) -> str:
        return f"place {self.path} ({len(self.data) / 1e6:.1f} MB)"

    def script(self) -> str:
        directory = self.path.rpartition("/")[0]
        return f"mkdir -p -m 755 {directory}\n" + RECEIVE.format(
            directory=directory, path=self.path, digest=self.digest, owner="root:root", mode="755"
        )

    def feed(self) -> bytes:
        return self.data

    def undo(self) -> tuple[Step, ...]:
        return () if self.known else (RemoveFile(path=self.path, reason="it was placed by this run"),)


@dataclass(frozen=True, kw_only=True)
class WriteFile(Step):
    """A small file; ``previous`` is what lay there. Content is shown nowhere: it may hold secrets."""

    path: str
    content: str = dataclasses.field(repr=False)
    owner: str
    mode: str
    previous: Entry | None = None

    @property
    def line(self) -> str:
        return f"{'write' if self.previous is None else 'change'} {self.path}"

    def script(self) -> str:
        return RECEIVE.format(
            directory=self.path.rpartition("/")[0],
            path=self.path,
            digest=hashlib.sha256(self.feed()).hexdigest(),
            owner=self.owner,
            mode=self.mode,
        )

    def feed(self) -> bytes:
        return self.content.encode()

    def undo(self) -> tuple[Step, ...]:
        if self.previous is None:
            return (RemoveFile(path=self.path, reason="it was written by this run"),)
        return (self._before(self.previous),)

    def _before(self, there: Entry) -> Step:
        return dataclasses.replace(
            self, content=there.content or "", owner=there.owner, mode=there.mode, reason="as it was before"
        )


@dataclass(frozen=True, kw_only=True)
class RemoveFile(Step):
    """Remove a file or a link."""

    path: str

    @property
    def line(self) -> str:
        return f"remove {self.path}"

    def script(self) -> str:
        return f"rm -f {self.path}\n"


@dataclass(frozen=True, kw_only=True)
class WriteUnit(WriteFile):
    """A unit file, and systemd reads it."""

    def script(self) -> str:
        return super().script() + "systemctl daemon-reload\n"

    def undo(self) -> tuple[Step, ...]:
        if self.previous is None:
            return (RemoveUnit(path=self.path, reason="it was written by this run"),)
        return (self._before(self.previous),)


@dataclass(frozen=True, kw_only=True)
class RemoveUnit(RemoveFile):
    """Remove a unit file, and systemd forgets it."""

    def script(self) -> str:
        return super().script() + "systemctl daemon-reload\n"


@dataclass(frozen=True, kw_only=True)
class SwitchLink(Step):
    """Have a symbolic link name another target; whoever follows it meets the old one or the new one."""

    path: str
    target: str
    previous: str | None = None

    @property
    def line(self) -> str:
        return f"link {self.path} to {self.target}"

    def script(self) -> str:
        return f"ln -sfn {self.target} {self.path}.new\nmv -fT {self.path}.new {self.path}\n"

    def undo(self) -> tuple[Step, ...]:
        if self.previous is None:
            return (RemoveFile(path=self.path, reason="it was made by this run"),)
        return (dataclasses.replace(self, target=self.previous, previous=self.target, reason="as it was before"),)
