"""What a list is narrowed to; None and empty mean all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DeploymentFilter:
    """Deployments of a status, a name, with all of the labels, with a replica on a node (its name or id)."""

    status: str | None = None
    name: str | None = None
    labels: Mapping[str, str] | None = None
    node: str | None = None


@dataclass(frozen=True, kw_only=True)
class NodeFilter:
    """Nodes of a status, an availability, a name, with all of the labels."""

    status: str | None = None
    availability: str | None = None
    name: str | None = None
    labels: Mapping[str, str] | None = None
