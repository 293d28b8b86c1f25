"""The `backend` streams of gateways: from a gateway through here into a replica on another node."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anyio

from fledx.control_plane.audit import AuditLog
from fledx.control_plane.dispatch import Dispatch, Session
from fledx.control_plane.ingress.offering import offered_on
from fledx.control_plane.metrics import Metrics
from fledx.control_plane.store.database import Database
from fledx.errors import Denied, FledxError, InvalidSpec, LimitExceeded, Unavailable
from fledx.models.check import shown
from fledx.models.ingress import AWAY
from fledx.models.token import Operator
from fledx.tunnel.link import Link
from fledx.tunnel.relay import relay
from fledx.tunnel.stream import Stream

log = logging.getLogger(__name__)
MOST_INTO_A_NODE = 896
"""Of the 1,024 streams that a link carries, so that desired states, logs and terminals always find room."""
CONNECT_SECONDS = 10.0
"""Longer than an agent needs to find out that nothing listens."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a gateway asks for: a port of one replica, and where it was told that this runs."""

    deployment_id: str
    replica_number: int
    port: int
    node_id: str | None

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Wanted:
        """Read a stream's meta; InvalidSpec when it is none."""
        found = {name: meta.get(name) for name in ("deployment_id", "replica_number", "port", "node_id")}
        kinds = {"deployment_id": str, "replica_number": int, "port": int}
        if wrong := [name for name, kind in kinds.items() if type(found[name]) is not kind]:
            raise InvalidSpec("meta", f"a backend stream names {' and '.join(wrong)}")
        if found["node_id"] is not None and type(found["node_id"]) is not str:
            raise InvalidSpec("meta", "the node_id of a backend stream is a text")
        return cls(**found)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"port {self.port} of replica {self.replica_number} of deployment {shown(self.deployment_id)}"


class Backends:
    """
    Lets gateways through to what they are to serve, and to nothing else.

    Who asks is known by the session, never by what the stream says. The replica must be offered to gateways at this
    very port, and where it runs is taken from that, so a stream leads to no address that a gateway could choose. At
    most ``most`` lead into one node at once.
    """

    def __init__(self, store: Database, dispatch: Dispatch, metrics: Metrics, audit: AuditLog) -> None:
        self.most = MOST_INTO_A_NODE
        self._store = store
        self._dispatch = dispatch
        self._metrics = metrics
        self._audit = audit
        self._open: Counter[str] = Counter()
        metrics.backends(lambda: self._open.total())

    async def serve(self, session: Session, stream: Stream) -> None:
        """Serve one stream that a session has opened, to its end."""
        if stream.kind != "backend":
            reason = f"an agent opens no stream of kind {shown(stream.kind, most=40)} here"
            await self._audit.refused("tunnel.stream", _as_operator(session), reason, name=session.name)
            raise Denied(reason, known=True)
        try:
            owner = await self._owner(session, Wanted.of(stream.meta))
            with self._counted(owner):
                inner = await self._connected(owner, stream.meta)
                self._metrics.backend("ok")
                await relay(stream, inner)
        except FledxError as problem:
            self._metrics.backend(problem.code)
            raise

    async def _owner(self, session: Session, wanted: Wanted) -> str:
        """The node that runs it; Denied, and written down, for what the gateway was not told to serve."""
        found = self._store.read(
            lambda sql: offered_on(sql, session.node_id, wanted.deployment_id, wanted.replica_number, wanted.port)
        )
        if found is None:
            await self._refuse(session, wanted)
        if not found or (wanted.node_id is not None and wanted.node_id not in found):
            raise Unavailable(f"{wanted} is not offered any more")
        return wanted.node_id if wanted.node_id is not None else found[0]

    async def _refuse(self, session: Session, wanted: Wanted) -> None:
        reason = f"node {session.name} may not reach {wanted}"
        log.warning("backend stream refused", extra={"node": session.name, "wanted": str(wanted)})
        await self._audit.refused("tunnel.backend", _as_operator(session), reason, name=session.name)
        raise Denied(reason, known=True, hint="it is no gateway, or nothing is served there")

    @contextmanager
    def _counted(self, owner: str) -> Iterator[None]:
        if self._open[owner] >= self.most:
            raise LimitExceeded(f"{self.most} connections into this node are open already")
        self._open[owner] += 1
        try:
            yield
        finally:
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]

    async def _connected(self, owner: str, meta: Mapping[str, Any]) -> Stream:
        session = self._dispatch.session(owner)
        if session is None:
            raise _away("the node that runs it is not connected")
        inside = {name: meta[name] for name in ("deployment_id", "replica_number", "port")}
        try:
            return await _opened(session.link, inside)
        except Unavailable:
            if session.link.reason is not None:
                raise _away("the node that runs it has just gone away") from None
            raise


async def _opened(link: Link, meta: Mapping[str, Any]) -> Stream:
    try:
        with anyio.fail_after(CONNECT_SECONDS):
            return await link.open("connect", meta)
    except TimeoutError:
        raise Unavailable(f"the node that runs it did not answer within {CONNECT_SECONDS:g} s") from None


def _away(reason: str) -> Unavailable:
    problem = Unavailable(reason)
    problem.code = AWAY
    return problem


def _as_operator(session: Session) -> Operator:
    """A node as the audit log names who did something."""
    return Operator(name=f"node {session.name}", role="agent", source=session.node_id)
