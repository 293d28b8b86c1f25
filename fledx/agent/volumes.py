"""What a node lets its containers have of itself: directories below allowed prefixes, and rights by name."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from fledx.agent.runtime.containers import Mount
from fledx.errors import InvalidSpec
from fledx.models.permission import SOCKETS, is_socket, permissions_needed, reaches_socket
from fledx.models.template import Template
from fledx.models.volume import VolumeMount


@dataclass(frozen=True, kw_only=True)
class Policy:
    """
    The node's own say, which wins over whatever the control plane asks for.

    ``allows`` are words of `models.permission`, ``prefixes`` the directories a volume may lie under.
    """

    allows: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    def check(self, template: Template) -> None:
        """InvalidSpec for a container that wants more than this node allows."""
        if missing := [word for word in permissions_needed(template) if word not in self.allows]:
            raise _not_allowed(missing)

    def mounts(self, volumes: Sequence[VolumeMount]) -> tuple[Mount, ...]:
        """What to mount of the node's own directories; volumes by name are left out."""
        return mounts_for(volumes, self.prefixes, self.allows)


def _not_allowed(words: Sequence[str]) -> InvalidSpec:
    text = ", ".join(words)
    return InvalidSpec(
        "", f"this node does not allow {text}", hint=f"set FLEDX_AGENT_ALLOW={','.join(words)} on the node, or leave it"
    )


def mounts_for(
    volumes: Sequence[VolumeMount], prefixes: Sequence[str], allows: Collection[str] = ()
) -> tuple[Mount, ...]:
    """
    What to mount for these volumes, symbolic links resolved: Docker gets the path that was checked and no other.

    A directory that is missing below an allowed prefix is made. An engine's socket, or a directory that holds one,
    needs the permission docker_socket. Raises InvalidSpec for the first that is not allowed.
    """
    return tuple(
        Mount(
            source=str(_allowed(volume.host_path, prefixes, allows)),
            target=volume.container_path,
            read_only=bool(volume.read_only),
        )
        for volume in volumes
        if volume.host_path is not None
    )


def _allowed(host_path: str, prefixes: Sequence[str], allows: Collection[str]) -> Path:
    """Checked as far as it exists before anything is made, and as a whole afterwards."""
    allowed = [Path(os.path.realpath(prefix)) for prefix in prefixes]
    path = _resolved(host_path)
    sockets = {*SOCKETS, *map(os.path.realpath, SOCKETS)}
    if is_socket(str(path), sockets) and "docker_socket" in allows:
        return path
    if not _below(path, allowed):
        raise _refusal(host_path, path, prefixes)
    if reaches_socket(str(path), sockets) and "docker_socket" not in allows:
        raise _not_allowed(["docker_socket"])
    try:
        if not path.exists():
            path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InvalidSpec("volumes", f"{host_path} cannot be made on this node: {problem}") from None
    made = _resolved(path)
    if not _below(made, allowed):
        raise _refusal(host_path, made, prefixes)
    return made


def _resolved(path: str | Path) -> Path:
    """Without symbolic links; a link that may not be read (`/proc/1/root`) leads nowhere that is allowed."""
    try:
        return Path(os.path.realpath(path))
    except OSError as problem:
        raise InvalidSpec("volumes", f"{path} lies outside what this node allows: {problem.strerror}") from None


def _below(path: Path, allowed: Sequence[Path]) -> bool:
    return any(path == prefix or prefix in path.parents for prefix in allowed)


def _refusal(host_path: str, path: Path, prefixes: Sequence[str]) -> InvalidSpec:
    shown = host_path if str(path) == host_path else f"{host_path} (which is {path})"
    return InvalidSpec(
        "volumes",
        f"{shown} lies outside what this node allows: {', '.join(prefixes) or 'nothing'}",
        hint="set FLEDX_AGENT_ALLOWED_VOLUME_PREFIXES on the node",
    )
