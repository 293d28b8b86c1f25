"""Machines with an agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fledx.models import check
from fledx.models.check import Faults
from fledx.models.ingress import GatewayFacts

STATUSES = ("registering", "ready", "unreachable", "error")
AVAILABILITIES = ("active", "cordoned", "draining")
OLDEST_ENGINE_API = (1, 41)
"""The API of Docker 20.10, the oldest engine that the agent is tested with. Podman numbers its releases otherwise."""
ARCH_ALIASES = {
    "x86_64": "amd64",
    "x64": "amd64",
    "aarch64": "arm64",
    "armv8": "arm64",
    "armv7l": "arm",
    "armhf": "arm",
}


def settled_arch(text: str) -> str:
    """The one name of an architecture: Docker's own (amd64, arm64, arm), whatever alias was given."""
    word = text.strip().lower()
    return ARCH_ALIASES.get(word, word)


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """Thousandths of a core, and bytes; None is not known."""

    cpu_millis: int | None = None
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        for field in ("cpu_millis", "memory_bytes"):
            value = getattr(self, field)
            if value is not None and not 0 < value < 2**63:
                faults.add(field, f"{value} is not above 0")
        faults.settle()


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """
    What a node tells about itself when it joins and when it connects.

    ``host_key`` tells one host and data directory from every other, so that a host which joins again stays itself.
    ``runtime`` is the engine's own name and version, ``runtime_error`` why it cannot be used. ``secrets`` names those
    that the node has of its own, never their values. ``ports_in_use`` are host ports (`tcp/80`) that others than this
    agent's containers listen on, ``port_range`` the first and last host port to choose from on this node.
    ``gateway`` is there when it serves public ingress.
    ``metered`` says that its link costs by the byte, so that it may beat seldom.
    ``allows`` are words of `models.permission`, ``volume_prefixes`` directories that volumes may lie under; None is an
    agent from before either was told. ``knows`` are those of `permission.LATER` that its agent heeds.
    """

    name: str | None = None
    arch: str | None = None
    os: str | None = None
    labels: Mapping[str, str] | None = None
    capacity: Capacity | None = None
    public_ip: str | None = None
    public_host: str | None = None
    host_key: str | None = None
    agent_version: str | None = None
    agent_build: str | None = None
    runtime: str | None = None
    runtime_error: str | None = None
    secrets: tuple[str, ...] | None = None
    ports_in_use: tuple[str, ...] | None = None
    port_range: tuple[int, int] | None = None
    disk_pressure: str | None = None
    gateway: GatewayFacts | None = None
    metered: bool | None = None
    allows: tuple[str, ...] | None = None
    volume_prefixes: tuple[str, ...] | None = None
    knows: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        if self.name is not None:
            faults.add("name", check.name(self.name))
        for field in ("arch", "os"):
            text = getattr(self, field)
            if text is not None:
                faults.add(field, check.line(text))
                object.__setattr__(self, field, settled_arch(text) if field == "arch" else text.strip().lower())
        for field in ("public_ip", "public_host"):
            text = getattr(self, field)
            faults.add(field, None if text is None else check.line(text))
        faults.found += check.labels(self.labels or {}, "labels")
        faults.settle()


@dataclass(frozen=True, kw_only=True)
class Move:
    """A replica that is better off on another node, and why; nodes by name."""

    deployment_id: str
    deployment: str
    replica_number: int
    from_node: str
    to_node: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Wish:
    """
    Why a node takes no new work; times are RFC 3339 in UTC.

    After ``deadline`` what is still there leaves at once; ``force`` lets replicas leave their data behind, and leave
    though there is no other place. ``done`` is when a drained node was empty.
    """

    since: str
    by: str
    reason: str | None = None
    deadline: str | None = None
    force: bool = False
    done: str | None = None


@dataclass(frozen=True, kw_only=True)
class Node:
    """
    One node as the control plane knows it; times are RFC 3339 in UTC.

    ``status`` is what was last observed, ``availability`` what the operator wants of it; ``reason`` says why it is not
    simply ready, ``since`` when that began; ``wish`` says who wanted it cordoned or drained, and since when. ``labels``
    are the operator's over those that the node tells. ``disk_pressure`` says why no images are pulled there for now.
    ``allows`` is what its own settings let workloads have. ``gateway`` is there when it serves public ingress.
    ``metered`` is there when its link costs by the byte: it beats seldom, and is called silent later.
    """

    node_id: str
    name: str
    status: str
    availability: str = "active"
    since: str
    reason: str | None = None
    arch: str | None = None
    os: str | None = None
    labels: Mapping[str, str]
    capacity: Capacity | None = None
    public_ip: str | None = None
    public_host: str | None = None
    address: str | None = None
    agent_version: str | None = None
    runtime: str | None = None
    disk_pressure: str | None = None
    allows: tuple[str, ...] | None = None
    gateway: GatewayFacts | None = None
    metered: bool | None = None
    last_seen: str | None = None
    wish: Wish | None = None
    created_at: str
