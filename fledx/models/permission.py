"""What only a node itself may allow: each of these leads out of the container to the rest of the machine."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from fledx.models.confinement import FIELDS, USUAL_CAPABILITIES
from fledx.models.template import Template

PERMISSIONS = ("privileged", "host_network", "docker_socket", "devices", "capabilities")
#: Whoever may write there has root on the machine.
SOCKETS = (
    *("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock"),
    *("/var/run/containerd/containerd.sock", "/var/run/podman/podman.sock", "/run/crio/crio.sock"),
)
#: The template's fields that are younger than what nodes allow: each agent tells by name which of these it knows.
LATER = ("entrypoint",)


def permissions_needed(template: Template) -> tuple[str, ...]:
    """What a node must allow for this container, in the order of PERMISSIONS; host paths are looked at by mounts."""
    found = {
        "privileged": bool(template.privileged),
        "host_network": template.network_mode == "host",
        "docker_socket": any(reaches_socket(path) for path in host_paths(template)),
        "devices": bool(template.devices),
        "capabilities": bool(set(template.cap_add or ()) - USUAL_CAPABILITIES),
    }
    return tuple(word for word in PERMISSIONS if found[word])


def host_paths(template: Template) -> tuple[str, ...]:
    """The directories of the node that it wants to see."""
    return tuple(mount.host_path for mount in template.volumes or () if mount.host_path is not None)


def data_of(template: Template) -> tuple[str, ...]:
    """What it keeps on its node: volumes by name, and directories; an engine's socket is no data."""
    return tuple(mount.source for mount in template.volumes or () if not is_socket(mount.source))


def reaches_socket(path: str, sockets: Iterable[str] = SOCKETS) -> bool:
    """Whether an engine's socket is this path or lies below it."""
    whole = posixpath.normpath(path)
    return any(socket == whole or socket.startswith(whole.rstrip("/") + "/") for socket in sockets)


def is_socket(path: str, sockets: Iterable[str] = SOCKETS) -> bool:
    """Whether this path is itself an engine's socket."""
    return posixpath.normpath(path) in sockets


def below(path: str, prefixes: Iterable[str]) -> bool:
    """Whether a path is one of these directories or lies below one, as it is written."""
    whole = posixpath.normpath(path)
    return any(
        whole == (p := posixpath.normpath(prefix)) or whole.startswith(p.rstrip("/") + "/") for prefix in prefixes
    )


def unknown_to_older(template: Template) -> tuple[str, ...]:
    """Fields that are used and that an agent without word of what it allows, or of LATER ones, does not know."""
    fields = [field for field in FIELDS if getattr(template, field)]
    by_name = ("volumes by name",) if any(mount.name for mount in template.volumes or ()) else ()
    return (*fields, *by_name, *(field for field in LATER if getattr(template, field)))
