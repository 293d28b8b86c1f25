"""What an agent tells the control plane about its replicas."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from fledx.models.codec import encode
from fledx.models.ingress import GatewayStatus
from fledx.models.instance import Instance
from fledx.models.node import NodeFacts


@dataclass(frozen=True, kw_only=True)
class Happening:
    """One thing an agent did or saw, with its reason; ``kind`` is an action's name such as start, stop or drift."""

    at: str
    kind: str
    deployment_id: str | None = None
    replica_number: int | None = None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """
    Sent when something changed, and whole after each connect.

    ``full`` means: these are all instances of the node. ``gone`` lists replicas whose container is no more and which
    are not desired. ``revision`` is the desired state the agent works on. ``dropped`` counts happenings that an agent
    which was cut off for long had no room to keep.
    """

    revision: int
    full: bool = False
    instances: tuple[Instance, ...] = ()
    gone: tuple[tuple[str, int], ...] = ()
    happenings: tuple[Happening, ...] = ()
    dropped: int = 0
    node: NodeFacts | None = None
    gateway: GatewayStatus | None = None


def digest_of(instances: Iterable[Instance]) -> str:
    """16 hex digits over a node's instances, by which both sides of the tunnel see whether they know the same."""
    rows = [encode(each) for each in sorted(instances, key=lambda each: each.key)]
    canonical = json.dumps(rows, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
