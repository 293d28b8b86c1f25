"""Host directories that containers may see: only below prefixes that the node's own settings allow."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fledx.agent.runtime.base import Mount
from fledx.errors import InvalidSpec
from fledx.models.volume import VolumeMount


def mounts_for(volumes: Sequence[VolumeMount], prefixes: Sequence[str]) -> tuple[Mount, ...]:
    """
    What to mount for these volumes, symbolic links resolved: Docker gets the path that was checked and no other.

    A directory that is missing below an allowed prefix is made. Raises InvalidSpec for the first that is not allowed.
    """
    return tuple(
        Mount(
            source=str(_allowed(volume.host_path, prefixes)),
            target=volume.container_path,
            read_only=bool(volume.read_only),
        )
        for volume in volumes
    )


def _allowed(host_path: str, prefixes: Sequence[str]) -> Path:
    """Checked as far as it exists before anything is made, and as a whole afterwards."""
    allowed = [Path(os.path.realpath(prefix)) for prefix in prefixes]
    path = _resolved(host_path)
    if not _below(path, allowed):
        raise _refusal(host_path, path, prefixes)
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
