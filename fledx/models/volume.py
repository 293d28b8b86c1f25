"""Where containers keep data: directories of the node, and volumes by name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fledx.errors import InvalidSpec
from fledx.models.check import Faults, absolute_path, shown

VOLUME_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, kw_only=True)
class VolumeMount:
    """
    Where a container keeps data: a directory of the node (``host_path``), or a volume called ``name``.

    A named volume belongs to one replica, lies on its node and outlives its containers. ``read_only`` None is read and
    write, as the user left it unsaid.
    """

    host_path: str | None = None
    container_path: str
    read_only: bool | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        for field in ("host_path", "container_path"):
            if (path := getattr(self, field)) is not None:
                object.__setattr__(self, field, path.strip())
                faults.add(field, absolute_path(path.strip()))
        if (self.host_path is None) == (self.name is None):
            faults.add("host_path", "a volume has either a host_path or a name")
        if self.name is not None and not VOLUME_NAME.fullmatch(self.name):
            faults.add("name", f"{shown(self.name)} is not a volume's name: letters, digits, '-', '_' or '.'")
        faults.settle()

    @classmethod
    def parse(cls, text: str) -> VolumeMount:
        """Read the command line form ``HOST:CONTAINER[:ro|rw]`` or ``NAME:CONTAINER[:ro|rw]``."""
        source, *rest = text.split(":")
        if len(rest) not in (1, 2) or rest[1:] not in ([], ["ro"], ["rw"]):
            raise InvalidSpec("volume", f"{shown(text)} is not HOST:CONTAINER[:ro|rw] or NAME:CONTAINER[:ro|rw]")
        host, name = (None, source) if VOLUME_NAME.fullmatch(source) else (source, None)
        mode = rest[1] == "ro" if rest[1:] else None
        return cls(host_path=host, name=name, container_path=rest[0], read_only=mode)

    @property
    def source(self) -> str:
        """What it is called: the name, or the directory."""
        return self.name or self.host_path or ""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """
    A replica's data on a node: ``volume`` is what the spec calls it, ``name`` what the node's engine does.

    ``state`` is current, former (what the last restore has replaced) or left (its deployment is gone, or its replica
    has moved). ``size_bytes`` is there when sizes were asked for and the node could tell.
    """

    deployment: str
    replica_number: int
    volume: str
    node: str
    state: str
    name: str
    node_id: str
    deployment_id: str
    created_at: str
    size_bytes: int | None = None
