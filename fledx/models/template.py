"""What one container of a deployment is made from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fledx.models import check, confinement
from fledx.models.check import Faults, shown
from fledx.models.confinement import Device, Tmpfs, Ulimit
from fledx.models.health import DeploymentHealth
from fledx.models.port import PortMapping
from fledx.models.secret import SecretEnv, SecretFile
from fledx.models.volume import VolumeMount

T = TypeVar("T", bound=Hashable)
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
RESTART_POLICIES = ("always", "on_failure", "never")
PULL_POLICIES = ("if_not_present", "always", "never")
DEFAULT_STOP_GRACE = 10.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """
    What Docker enforces on one container: thousandths of a core, bytes, and processes; None is no limit.

    ``log_bytes`` is the size of one log file, ``log_files`` how many are kept; None: 10 MB and 3.
    """

    cpu_millis: int | None = None
    memory_bytes: int | None = None
    pids: int | None = None
    log_bytes: int | None = None
    log_files: int | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        least_of = {"cpu_millis": 1, "memory_bytes": 6 * 1024 * 1024, "pids": 1, "log_bytes": 64 * 1024, "log_files": 1}
        for field, least in least_of.items():
            value = getattr(self, field)
            if value is not None and value < least:
                why = " (6 MiB), Docker's own least" if field == "memory_bytes" else ""
                faults.add(field, f"{value} is less than {least}{why}")
        faults.settle()


@dataclass(frozen=True, kw_only=True)
class Template:
    """
    The part of a spec that a container is made from; a change of it is a new revision.

    Seconds for ``stop_grace_seconds``; ``restart`` is always, on_failure or never. ``restarted_at`` is when an operator
    asked for new containers of what is otherwise the same. ``pull`` says what a revision's image is: if_not_present
    what a node has under that name, else what the registry has; always what the registry has; never what a node has.
    ``command`` is what the image's entry point is given; an ``entrypoint`` takes the place of that one, and of the
    image's own command with it. ``user`` is UID[:GID] or names of the image's; ``network_mode`` None is a network of
    its own, host is the node's.
    """

    image: str
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    env: Mapping[str, str] | None = None
    secret_env: tuple[SecretEnv, ...] | None = None
    secret_files: tuple[SecretFile, ...] | None = None
    ports: tuple[PortMapping, ...] | None = None
    volumes: tuple[VolumeMount, ...] | None = None
    health: DeploymentHealth | None = None
    limits: Limits | None = None
    restart: str = "always"
    pull: str = "if_not_present"
    stop_grace_seconds: float = DEFAULT_STOP_GRACE
    restarted_at: str | None = None
    user: str | None = None
    read_only: bool | None = None
    init: bool | None = None
    tmpfs: tuple[Tmpfs, ...] | None = None
    ulimits: tuple[Ulimit, ...] | None = None
    devices: tuple[Device, ...] | None = None
    cap_add: tuple[str, ...] | None = None
    cap_drop: tuple[str, ...] | None = None
    privileged: bool | None = None
    network_mode: str | None = None
    stop_signal: str | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        self.look_for(faults)
        faults.settle()

    def look_for(self, faults: Faults) -> None:
        """Note every fault; a model that extends this one calls it first."""
        object.__setattr__(self, "image", self.image.strip())
        faults.add("image", check.line(self.image) or self._image_fault())
        faults.found += check.each(self.command or (), "command")
        faults.found += check.each(self.entrypoint or (), "entrypoint")
        for key, value in (self.env or {}).items():
            faults.add(f"env.{key[:60]}", check.env_name(key) or check.env_value(value))
        if self.restart not in RESTART_POLICIES:
            faults.add("restart", f"{shown(self.restart)} is not always, on_failure or never")
        if self.pull not in PULL_POLICIES:
            faults.add("pull", f"{shown(self.pull)} is not if_not_present, always or never")
        faults.add("restarted_at", None if self.restarted_at is None else check.line(self.restarted_at))
        if not 0 <= self.stop_grace_seconds <= 86400:
            faults.add("stop_grace_seconds", f"{self.stop_grace_seconds:g} is not between 0 and 86400")
        self._settle_confinement()
        self._look_for_confinement(faults)
        self._look_for_doubles(faults)

    def _settle_confinement(self) -> None:
        """What means the same is the same: the hash over a container must not tell `false` from left unsaid."""
        put = object.__setattr__
        for field in ("read_only", "init", "privileged"):
            put(self, field, getattr(self, field) or None)
        for field in ("cap_add", "cap_drop"):
            words = {confinement.settled_capability(word) for word in getattr(self, field) or ()}
            put(self, field, tuple(sorted(words)) or None)
        put(self, "user", (self.user or "").strip() or None)
        put(self, "stop_signal", confinement.settled_signal(self.stop_signal or "") or None)
        put(self, "network_mode", None if self.network_mode in ("", "bridge") else self.network_mode)
        if self.network_mode == "host" and self.ports:
            ports = (replace(each, host_port=each.host_port or each.container_port) for each in self.ports)
            put(self, "ports", tuple(ports))

    def _look_for_confinement(self, faults: Faults) -> None:
        for field in ("cap_add", "cap_drop"):
            for i, word in enumerate(getattr(self, field) or ()):
                faults.add(f"{field}[{i}]", confinement.capability(word))
        faults.add("user", None if self.user is None else confinement.user(self.user))
        faults.add("stop_signal", None if self.stop_signal is None else confinement.signal(self.stop_signal))
        if self.network_mode not in (None, "host"):
            faults.add("network_mode", f"{shown(self.network_mode)} is not bridge or host")
        for i, port in enumerate(self.ports or () if self.network_mode == "host" else ()):
            if port.host_port not in (None, port.container_port):
                faults.add(
                    f"ports[{i}]", f"with the node's network port {port.container_port} cannot be {port.host_port}"
                )

    def _image_fault(self) -> str | None:
        if IMAGE.fullmatch(self.image) and "//" not in self.image and "::" not in self.image:
            return None
        return f"{shown(self.image)} is not an image's name, such as nginx:1.27 or registry.example.com/app@sha256:..."

    def _look_for_doubles(self, faults: Faults) -> None:
        for where, (side, number, protocol, _) in _doubles(self._port_keys()):
            faults.add(where, f"{side} port {number}/{protocol} is listed twice")
        paths = [(f"volumes[{i}]", mount.container_path) for i, mount in enumerate(self.volumes or ())]
        paths += [(f"secret_files[{i}]", file.path) for i, file in enumerate(self.secret_files or ())]
        paths += [(f"tmpfs[{i}]", tmpfs.path) for i, tmpfs in enumerate(self.tmpfs or ())]
        for where, path in _doubles(paths):
            faults.add(where, f"container path {shown(path)} is used twice")
        names = [(f"volumes[{i}]", mount.name) for i, mount in enumerate(self.volumes or ()) if mount.name]
        names += [(f"ulimits[{i}]", f"ulimit {ulimit.name}") for i, ulimit in enumerate(self.ulimits or ())]
        for where, name in _doubles(names):
            faults.add(where, f"{shown(name)} is there twice")

    def _port_keys(self) -> Iterator[tuple[str, tuple[str, int, str, str | None]]]:
        for i, port in enumerate(self.ports or ()):
            yield f"ports[{i}]", ("container", port.container_port, port.protocol, port.host_ip)
            if port.host_port is not None:
                yield f"ports[{i}]", ("host", port.host_port, port.protocol, port.host_ip)


def _doubles(found: Iterable[tuple[str, T]]) -> Iterator[tuple[str, T]]:
    """Where something stands that has been there before, and what."""
    seen: set[T] = set()
    for where, each in found:
        if each in seen:
            yield where, each
        seen.add(each)


#: Fields that a running container cannot change; health, restart and grace are the agent's own doing.
CONTAINER_FIELDS = (
    *("image", "command", "env", "secret_env", "secret_files", "ports", "volumes", "limits"),
    *("files", "secrets_digest", "restarted_at", "volume_names", "entrypoint"),
    *confinement.FIELDS,
)


def template_hash(template: Mapping[str, Any]) -> str:
    """16 hex digits over the encoded fields that make a container what it is; unset and absent are the same."""
    kept = {field: template[field] for field in CONTAINER_FIELDS if template.get(field) not in (None, {}, [], ())}
    canonical = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
