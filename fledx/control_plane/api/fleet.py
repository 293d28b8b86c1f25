"""What operators want of nodes, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.responses import Response

from fledx.control_plane.api.endpoint import Call
from fledx.control_plane.api.params import flag, number, reference
from fledx.control_plane.api.replies import model_reply, nothing, reply
from fledx.control_plane.fleet import Drain, Fleet
from fledx.control_plane.rebalancing import Rebalancing
from fledx.errors import InvalidSpec
from fledx.models import check
from fledx.models.check import Faults
from fledx.models.codec import decode, encode
from fledx.models.node import Move

DELETION = (flag("force", "even while it owns replicas: these go elsewhere or wait for a place"),)
REBALANCE = (
    flag("dry_run", "answer what would be moved and why, and do nothing"),
    number("most", "how many moves at most", default=100, least=1, most=1000),
)


@dataclass(frozen=True, kw_only=True)
class Cordon:
    """Why a node takes no new replicas."""

    reason: str | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        faults.add("reason", None if self.reason is None else check.line(self.reason))
        faults.settle()


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels to lay over a node's own; null takes one away."""

    labels: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Moves:
    """What a rebalance moves, in this order."""

    moves: tuple[Move, ...] = ()


class FleetEndpoints:
    """Labels, cordon and drain, tokens, the end of a node, and balance among them."""

    def __init__(self, fleet: Fleet, rebalancing: Rebalancing) -> None:
        self._fleet = fleet
        self._rebalancing = rebalancing

    async def cordon(self, call: Call) -> Response:
        """Keep new replicas away from a node; those that are there stay."""
        reason = decode(Cordon, call.body).reason
        return model_reply(await self._fleet.cordon(node_of(call), by=call.by, reason=reason))

    async def uncordon(self, call: Call) -> Response:
        """Let a node take replicas again, and end its drain."""
        return model_reply(await self._fleet.uncordon(node_of(call), by=call.by))

    async def drain(self, call: Call) -> Response:
        """Empty a node, as many replicas at once as their deployments allow; 409 where one cannot leave."""
        return model_reply(await self._fleet.drain(node_of(call), decode(Drain, call.body), by=call.by))

    async def label(self, call: Call) -> Response:
        """Lay labels over those that the node tells of itself; null takes one away."""
        labels = decode(Labels, call.body).labels
        if not labels:
            raise InvalidSpec("labels", "names no label")
        return model_reply(await self._fleet.label(node_of(call), labels, by=call.by))

    async def rotate_token(self, call: Call) -> Response:
        """Give a connected node another token over its link; the old one is good until it has the new one."""
        return model_reply(await self._fleet.rotate_token(node_of(call), by=call.by))

    async def delete(self, call: Call) -> Response:
        """Forget a node; 409 while it owns replicas."""
        await self._fleet.delete(node_of(call), by=call.by, force=call.query["force"])
        return nothing()

    async def rebalance(self, call: Call) -> Response:
        """Move replicas to where they are better off, a few at a time, and say each move and why."""
        dry, most = call.query["dry_run"], call.query["most"]
        moves = self._rebalancing.preview(most) if dry else await self._rebalancing.begin(most, by=call.by)
        return reply({"moves": [encode(move) for move in moves]})


def node_of(call: Call) -> str:
    """The node that the path names."""
    return reference(call.ref, "node")
