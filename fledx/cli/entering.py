"""What `exec` and `forward` have in common: which replica is meant, and the way to it."""

from __future__ import annotations

from fledx.cli.target import Target
from fledx.cli.terminal import Terminal
from fledx.client.api import ControlPlane
from fledx.client.operator_session import WayIn, way_in
from fledx.errors import InvalidSpec
from fledx.models.forward import ReplicaRef


def replica_ref(text: str, number: int | None) -> ReplicaRef:
    """`NAME[/REPLICA]`, the number perhaps by flag; InvalidSpec where there are two."""
    found = ReplicaRef.parse(text)
    if number is None:
        return found
    if found.replica not in (None, number):
        raise InvalidSpec("", f"{text} and --replica {number} name two replicas")
    return ReplicaRef(deployment=found.deployment, replica=number)


def lead_in(api: ControlPlane, target: Target, terminal: Terminal) -> WayIn:
    """Where and as whom to dial; says so where others can read along."""
    found = way_in(api, host=target.address.host, token=target.credentials.operator_token)
    if found.authority is None:
        terminal.say("warning: the tunnel is not encrypted: your token and all that follows travel in the clear")
    return found
