"""How far a container is shut in, and what lets it out: limits, file systems in memory, devices, rights."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fledx.errors import InvalidSpec
from fledx.models.check import Faults, absolute_path, line, shown

USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?")
CAPABILITY = re.compile(r"[A-Z][A-Z_]{1,39}")
SIGNAL = re.compile(r"SIG[A-Z]{2,6}[0-9]{0,2}|SIGRTM(IN\+|AX-)[0-9]{1,2}|[1-9]|[1-5][0-9]|6[0-4]")
SIZE = re.compile(r"(\d{1,15})([kmg]?)b?", re.IGNORECASE)
UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
UNLIMITED = -1
MOST = 2**63 - 1
#: setrlimit(2) by the names that Docker knows.
ULIMITS = (
    *("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"),
    *("rtprio", "rttime", "sigpending", "stack"),
)
#: What Docker gives every container unless told otherwise: having these back after `drop ALL` is nothing special.
USUAL_CAPABILITIES = frozenset(
    (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
)
#: The template's fields about it.
FIELDS = (
    *("user", "read_only", "init", "tmpfs", "ulimits", "devices", "cap_add", "cap_drop", "privileged"),
    *("network_mode", "stop_signal"),
)


@dataclass(frozen=True, kw_only=True)
class Tmpfs:
    """A file system in memory at ``path``; at most ``size_bytes`` (None: half of the memory), ``mode`` in octal."""

    path: str
    size_bytes: int | None = None
    mode: str | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        object.__setattr__(self, "path", self.path.strip())
        faults.add("path", absolute_path(self.path) or ("is the root itself" if self.path == "/" else None))
        if self.size_bytes is not None and not 4096 <= self.size_bytes <= MOST:
            faults.add("size_bytes", f"{self.size_bytes} is less than 4096")
        if self.mode is not None and not re.fullmatch(r"[0-7]{3,4}", self.mode):
            faults.add("mode", f"{shown(self.mode)} is not a mode in octal such as 1777")
        faults.settle()

    @classmethod
    def parse(cls, text: str) -> Tmpfs:
        """Read the command line form ``PATH[:size=64m,mode=1777]``."""
        path, _, rest = text.partition(":")
        given = dict(word.partition("=")[::2] for word in rest.split(",") if word)
        if unknown := sorted(given.keys() - {"size", "mode"}):
            raise InvalidSpec("tmpfs", f"{shown(unknown[0])} is neither size nor mode, as in /tmp:size=64m,mode=1777")
        return cls(path=path, size_bytes=_size(given["size"]) if "size" in given else None, mode=given.get("mode"))


def _size(text: str) -> int:
    found = SIZE.fullmatch(text.strip().lower().replace("i", ""))
    if found is None:
        raise InvalidSpec("tmpfs", f"{shown(text)} is not a size such as 64m")
    return int(found[1]) * UNITS[found[2].lower()]


@dataclass(frozen=True, kw_only=True)
class Ulimit:
    """A limit of setrlimit(2) for each process; -1 is no limit, and without ``hard`` it is the same as ``soft``."""

    name: str
    soft: int
    hard: int | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        object.__setattr__(self, "name", self.name.strip().lower())
        if self.name not in ULIMITS:
            faults.add("name", f"{shown(self.name)} is not one of {', '.join(ULIMITS)}")
        for field in ("soft", "hard"):
            value = getattr(self, field)
            if value is not None and not UNLIMITED <= value <= MOST:
                faults.add(field, f"{value} is neither -1 nor a number from 0 on")
        if self.hard is not None and self.hard != UNLIMITED and (self.soft > self.hard or self.soft == UNLIMITED):
            faults.add("soft", f"{self.soft} is above the hard limit {self.hard}")
        faults.settle()

    @classmethod
    def parse(cls, text: str) -> Ulimit:
        """Read the command line form ``NAME=SOFT[:HARD]``, each a number or `unlimited`."""
        name, _, rest = text.partition("=")
        soft, colon, hard = rest.partition(":")
        try:
            return cls(name=name, soft=_bound(soft), hard=_bound(hard) if colon else None)
        except ValueError:
            raise InvalidSpec("ulimit", f"{shown(text)} is not NAME=SOFT[:HARD], such as nofile=1024:4096") from None


def _bound(text: str) -> int:
    return UNLIMITED if text.strip().lower() == "unlimited" else int(text[:20])


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device of the node inside the container; ``permissions`` are some of r, w and m (make)."""

    host_path: str
    container_path: str | None = None
    permissions: str = "rwm"

    def __post_init__(self) -> None:
        faults = Faults()
        for field in ("host_path", "container_path"):
            if (path := getattr(self, field)) is not None:
                object.__setattr__(self, field, path.strip())
                faults.add(field, absolute_path(path))
        if not self.host_path.startswith("/dev/"):
            faults.add("host_path", f"{shown(self.host_path)} does not lie in /dev")
        if not self.permissions or set(self.permissions) - set("rwm") or len(self.permissions) > 3:
            faults.add("permissions", f"{shown(self.permissions)} is not made of r, w and m")
        faults.settle()

    @classmethod
    def parse(cls, text: str) -> Device:
        """Read the command line form ``HOST[:CONTAINER][:rwm]``."""
        host, *rest = text.split(":")
        if len(rest) > 2:
            raise InvalidSpec("device", f"{shown(text)} is not HOST[:CONTAINER][:rwm]")
        permissions = rest.pop() if rest and not rest[-1].startswith("/") else "rwm"
        return cls(host_path=host, container_path=rest[0] if rest else None, permissions=permissions)


def settled_capability(text: str) -> str:
    """The one name of a capability: in capitals and without `CAP_`."""
    return text.strip().upper().removeprefix("CAP_")


def capability(text: str) -> str | None:
    """The fault of a capability's name, which is `ALL` or one of capabilities(7)."""
    return None if CAPABILITY.fullmatch(text) else f"{shown(text)} is not a capability such as NET_ADMIN"


def user(text: str) -> str | None:
    """The fault of a `UID[:GID]`, or names of the image's own in their place."""
    return None if USER.fullmatch(text) else f"{shown(text)} is not a user such as 1000, 1000:1000 or nobody"


def settled_signal(text: str) -> str:
    """`term`, `SIGTERM` and `15` as they are, in capitals and with `SIG` before a name."""
    word = text.strip().upper()
    return word if not word or word.isdigit() or word.startswith("SIG") else f"SIG{word}"


def signal(text: str) -> str | None:
    """The fault of a signal's name or number."""
    return line(text) or (None if SIGNAL.fullmatch(text) else f"{shown(text)} is not a signal such as SIGTERM")
