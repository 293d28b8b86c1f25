"""What is between the control plane and its gateways: what they tell, and the way through for what they serve."""

from __future__ import annotations

import logging
from collections import Counter

from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.dispatch import Session
from fledx.control_plane.ingress.backends import Backends
from fledx.control_plane.ingress.gateways import GATEWAYS, Gateways
from fledx.control_plane.metrics import Metrics
from fledx.control_plane.store import nodes
from fledx.control_plane.store.database import Database
from fledx.models.ingress import GatewayStatus
from fledx.tunnel.stream import Stream

log = logging.getLogger(__name__)
MOST_OF_A_REASON = 1000


class Ingress:
    """Gateways' sessions as far as they are about ingress."""

    def __init__(
        self, store: Database, changes: Changes, gateways: Gateways, backends: Backends, metrics: Metrics
    ) -> None:
        self._store = store
        self._changes = changes
        self._gateways = gateways
        self._backends = backends
        self._metrics = metrics

    def entered(self, node_id: str) -> None:
        """A node has connected; what it was told of before is void, as it will tell all of it again."""
        if self._store.read(lambda sql: nodes.is_gateway(sql, node_id)):
            self._gateways.enter(node_id)
        else:
            self._gateways.leave(node_id)
        self._news()

    def left(self, node_id: str) -> None:
        """A node is away."""
        if self._gateways.connected(node_id):
            self._gateways.leave(node_id)
            self._news()

    async def told(self, node_id: str, status: GatewayStatus) -> None:
        """A gateway tells how it does; whoever said in its hello that it is none is not listened to."""
        if not self._gateways.connected(node_id):
            log.warning("a node that is no gateway tells of one", extra={"node": node_id})
            return
        before = self._gateways.tell(node_id, status)
        self._news(status)
        if (news := _news_of(before, status)) is not None:
            kind, reason = news
            await self._changes.commit(lambda tx: _tell(tx, node_id, kind, reason), durable=False)

    async def stream(self, session: Session, stream: Stream) -> None:
        """Serve a stream that a node has opened."""
        await self._backends.serve(session, stream)

    def _news(self, status: GatewayStatus | None = None) -> None:
        ways = () if status is None else status.ways
        deployments = {way.rpartition("/")[0].rpartition("-")[0] for way in ways}
        self._changes.bell.ring({GATEWAYS, *deployments})
        self._metrics.gateways(Counter(each.state for each in self._gateways.statuses()))


def _news_of(before: GatewayStatus | None, now: GatewayStatus) -> tuple[str, str] | None:
    """What has happened to a gateway, if that is worth an event: kind and reason."""
    if now.state == "failed" and (before is None or (before.state, before.reason) != (now.state, now.reason)):
        return "gateway.failed", now.reason or "it gives no reason"
    if now.refused is not None and (before is None or before.refused != now.refused):
        return "gateway.refused", f"it goes on with what it had: {now.refused}"
    if now.state == "serving" and before is not None and before.state != "serving":
        return "gateway.serving", f"was {before.state}"
    if before is not None and before.refused is not None and now.refused is None:
        return "gateway.accepted", "it serves the newest again"
    return None


def _tell(tx: Transaction, node_id: str, kind: str, reason: str) -> None:
    row = nodes.by_id(tx.sql, node_id)
    if row is not None:
        tx.event(kind, row["name"], reason[:MOST_OF_A_REASON], node_id=node_id)
        tx.overview = True
