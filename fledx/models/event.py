"""What happened, for operators: the stored reasons."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Event:
    """
    One line of history; ``id`` only grows.

    ``kind`` is a dotted word (`deployment.created`, `replica.placed`, `replica.started`, `node.unreachable`, ...);
    ``subject`` is the name of the deployment or node it is about.
    """

    id: int
    at: str
    kind: str
    subject: str
    reason: str
    deployment_id: str | None = None
    replica_number: int | None = None
    node_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line a container wrote: ``stream`` is stdout or stderr, ``time`` Docker's own RFC 3339 stamp."""

    deployment: str
    replica_number: int
    node: str
    stream: str
    time: str
    line: str
