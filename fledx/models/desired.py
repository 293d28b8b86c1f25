"""Everything one node is to run: complete, numbered, and enough to start from with the link cut."""

from __future__ import annotations

from dataclasses import dataclass

from fledx.models.template import Template


@dataclass(frozen=True, kw_only=True)
class ReplicaDesired(Template):
    """
    One replica that this node owns.

    ``template`` is the hash over what its container is made from (`models.template.template_hash` of this very object,
    its ports resolved); with ``fence`` it decides whether a container that is there is the right one.
    """

    deployment_id: str
    deployment: str
    replica_number: int
    generation: int
    revision: int
    template: str
    fence: int
    desired_state: str = "running"

    @property
    def key(self) -> tuple[str, int]:
        """Which replica this is."""
        return self.deployment_id, self.replica_number


@dataclass(frozen=True, kw_only=True)
class NodeDesiredState:
    """
    What the control plane pushes: the whole of it, each time it changes.

    ``revision`` only grows for one node, across restarts of the control plane too; a lower one than the last is old.
    """

    node_id: str
    revision: int
    replicas: tuple[ReplicaDesired, ...] = ()
