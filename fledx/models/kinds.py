"""Words by which events are told: few and known, so that each can be counted before its first one."""

from __future__ import annotations

from fledx.models.deployment import STATUSES as DEPLOYMENT_STATUSES
from fledx.models.node import AVAILABILITIES
from fledx.models.node import STATUSES as NODE_STATUSES

OF_REPLICAS = (
    *("adopt", "crash", "drift", "exit", "failed", "gave_up", "interrupted", "missed", "port_taken", "remove"),
    *("replace", "restart", "skipped", "start", "stop", "unhealthy"),
)
"""What an agent finds and does with replicas."""

OF_MACHINES = ("desired", "disk", "runtime")
"""What it finds of its machine."""

KINDS = (
    *(f"certificate.{word}" for word in ("created", "deleted", "ended", "ending", "replaced")),
    *(f"config.{word}" for word in ("attached", "created", "deleted", "detached", "updated")),
    *(f"deployment.{word}" for word in ("created", "deleted", "pinned", "rolled_back", "updated")),
    *(f"deployment.{status}" for status in DEPLOYMENT_STATUSES),
    *(f"gateway.{word}" for word in ("accepted", "failed", "refused", "serving")),
    *(f"job.{outcome}" for outcome in ("failed", "succeeded")),
    *(f"node.{word}" for word in ("allows", "deleted", "drained", "dropped", "labels", "registered", "rejoined")),
    *(f"node.{word}" for word in ("token", *AVAILABILITIES, *NODE_STATUSES, *OF_MACHINES)),
    *(f"registry.{word}" for word in ("deleted", "set")),
    *(f"replica.{word}" for word in ("kept", "moved", "pending", "placed", "ports", "removed", "returned", "updated")),
    *(f"replica.{word}" for word in OF_REPLICAS),
    *(f"rollout.{word}" for word in ("complete", "no_surge", "paused")),
    *(f"secret.{word}" for word in ("deleted", "set")),
    *(f"volume.{word}" for word in ("kept", "restored")),
)
"""Every kind of event; an agent of another version may tell others."""
