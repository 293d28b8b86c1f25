"""Everything one node is to run: complete, numbered, and enough to start from with the link cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fledx.models import check
from fledx.models.check import Faults
from fledx.models.ingress import GatewayDesired, Held
from fledx.models.job import JobDesired
from fledx.models.registry import RegistryLogin
from fledx.models.secret import SecretValue
from fledx.models.template import Template


@dataclass(frozen=True, kw_only=True)
class ReplicaFile:
    """A file of a config on its way to a container: where, and its content in base64."""

    path: str
    content: str


@dataclass(frozen=True, kw_only=True)
class ReplicaDesired(Template):
    """
    One replica that this node owns, everything it refers to resolved.

    ``env``, ``secret_env`` and ``secret_files`` are those of the spec and of the configs together; ``files`` are the
    configs'; ``secrets`` are the values that the control plane holds, and ``secrets_digest`` a mark of these that is
    worth nothing without its key. ``template`` is the hash over what the container is made from
    (`models.template.template_hash` of this very object, its ports resolved); with ``fence`` it decides whether a
    container that is there is the right one. ``digest`` is what the image's tag stands for in this revision, once a
    node has found out; it makes no other container of one that runs. ``volume_names`` says what this node's engine
    calls each volume that the template mounts by name. ``job`` is set where the replica is to run to its end.
    """

    deployment_id: str
    deployment: str
    replica_number: int
    generation: int
    revision: int
    template: str
    fence: int
    desired_state: str = "running"
    files: tuple[ReplicaFile, ...] = ()
    secrets: tuple[SecretValue, ...] = ()
    secrets_digest: str | None = None
    digest: str | None = None
    volume_names: Mapping[str, str] | None = None
    job: JobDesired | None = None

    def look_for(self, faults: Faults) -> None:
        super().look_for(faults)
        for field in ("deployment", "deployment_id"):  # they become names of containers and of directories
            faults.add(field, check.name(getattr(self, field)))

    @property
    def key(self) -> tuple[str, int]:
        """Which replica this is."""
        return self.deployment_id, self.replica_number


@dataclass(frozen=True, kw_only=True)
class NodeDesiredState:
    """
    What the control plane pushes: the whole of it, each time it changes.

    ``revision`` only grows for one node, across restarts of the control plane too; a lower one than the last is old.
    ``held`` are replicas that gateways are still draining, ``gateway`` what this node's own one is to serve.
    ``registries`` are the logins of those that its replicas' images come from.
    ``dropped_volumes`` are to be deleted, by the names that the node's engine knows.
    """

    node_id: str
    revision: int
    replicas: tuple[ReplicaDesired, ...] = ()
    held: tuple[Held, ...] = ()
    gateway: GatewayDesired | None = None
    registries: tuple[RegistryLogin, ...] = ()
    dropped_volumes: tuple[str, ...] = ()
