"""What a replica's container is made of, and how it is recognised again; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fledx.agent.runtime.containers import ContainerSpec, Mount
from fledx.models.confinement import FIELDS
from fledx.models.desired import ReplicaDesired

Key = tuple[str, int]
"""Deployment id and replica number."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """
    The labels ``fledx.*`` of one container of ours.

    ``restarts`` is how often its replica had been restarted when it was made, so that the count outlives the agent;
    ``run`` is which run of a job it is.
    """

    node_id: str
    deployment_id: str
    deployment: str
    replica_number: int
    generation: int
    revision: int
    template: str
    fence: int
    restarts: int = 0
    run: str = ""

    @property
    def key(self) -> Key:
        """Which replica this is a copy of."""
        return self.deployment_id, self.replica_number

    @classmethod
    def of(cls, labels: Mapping[str, str], node_id: str) -> Marks | None:
        """Read them back; None when they are not whole or not this node's: the container is somebody else's."""
        if labels.get("fledx.node_id") != node_id:
            return None
        try:
            return cls(
                node_id=node_id,
                deployment_id=labels["fledx.deployment_id"],
                deployment=labels["fledx.deployment"],
                replica_number=int(labels["fledx.replica"]),
                generation=int(labels["fledx.generation"]),
                revision=int(labels["fledx.revision"]),
                template=labels["fledx.template"],
                fence=int(labels["fledx.fence"]),
                restarts=int(labels.get("fledx.restarts", "0")),
                run=labels.get("fledx.run", ""),
            )
        except (KeyError, ValueError):
            return None

    def labels(self) -> dict[str, str]:
        """As Docker stores them."""
        return {
            "fledx.node_id": self.node_id,
            "fledx.deployment_id": self.deployment_id,
            "fledx.deployment": self.deployment,
            "fledx.replica": str(self.replica_number),
            "fledx.generation": str(self.generation),
            "fledx.revision": str(self.revision),
            "fledx.template": self.template,
            "fledx.fence": str(self.fence),
            "fledx.restarts": str(self.restarts),
            **({"fledx.run": self.run} if self.run else {}),
        }


def marks_for(replica: ReplicaDesired, node_id: str, restarts: int, run: str = "") -> Marks:
    """What the next container of this replica is marked with."""
    return Marks(
        node_id=node_id,
        deployment_id=replica.deployment_id,
        deployment=replica.deployment,
        replica_number=replica.replica_number,
        generation=replica.generation,
        revision=replica.revision,
        template=replica.template,
        fence=replica.fence,
        restarts=restarts,
        run=run,
    )


def container_name(replica: ReplicaDesired, node_id: str, attempt: int = 0) -> str:
    """`fledx-<deployment>-<replica>-<node>`; further attempts, where that is taken, have a number behind it."""
    suffix = f"-{attempt + 1}" if attempt else ""
    return f"fledx-{replica.deployment}-{replica.replica_number}-{node_id[:8]}{suffix}"


def container_spec(
    replica: ReplicaDesired,
    marks: Marks,
    *,
    node: str,
    secrets: Mapping[str, str],
    mounts: tuple[Mount, ...],
) -> ContainerSpec:
    """
    The container of a replica, under its first name.

    Environment, the later wins: who it is (``FLEDX_DEPLOYMENT``, ``FLEDX_REPLICA``, ``FLEDX_NODE``), the spec's own,
    secrets by name.
    """
    told = {
        "FLEDX_DEPLOYMENT": replica.deployment,
        "FLEDX_REPLICA": str(replica.replica_number),
        "FLEDX_NODE": node,
    }
    confinement: dict[str, Any] = {field: getattr(replica, field) for field in FIELDS}
    return ContainerSpec(
        name=container_name(replica, marks.node_id),
        image=replica.image,
        command=replica.command,
        entrypoint=replica.entrypoint,
        env={**told, **(replica.env or {}), **secrets},
        labels=marks.labels(),
        ports=replica.ports or (),
        mounts=mounts,
        limits=replica.limits,
        stop_grace=replica.stop_grace_seconds,
        **confinement,
    )
