"""Directories of the node that a container sees."""

from __future__ import annotations

from dataclasses import dataclass

from fledx.errors import InvalidSpec
from fledx.models.check import Faults, absolute_path, shown


@dataclass(frozen=True, kw_only=True)
class VolumeMount:
    """A host directory mounted into the container; ``read_only`` None is read and write, as the user left it unsaid."""

    host_path: str
    container_path: str
    read_only: bool | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        for field in ("host_path", "container_path"):
            object.__setattr__(self, field, getattr(self, field).strip())
            faults.add(field, absolute_path(getattr(self, field)))
        faults.settle()

    @classmethod
    def parse(cls, text: str) -> VolumeMount:
        """Read the command line form ``HOST:CONTAINER[:ro|rw]``."""
        host, *rest = text.split(":")
        if len(rest) not in (1, 2) or rest[1:] not in ([], ["ro"], ["rw"]):
            raise InvalidSpec("volume", f"{shown(text)} is not HOST:CONTAINER[:ro|rw]")
        return cls(host_path=host, container_path=rest[0], read_only=rest[1] == "ro" if rest[1:] else None)
