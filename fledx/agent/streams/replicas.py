"""Which container of this node a stream into a replica means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fledx.agent.reconcile.actions import Copy
from fledx.agent.reconcile.history import in_order
from fledx.agent.spec import Key
from fledx.errors import InvalidSpec, Unavailable
from fledx.models.desired import ReplicaDesired


@dataclass(frozen=True, kw_only=True)
class Replicas:
    """
    The replicas of this node, and nobody else's: `copies` gives the containers that carry its id, `wanted` what is to
    run here.
    """

    copies: Callable[[Key], Sequence[Copy]]
    wanted: Callable[[], Mapping[Key, ReplicaDesired]]

    def running(self, meta: Mapping[str, Any]) -> Copy:
        """
        The container that serves for the replica which the meta of a stream names.

        While one is replaced that is the new one as soon as it runs, until then the old one. Raises InvalidSpec for a
        meta that names none, Unavailable when none runs here.
        """
        key = _key_of(meta)
        replica, copies = self.wanted().get(key), self.copies(key)
        ordered = copies if replica is None else in_order(copies, replica)
        found = next((copy for copy in ordered if copy.running), None)
        if found is None:
            raise Unavailable(f"replica {key[1]} of deployment {key[0][:64]} does not run on this node")
        return found


def _key_of(meta: Mapping[str, Any]) -> Key:
    deployment_id, number = meta.get("deployment_id"), meta.get("replica_number")
    if not isinstance(deployment_id, str) or type(number) is not int:
        raise InvalidSpec("meta", "a stream into a replica names a deployment_id and a replica_number")
    return deployment_id, number
