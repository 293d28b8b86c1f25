"""The scheduler's decision: which node runs a replica."""

from __future__ import annotations

from dataclasses import dataclass

from fledx.models.port import PortMapping


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """
    Replica ``replica_number`` of a deployment belongs to ``node_id``.

    ``fence`` rises each time the replica gets another owner; an older fence has lost. ``revision`` is the revision of
    the template this replica is to run now, which a rollout moves forward; ``ports`` have their host ports. One that is
    ``leaving`` is about to be taken down: nobody should send it anything new.
    """

    replica_number: int
    node_id: str
    node: str | None = None
    fence: int = 1
    revision: int = 1
    ports: tuple[PortMapping, ...] = ()
    leaving: bool | None = None
