"""Nodes over HTTP: joining, and looking at them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from starlette.responses import Response

from fledx.control_plane.api.auth import Gate
from fledx.control_plane.api.endpoint import Call
from fledx.control_plane.api.params import LABELS, PAGING, choice, reference, word
from fledx.control_plane.api.replies import model_reply, page_reply, reply
from fledx.control_plane.nodes import Nodes
from fledx.control_plane.trust.tokens import Endpoint, Tokens
from fledx.models.codec import decode, decode_lenient, encode
from fledx.models.filters import NodeFilter
from fledx.models.ingress import GatewayView
from fledx.models.instance import Instance
from fledx.models.node import AVAILABILITIES, STATUSES, Node, NodeFacts
from fledx.settings.control_plane import ControlPlaneSettings

NODE_FILTERS = (
    *PAGING,
    choice("status", "only those with this status", STATUSES),
    choice("availability", "only those the operator wants so", AVAILABILITIES),
    word("name", "only the one of this name"),
    LABELS,
)


@dataclass(frozen=True, kw_only=True)
class NodeDetail(Node):
    """A node with what it runs."""

    instances: tuple[Instance, ...] = ()
    gateway_state: GatewayView | None = None


@dataclass(frozen=True, kw_only=True)
class TunnelAddress:
    """Where a node that registered over HTTP dials, in the words of fledx-core; seconds are whole."""

    host: str
    port: int
    use_tls: bool
    connect_timeout_secs: int = 10
    heartbeat_interval_secs: int = 5
    heartbeat_timeout_secs: int = 90
    token_header: str = "authorization"


@dataclass(frozen=True, kw_only=True)
class RegisteredNode:
    """What a node is given when it registers; the token is shown this once."""

    node_id: str
    node_token: str
    name: str
    tunnel: TunnelAddress


@dataclass(frozen=True, kw_only=True)
class JoinRequest:
    """How long a join string is good, in seconds, and for how many hosts; null is any number of them."""

    ttl_seconds: float = 86400.0
    uses: int | None = 1


@dataclass(frozen=True, kw_only=True)
class Join:
    """All that a new host needs, as one word that is shown this once."""

    join: str
    expires_at: str
    uses: int | None


def tunnel_of(endpoint: Endpoint, settings: ControlPlaneSettings) -> TunnelAddress:
    """The tunnel's address as it is told over HTTP."""
    return TunnelAddress(
        host=endpoint.host,
        port=endpoint.port,
        use_tls=endpoint.tls,
        heartbeat_interval_secs=math.ceil(settings.tunnel_heartbeat_interval_secs),
        heartbeat_timeout_secs=math.ceil(settings.reachability_heartbeat_stale_secs),
    )


class NodeEndpoints:
    """What operators and new hosts do with nodes."""

    def __init__(self, nodes: Nodes, tokens: Tokens, gate: Gate, *, tunnel: TunnelAddress) -> None:
        self._nodes = nodes
        self._tokens = tokens
        self._gate = gate
        self._tunnel = tunnel

    def page(self, call: Call) -> Response:
        """List nodes by name."""
        query = call.query
        wanted = NodeFilter(
            status=query["status"],
            availability=query["availability"],
            name=query["name"],
            labels=dict(query["label"]),
        )
        items, total = self._nodes.page(wanted, limit=query["limit"], offset=query["offset"])
        return page_reply(items, limit=query["limit"], offset=query["offset"], total=total)

    def get(self, call: Call) -> Response:
        """Show a node and what it runs."""
        node = self._nodes.get(reference(call.ref, "node"))
        instances = self._nodes.instances(node.node_id)
        gateway = self._nodes.gateway(node.node_id)
        told = {} if gateway is None else {"gateway_state": encode(gateway)}
        return reply({**encode(node), "instances": [encode(instance) for instance in instances], **told})

    async def register(self, call: Call) -> Response:
        """Register a node; needs a registration token or an operator's."""
        facts = decode_lenient(NodeFacts, call.body)
        by = self._gate.registrant(call.headers, call.source)
        made = await self._nodes.register(facts, by=by)
        answer = RegisteredNode(node_id=made.node_id, node_token=made.node_token, name=made.name, tunnel=self._tunnel)
        return model_reply(answer, status=201)

    async def create_join(self, call: Call) -> Response:
        """Make a join string: all that a new host needs to become a node."""
        wanted = decode(JoinRequest, call.body)
        made = await self._tokens.create_join(ttl_seconds=wanted.ttl_seconds, uses=wanted.uses, by=call.by)
        return reply({"join": made.join, "expires_at": made.expires_at, "uses": made.uses}, status=201)
