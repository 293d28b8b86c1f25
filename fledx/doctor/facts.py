"""What was seen on this machine, before anybody judges it."""

from __future__ import annotations

from dataclasses import dataclass

#: systemd's units by role.
UNITS = {"cp": "fledx-cp", "agent": "fledx-agent"}


@dataclass(frozen=True, kw_only=True)
class File:
    """A path that matters: its mode without the file type, its owner; mode None where there is none."""

    path: str
    mode: int | None
    owner: int | None = None
    secret: bool = True


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The file system that holds something: bytes free and in all."""

    what: str
    path: str
    free: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Talk:
    """
    A port that was tried.

    ``problem`` is None where it answered, else what went wrong, of the kind name, connect, certificate or answer.
    ``ends`` is when its certificate ends, in unix seconds.
    """

    what: str
    where: str
    kind: str | None = None
    problem: str | None = None
    ends: float | None = None
    version: str | None = None
    skew: float | None = None


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A container engine: its address, and its name, version and newest API; or ``problem``, why it does not answer."""

    address: str
    name: str = "docker"
    version: str = "?"
    api: tuple[int, int] = (0, 0)
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a role shows on this machine, if it runs here as it is set; ``name`` is that of the file it is kept in."""

    name: str
    host: str
    port: int
    path: str


@dataclass(frozen=True, kw_only=True)
class RoleFacts:
    """
    One role on this machine.

    ``unit`` is systemd's word for its unit (active, failed, inactive), None where systemd does not run it. ``health``
    are faults that the role tells of itself, ``broken`` those of its settings, which came from ``sources`` (files) and
    ``given`` (names in the environment of who asks); ``hidden`` are files of them that he may not read. ``database`` is
    what SQLite finds wrong, ``backup`` the newest copy's time in unix seconds. ``watches`` is how many files a user may
    have watched, on a gateway.
    """

    role: str
    directory: str | None = None
    unit: str | None = None
    files: tuple[File, ...] = ()
    disks: tuple[Disk, ...] = ()
    talks: tuple[Talk, ...] = ()
    engine: Engine | None = None
    health: tuple[str, ...] = ()
    database: str | None = None
    backup: float | None = None
    broken: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    watches: int | None = None


@dataclass(frozen=True, kw_only=True)
class MachineFacts:
    """
    Everything; ``user`` is the id that looked, ``now`` unix seconds, ``synchronised`` whether time is kept right.

    ``env_files`` are those that the services of this machine have their settings from.
    """

    now: float
    user: int
    version: str
    python: str
    synchronised: bool | None = None
    roles: tuple[RoleFacts, ...] = ()
    pages: tuple[Page, ...] = ()
    unreadable: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """``level`` is ok, warn or bad; what is not ok has the command or the step that mends it."""

    role: str
    check: str
    level: str
    text: str
    mend: str | None = None
