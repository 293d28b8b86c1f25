"""Looks at this machine as each of the roles it has; changes nothing, and needs root for nothing but reading."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import fledx
from fledx.doctor.facts import UNITS, Disk, File, MachineFacts, Page, RoleFacts, Talk
from fledx.doctor.installed import ETC, Found, installation, settings_of
from fledx.doctor.network import engine_at, page, tried
from fledx.settings.agent import AgentSettings
from fledx.settings.control_plane import ControlPlaneSettings
from fledx.settings.declare import Declared
from fledx.settings.places import agent_config_directory, agent_directory, control_plane_directory

S = TypeVar("S", bound=Declared)
ROLES = ("cp", "agent", "operator")
DOCKER = "unix:///var/run/docker.sock"
DOCKER_ROOT = "/var/lib/docker"
LOOPBACK = "127.0.0.1"
INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")


class Look:
    """
    One look; `environ` is the process's own, `operator` says how the CLI would reach its control plane.

    `etc` is where the machine's own settings lie.
    """

    def __init__(self, environ: Mapping[str, str], operator: Mapping[str, Any] | None, etc: Path = ETC) -> None:
        self._environ = environ
        self._operator = operator
        self._etc = etc
        self._unreadable: dict[str, None] = {}

    def facts(self, wanted: str | None) -> MachineFacts:
        """The roles this machine has, or the one that is wanted whether it has it or not."""
        looks = {"cp": self._control_plane, "agent": self._agent, "operator": self._as_operator}
        roles = [role for role in ROLES if wanted in (None, role)]
        found = [each for role in roles if (each := looks[role](asked=wanted is not None)) is not None]
        return MachineFacts(
            now=time.time(),
            user=os.geteuid(),
            version=fledx.__version__,
            python=platform.python_version(),
            synchronised=_synchronised(),
            roles=tuple(found),
            pages=tuple(each for each in self._pages() if each.port),
            unreadable=tuple(self._unreadable),
            env_files=tuple(str(path) for role in UNITS for path in installation(role, self._etc).env_files),
        )

    def _settings(self, role: str, cls: type[S]) -> Found[S]:
        found = settings_of(role, cls, self._environ, self._etc)
        self._unreadable |= dict.fromkeys(found.hidden)
        return found

    def _pages(self) -> Iterator[Page]:
        """Where the settings say that the roles show themselves, the usual places where these are no good."""
        cp = self._settings("cp", ControlPlaneSettings).settings or ControlPlaneSettings()
        agent = self._settings("agent", AgentSettings).settings or AgentSettings()
        yield Page(name="cp-health.json", host=LOOPBACK, port=cp.server_port, path="/health")
        yield Page(name="cp-metrics.txt", host=LOOPBACK, port=cp.server_port, path="/metrics")
        yield Page(name="agent-health.json", host=LOOPBACK, port=agent.health_port, path="/health")
        yield Page(name="agent-metrics.txt", host=agent.metrics_host, port=agent.metrics_port, path="/metrics")

    def _directory(self, found: Found[Any], usual: Path) -> Path | None:
        """Where the role keeps its state, if it does so on this machine; a service whose settings are hidden first."""
        given = found.settings.data_dir if found.settings else None
        places = [found.installed.data, usual] if found.hidden else [usual, found.installed.data]
        for place in [Path(given)] if given else places:
            with contextlib.suppress(OSError):
                if place.is_dir():
                    return place
        return None

    def _control_plane(self, *, asked: bool) -> RoleFacts | None:
        found = self._settings("cp", ControlPlaneSettings)
        settings, directory = found.settings, self._directory(found, control_plane_directory(found.environ))
        if directory is None:
            return RoleFacts(role="cp", broken=("no control plane has its state on this machine",)) if asked else None
        return replace(
            _role(found, "cp", directory),
            files=tuple(self._files(directory, ("fledx.db", "secrets.key", "ca.key", "server.key"))),
            disks=tuple(_disks(("the database", directory))),
            database=self._database(directory / "fledx.db"),
            backup=_newest(directory),
            talks=tuple(self._ports(settings, directory)) if settings else (),
        )

    def _files(self, directory: Path, names: tuple[str, ...]) -> Iterator[File]:
        yield _file(directory)
        try:
            there = {each.name for each in directory.iterdir()}
        except OSError:
            self._unreadable[str(directory)] = None
            return
        for name in names:
            if name in there or name in ("fledx.db", "identity.json"):
                yield _file(directory / name)

    def _database(self, path: Path) -> str | None:
        """What is wrong with it."""
        if not os.access(path, os.R_OK):
            hidden = str(path.parent) in self._unreadable or _file(path).mode is not None
            return None if hidden else f"{path} is missing"
        from fledx.control_plane.run import fault_of  # loads a control plane's libraries, which no other role needs

        return fault_of(path)

    def _ports(self, settings: ControlPlaneSettings, directory: Path) -> Iterator[Talk]:
        authority = _text(directory / "ca.pem")
        tls = settings.api_over_tls
        yield tried(
            "API", "localhost", settings.server_port, tls=tls, authority=authority if tls else None, path="/health"
        )
        port = settings.tunnel_port or settings.tunnel_advertised_port
        tunnel = settings.tunnel_use_tls
        yield tried("tunnel", "localhost", port, tls=tunnel, authority=authority if tunnel else None)
        if (name := settings.tunnel_advertised_host) is not None:
            yield tried(
                "advertised", name, settings.tunnel_advertised_port, tls=tunnel, authority=authority if tunnel else None
            )

    def _agent(self, *, asked: bool) -> RoleFacts | None:
        found = self._settings("agent", AgentSettings)
        settings, directory = found.settings, self._directory(found, agent_directory(found.environ))
        if directory is None:
            return RoleFacts(role="agent", broken=("no agent has its state on this machine",)) if asked else None
        identity = self._identity(directory)
        engine = (settings.docker_host if settings else None) or found.environ.get("DOCKER_HOST") or DOCKER
        given = settings.config_dir if settings else None
        key = _file((Path(given) if given else agent_config_directory(found.environ)) / "agent.key")
        return replace(
            _role(found, "agent", directory),
            files=(
                *self._files(directory, ("identity.json", "desired.json")),
                *([key] if key.mode is not None else ()),
            ),
            disks=tuple(_disks(("the agent's state", directory), ("containers", Path(DOCKER_ROOT)))),
            engine=engine_at(engine) if found.known else None,
            talks=tuple(_tunnel(identity)),
            health=_health(settings.health_port) if settings and settings.health_port else (),
            watches=_watches() if settings and settings.gateway_enabled else None,
        )

    def _identity(self, directory: Path) -> Mapping[str, Any]:
        try:
            found = json.loads((directory / "identity.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _as_operator(self, *, asked: bool) -> RoleFacts | None:
        told = self._operator
        if told is None:
            return None
        if told.get("broken"):
            return RoleFacts(role="operator", broken=(str(told["broken"]),))
        where = urlsplit(str(told["url"]))
        tls = where.scheme == "https"
        port = where.port or (443 if tls else 80)
        authority = _text(Path(told["ca_path"])) if told.get("ca_path") else None
        host, headers = where.hostname or "localhost", told.get("headers") or {}
        talks = [tried("control plane", host, port, tls=tls, authority=authority, path="/health")]
        if talks[0].problem is None:
            path = "/api/v1/status"
            talks.append(tried("token", host, port, tls=tls, authority=authority, path=path, headers=headers))
        profiles = Path(told["profiles"])
        return RoleFacts(role="operator", files=(_file(profiles),) if profiles.exists() else (), talks=tuple(talks))


def _role(found: Found[Any], role: str, directory: Path) -> RoleFacts:
    return RoleFacts(
        role=role,
        directory=str(directory),
        unit=_unit(role),
        broken=found.broken,
        sources=found.sources,
        given=found.given,
        hidden=found.hidden,
    )


def _tunnel(identity: Mapping[str, Any]) -> Iterator[Talk]:
    """The way to the control plane as the node's identity names it."""
    host, port = identity.get("host"), identity.get("port")
    if isinstance(host, str) and isinstance(port, int):
        tls, authority = bool(identity.get("tls", True)), identity.get("authority")
        yield tried("tunnel", host, port, tls=tls, authority=authority if isinstance(authority, str) else None)


def _health(port: int) -> tuple[str, ...]:
    """What the running agent tells of itself."""
    with contextlib.suppress(ValueError):
        found = json.loads(page(LOOPBACK, port, "/health"))
        told = [found.get("runtime_error"), (found.get("control_plane") or {}).get("problem")]
        return tuple(str(text) for text in told if text)
    return (f"no agent answers at localhost:{port}/health",)


def _watches() -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(INSTANCES.read_text())
    return None


def _file(path: Path) -> File:
    try:
        found = path.stat()
    except OSError:
        return File(path=str(path), mode=None)
    return File(path=str(path), mode=found.st_mode & 0o7777, owner=found.st_uid)


def _disks(*wanted: tuple[str, Path]) -> Iterator[Disk]:
    for what, path in wanted:
        with contextlib.suppress(OSError):
            found = shutil.disk_usage(path)
            yield Disk(what=what, path=str(path), free=found.free, total=found.total)


def _newest(directory: Path) -> float | None:
    """When the newest backup in a control plane's directory was taken."""
    from fledx.control_plane.run import newest_backup

    with contextlib.suppress(OSError):
        return newest_backup(directory)
    return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None


def _unit(role: str) -> str | None:
    """systemd's word for a role's unit, None where systemd does not run this machine or knows no such unit."""
    name = UNITS[role]
    if not Path("/run/systemd/system").exists() or not Path(f"/etc/systemd/system/{name}.service").exists():
        return None
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(["systemctl", "is-active", name], capture_output=True, text=True, timeout=10, check=False)
        return done.stdout.strip() or None
    return None


def _synchronised() -> bool | None:
    """Whether systemd says that time is kept right; None where it cannot be asked."""
    if not Path("/run/systemd/system").exists() or shutil.which("timedatectl") is None:
        return None
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        asked = ["timedatectl", "show", "-p", "NTPSynchronized", "--value"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
        return {"yes": True, "no": False}.get(done.stdout.strip())
    return None
