"""The directory in memory that the agent and Envoy share: configuration one way, sockets the other."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fledx.agent.memory import IN_MEMORY, file_system, private_directory
from fledx.errors import Unavailable

ENVOY_ID = 10101
"""User and group of Envoy where the agent is root: nobody else's, as watches and files are counted by user."""
MAX_SOCKET_PATH = 107  # sun_path of unix(7) less its end
SOCKET_NAME = 24
LOW_PORTS = 1024


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who Envoy is, as seen by the agent's files: the group lets both of them in where they are not the same user."""

    uid: int
    gid: int
    given: bool
    mode: int

    @classmethod
    def of(cls, ports: Sequence[int]) -> Owner:
        """
        Chosen for an Envoy that listens on these ports.

        Below 1024 only user 0 can, even with the capability to; an agent that is not root gives its own user otherwise.
        """
        own_uid, own_gid = os.geteuid(), os.getegid()
        low = any(port < LOW_PORTS for port in ports)
        if own_uid == 0:
            uid = 0 if low else ENVOY_ID
            return cls(uid=uid, gid=uid, given=True, mode=0o600)
        return cls(uid=0 if low else own_uid, gid=own_gid, given=False, mode=0o640 if low else 0o600)

    @property
    def user(self) -> str:
        """As an engine takes it."""
        return f"{self.uid}:{self.gid}"


class Shared:
    """Both directories; Unavailable, with the reason, when they cannot be had or written."""

    def __init__(self, places: Sequence[str], name: str, owner: Owner) -> None:
        good = [each for each in places if file_system(Path(each)) in IN_MEMORY and os.access(each, os.W_OK | os.X_OK)]
        self._place, self._name = (good or list(places))[0], name
        root = Path(self._place) / name
        self.conf = root / "conf"
        self.sockets = root / "sock"
        self._owner = owner

    def prepare(self) -> None:
        """Have both directories, before Envoy starts."""
        if len(str(self.sockets)) + SOCKET_NAME > MAX_SOCKET_PATH:
            raise Unavailable(f"{self.sockets} is too long a path for a socket", hint="set FLEDX_AGENT_GATEWAY_DIR")
        root = private_directory([self._place], self._name)
        with _explained(root):
            for directory, mode in ((self.conf, 0o750), (self.sockets, 0o770)):
                directory.mkdir(mode=0o700, exist_ok=True)
                if self._owner.given:
                    os.chown(directory, 0, self._owner.gid)
                directory.chmod(mode)

    def write(self, name: str, body: bytes) -> None:
        """Whole under its name at once: Envoy notices the renaming."""
        draft = self.conf / f".{name}.new"
        with _explained(self.conf):
            draft.unlink(missing_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "wb") as file:
                file.write(body)
                if self._owner.given:
                    os.fchown(descriptor, self._owner.uid, self._owner.gid)
                os.fchmod(descriptor, self._owner.mode)
            os.replace(draft, self.conf / name)

    def versions(self) -> dict[str, str]:
        """What lies there, by name, with the version it has; an earlier agent may have written it."""
        found = {}
        for path in self.conf.glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                found[path.name] = str(json.loads(path.read_bytes()).get("version_info", ""))
        return found

    def remove(self, name: str) -> None:
        """Take a file away that nothing names any more."""
        with contextlib.suppress(OSError):
            (self.conf / name).unlink()

    def socket_path(self, name: str) -> str:
        """Where the agent listens for Envoy."""
        return str(self.sockets / name)

    def open_to_envoy(self, path: str) -> None:
        """Let Envoy connect to a socket that was just bound."""
        if self._owner.given:
            os.chown(path, 0, self._owner.gid)
        os.chmod(path, 0o660)


@contextlib.contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise Unavailable(f"the files of Envoy cannot be written in {directory}: {problem.strerror}") from None
