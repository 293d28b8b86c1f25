"""What was found on a host, as one immutable snapshot."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fledx.bootstrap.layout import Layout, Role, unit_name, unit_path
from fledx.errors import Unavailable
from fledx.settings.envfile import values_in


@dataclass(frozen=True, kw_only=True)
class Python:
    path: str
    version: tuple[int, ...]
    bits: int = 64
    libc: str = "glibc"
    missing: tuple[str, ...] = ()

    @property
    def serves(self) -> bool:
        return self.version >= (3, 10) and not self.missing


@dataclass(frozen=True, kw_only=True)
class Space:
    """Room for a directory, which need not exist yet: free bytes of its file system, and whether it is writable."""

    free: int
    writable: bool


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A directory, or a file with its content; ``owner`` is ``user:group``, ``mode`` octal digits."""

    owner: str
    mode: str
    content: str | None = dataclasses.field(default=None, repr=False)
    empty: bool = False


@dataclass(frozen=True, kw_only=True)
class Archive:
    """An installed `fledx.pyz`; ``digest`` is the SHA-256 of what lies there, in hex."""

    digest: str
    owner: str = "root:root"
    mode: str = "755"


@dataclass(frozen=True, kw_only=True)
class User:
    shell: str
    groups: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """
    A service as systemd has it.

    ``setup`` is the digest of the installation its process was started from (`systemd.setup_of`); None when it does not
    run or is not ours. ``stale`` means that the unit file is newer than what systemd has read.
    """

    active: str = "inactive"
    sub: str = "dead"
    enabled: bool = False
    stale: bool = False
    pid: int = 0
    setup: str | None = None
    since: str | None = None

    @property
    def runs(self) -> bool:
        return self.active == "active"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Which node this host is, and of whom; ``node_id`` None when the file is there but cannot be read."""

    node_id: str | None
    host: str
    port: int
    authorities: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Inotify:
    """How many files a user may have watched (`fs.inotify.max_user_instances`), and whether root may say so here."""

    instances: int
    settable: bool = True


@dataclass(frozen=True, kw_only=True)
class Docker:
    """
    The engine and its service.

    ``api`` and ``version`` are None when it did not answer, ``error`` says why; ``group`` owns the socket.
    """

    installed: bool = False
    running: bool = False
    group: str | None = None
    api: tuple[int, ...] | None = None
    version: str | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """
    A host as a look found it. Paths map to what lies there; what is absent is not in the mapping.

    ``layout`` is where to work, ``placed`` where an earlier run installed fledx, None when none did.
    """

    now: float
    system: str
    machine: str
    hostname: str
    distribution: str = "unknown"
    families: tuple[str, ...] = ()
    layout: Layout = dataclasses.field(default_factory=Layout)
    placed: Layout | None = None
    pythons: tuple[Python, ...] = ()
    systemd: int | None = None
    spaces: Mapping[str, Space] = dataclasses.field(default_factory=dict)
    directories: Mapping[str, Entry] = dataclasses.field(default_factory=dict)
    files: Mapping[str, Entry] = dataclasses.field(default_factory=dict)
    archives: Mapping[str, Archive] = dataclasses.field(default_factory=dict)
    links: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    users: Mapping[str, User] = dataclasses.field(default_factory=dict)
    units: Mapping[str, Unit] = dataclasses.field(default_factory=dict)
    has_authority: bool = False
    has_join: bool = False
    identity: Identity | None = None
    listening: Mapping[int, str | None] = dataclasses.field(default_factory=dict)
    docker: Docker = Docker()
    inotify: Inotify | None = None

    @property
    def python(self) -> Python | None:
        """The one that will run fledx: `python3` if it serves, else the newest that does."""
        return next((python for python in self.pythons if python.serves), None)

    def unit(self, role: Role) -> Unit:
        return self.units.get(unit_name(role), Unit())

    def installed(self, role: Role) -> bool:
        return unit_path(role) in self.files

    def settings(self, role: Role) -> dict[str, str]:
        """What stands in the role's env file."""
        entry = self.files.get(self.layout.env_file(role))
        return values_in(entry.content or "") if entry else {}


def read_facts(said: str) -> HostFacts:
    """The snapshot of what the script of `look.py` printed; Unavailable when it did not come to its end."""
    lines = [line.split(" ") for line in said.splitlines() if line]
    if not lines or lines[-1] != ["end"]:
        raise Unavailable(
            "the host did not finish describing itself", hint="run it again; log in by hand if it repeats"
        )
    found: dict[str, list[list[str]]] = {}
    for word, *rest in lines:
        found.setdefault(word, []).append(rest)

    def one(word: str, default: str = "") -> str:
        return " ".join(found.get(word, [[default]])[-1])

    return HostFacts(
        now=float(one("now")),
        system=one("system"),
        machine=one("machine"),
        hostname=one("hostname", "unknown"),
        distribution=one("distribution", "an unknown system"),
        families=tuple(one("family").split()),
        layout=_layout(found["layout"][0]),
        placed=_layout(found["placed"][0]) if all(found["placed"][0]) else None,
        pythons=tuple(_python(*rest) for rest in found.get("python", []) if len(rest) >= 5),
        systemd=int(one("systemd")) if one("systemd").isdigit() else None,
        spaces={path: Space(free=int(free) * 1024, writable=ok == "yes") for path, free, ok in found.get("space", [])},
        directories={path: Entry(owner=o, mode=m, empty=e == "empty") for path, o, m, e in found.get("dir", [])},
        files={path: _file(*rest) for path, *rest in found.get("file", [])},
        archives={path: Archive(digest=hashed, owner=o, mode=m) for path, hashed, o, m in found.get("archive", [])},
        links={path: " ".join(to) if to != ["-"] else None for path, *to in found.get("link", [])},
        users={name: User(shell=shell, groups=tuple(g.split(","))) for name, shell, g in found.get("user", [])},
        units=_units(found.get("unit", [])),
        has_authority="authority" in found,
        has_join="join" in found,
        identity=_identity(found.get("identity", [])),
        listening=_listening(found.get("port", []), found.get("listener", [])),
        docker=_docker(found),
        inotify=_inotify(found.get("inotify", [])),
    )


def _layout(paths: list[str]) -> Layout:
    bin_dir, config_dir, data_dir = paths
    return Layout(bin_dir=bin_dir, config_dir=config_dir, data_dir=data_dir)


def _python(path: str, version: str, bits: str, libc: str, missing: str) -> Python:
    return Python(
        path=path,
        version=tuple(int(part) for part in version.split(".")),
        bits=int(bits),
        libc=libc,
        missing=() if missing == "-" else tuple(missing.split(",")),
    )


def _file(owner: str, mode: str, content: str = "") -> Entry:
    return Entry(owner=owner, mode=mode, content=base64.b64decode(content).decode(errors="replace"))


def _inotify(lines: list[list[str]]) -> Inotify | None:
    if not lines or not lines[-1][0].isdigit():
        return None
    return Inotify(instances=int(lines[-1][0]), settable=lines[-1][1:] == ["yes"])


NODE_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{3,63}")
UNIT_FIELDS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "ActiveState": ("active", str),
    "SubState": ("sub", str),
    "UnitFileState": ("enabled", lambda text: text == "enabled"),
    "NeedDaemonReload": ("stale", lambda text: text == "yes"),
    "MainPID": ("pid", int),
    "Setup": ("setup", lambda text: text or None),
    "ActiveEnterTimestamp": ("since", lambda text: text or None),
}


def _units(lines: list[list[str]]) -> dict[str, Unit]:
    """Those units that systemd knows a file of."""
    told: dict[str, dict[str, str]] = {}
    for name, *rest in lines:
        key, _, value = " ".join(rest).partition("=")
        told.setdefault(name, {})[key] = value
    return {
        name: Unit(**{field: read(values[key]) for key, (field, read) in UNIT_FIELDS.items() if key in values})
        for name, values in told.items()
        if values.get("LoadState") not in (None, "not-found")
    }


def _identity(lines: list[list[str]]) -> Identity | None:
    if not lines:
        return None
    node_id, host, port, digests = lines[-1]
    return Identity(
        node_id=node_id if NODE_ID.fullmatch(node_id) else None,
        host=host,
        port=int(port),
        authorities=() if digests == "-" else tuple(digests.split(",")),
    )


def _listening(ports: list[list[str]], listeners: list[list[str]]) -> dict[int, str | None]:
    """Port -> the process that listens on it, like `nginx (pid 812)`; None when nobody could tell."""
    found: dict[int, str | None] = {int(address.rpartition(":")[2], 16): None for (address,) in ports}
    for address, *rest in listeners:
        port = address.rpartition(":")[2]
        process = " ".join(rest)
        if port.isdigit() and process.startswith('users:(("'):
            name, _, more = process[9:].partition('"')
            found[int(port)] = f"{name} (pid {more.partition('pid=')[2].partition(',')[0]})"
    return found


def _docker(found: Mapping[str, list[list[str]]]) -> Docker:
    units = {rest[0]: rest for rest in found.get("engine", []) if len(rest) == 3}
    answer = found.get("docker", [[]])[-1]
    answered = bool(answer) and answer[0] != "-"
    return Docker(
        installed=any(load == "loaded" for _, load, _ in units.values()) or "socket" in found,
        running=any(active == "active" for _, _, active in units.values()) or answered,
        group=found["socket"][-1][0] if "socket" in found else None,
        api=tuple(int(part) for part in answer[0].split(".")) if answered else None,
        version=" ".join(answer[1:]) if answered else None,
        error=" ".join(answer[1:]) if answer and not answered else None,
    )
