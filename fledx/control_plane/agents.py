"""What happens on a session with an agent, from its hello to its end."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from typing import Any

import anyio

from fledx import __version__
from fledx.control_plane.asking import UsageAsking
from fledx.control_plane.audit import AuditLog
from fledx.control_plane.dispatch import Dispatch, Session
from fledx.control_plane.ingress.sessions import Ingress
from fledx.control_plane.loops.reachability import Reachability
from fledx.control_plane.metrics import Metrics
from fledx.control_plane.nodes import Nodes
from fledx.control_plane.pins import Pins
from fledx.control_plane.reachability import heartbeat_of
from fledx.control_plane.reports import FULL_SECONDS, Reports, report_of
from fledx.control_plane.store.database import STORAGE_FULL
from fledx.control_plane.trust.tokens import Tokens
from fledx.control_plane.volumes import Volumes
from fledx.errors import Denied, FledxError, InvalidSpec
from fledx.models.check import shown
from fledx.models.codec import decode_lenient
from fledx.models.node import NodeFacts
from fledx.models.report import Report
from fledx.models.token import Operator
from fledx.models.usage import unpack
from fledx.tunnel.greeting import Hello, Refused, Welcome
from fledx.tunnel.link import Link
from fledx.tunnel.stream import Stream

log = logging.getLogger(__name__)
QUEUED_MESSAGES = 256
BROKE_PROTOCOL = "the peer broke the tunnel protocol"
"""In place of the reason, which names streams and bytes: as a label of a series it is to be one."""

DISPUTE_SECS = 600.0
"""How soon a node is asked again to tell all because of one digest: what telling all did not settle is not urgent."""


class Agents:
    """Admits hosts and nodes to the tunnel and attends their sessions."""

    def __init__(
        self,
        nodes: Nodes,
        tokens: Tokens,
        dispatch: Dispatch,
        reports: Reports,
        reachability: Reachability,
        pins: Pins,
        volumes: Volumes,
        heartbeat_secs: float,
        metrics: Metrics,
        audit: AuditLog,
        usage: UsageAsking,
        ingress: Ingress,
    ) -> None:
        self._ingress = ingress
        self._usage = usage
        self._metrics = metrics
        self._audit = audit
        self._nodes = nodes
        self._tokens = tokens
        self._dispatch = dispatch
        self._reports = reports
        self._reachability = reachability
        self._pins = pins
        self._volumes = volumes
        self._heartbeat_secs = heartbeat_secs

    async def authenticate(self, hello: Hello, address: str) -> Welcome | Refused:
        """Let a host join, or a node in; what is refused says why without telling what would have been right."""
        try:
            if hello.role == "join":
                return self._welcome(await self._join(hello))
            if hello.role == "agent":
                name = self._nodes.admit(hello.node_id, hello.token)
                facts = _facts(hello)
                return self._welcome({"name": name}, metered=bool(facts.metered))
        except FledxError as problem:
            self._metrics.connected(problem.code)
            if isinstance(problem, Denied):
                self._metrics.refused("node" if hello.role == "agent" else "registration")
                await self._audit.refused("auth", _stranger(hello, address), problem.text)
            log.warning("refused at the tunnel", extra={"peer": address, "role": hello.role, "reason": problem.text})
            reason = problem.text if problem.hint is None else f"{problem.text} ({problem.hint})"
            return Refused(code=problem.code, reason=reason)
        return Refused(code="role", reason=f"no role {hello.role!r} is served here")

    def _welcome(self, body: Mapping[str, Any], *, metered: bool = False) -> Welcome:
        return Welcome(
            session=str(uuid.uuid4()),
            version=__version__,
            heartbeat_secs=heartbeat_of(self._heartbeat_secs, metered=metered),
            reconnect_secs=10.0 if len(self._dispatch) > 2000 else 1.0,
            body=body,
        )

    async def _join(self, hello: Hello) -> Mapping[str, Any]:
        facts = _facts(hello)
        made = await self._nodes.register(facts, by=self._tokens.registration(hello.token))
        return {"node_id": made.node_id, "node_token": made.node_token, "name": made.name}

    async def attend(self, link: Link) -> None:
        """Serve one session until it ends."""
        hello = link.peer
        if not isinstance(hello, Hello) or hello.role != "agent" or hello.node_id is None:
            await link.closed()
            return
        session = Session(hello.node_id, self._nodes.get(hello.node_id).name, link)
        await self._nodes.connected(hello.node_id, _facts(hello), link.address)
        self._dispatch.enter(session)
        self._ingress.entered(session.node_id)
        self._metrics.connected("ok")
        self._metrics.sessions(len(self._dispatch))
        log.info("node connected", extra={"node": session.name, "peer": link.address})
        try:
            await self._serve(session)
        finally:
            self._reachability.heard(session.node_id)
            if self._dispatch.leave(session):
                self._ingress.left(session.node_id)
            self._metrics.sessions(len(self._dispatch))
            self._note_end(session)

    def _note_end(self, session: Session) -> None:
        """One that broke the protocol is no usual end: its agent, or who has its token, needs looking at."""
        link, reason = session.link, session.link.reason or "control plane stops"
        if link.peer_is_at_fault:
            self._metrics.disconnected(BROKE_PROTOCOL)
            log.warning("node broke the tunnel protocol", extra={"node": session.name, "reason": reason})
        else:
            self._metrics.disconnected(reason)
            log.info("node disconnected", extra={"node": session.name, "reason": reason})

    async def _serve(self, session: Session) -> None:
        send, receive = anyio.create_memory_object_stream[Mapping[str, Any]](QUEUED_MESSAGES)

        def on_message(message: Mapping[str, Any]) -> None:
            try:
                send.send_nowait(message)
            except anyio.WouldBlock:
                session.link.close("more messages than the control plane can store")

        async def on_stream(stream: Stream) -> None:
            await self._ingress.stream(session, stream)

        async with send, receive, anyio.create_task_group() as tasks:
            session.link.attend(tasks, on_stream=on_stream, on_message=on_message)
            tasks.start_soon(self._dispatch.push, session)
            tasks.start_soon(self._listen, session, receive)
            await session.link.closed()
            tasks.cancel_scope.cancel()

    async def _listen(self, session: Session, messages: anyio.abc.ObjectReceiveStream[Mapping[str, Any]]) -> None:
        async for message in messages:
            while await self._is_full(session, message):
                await anyio.sleep(FULL_SECONDS)

    async def _is_full(self, session: Session, message: Mapping[str, Any]) -> bool:
        """Take a message; whether it must be taken again, as there is no space to store what it says."""
        try:
            await self._take(session, message)
        except InvalidSpec as problem:
            log.warning("message not understood", extra={"node": session.name, "reason": problem.text})
        except FledxError as problem:
            log.error("message not stored", extra={"node": session.name, "reason": problem.text})
            return problem.code == STORAGE_FULL
        return False

    async def _take(self, session: Session, message: Mapping[str, Any]) -> None:
        kind = message.get("type")
        if kind == "report":
            await self._take_report(session, report_of(message))
        elif kind == "digest":
            self._compare(session, str(message.get("digest")))
        elif kind == "token":
            problem = message.get("problem")
            await self._nodes.token_answered(session.node_id, None if problem is None else str(problem)[:500])
        elif kind == "resolved":
            await self._take_digest(session, message)
        elif kind == "volumes_dropped" and isinstance(message.get("names"), list):
            await self._volumes.dropped(session.node_id, [str(name) for name in message["names"]])
        elif kind == "usage" and isinstance(message.get("minutes"), bytes):
            await self._reports.usage(session.node_id, unpack(message["minutes"]))
            self._usage.told(session.node_id)

    def _compare(self, session: Session, digest: str) -> None:
        """Have a node tell everything again if something else is stored than what it has."""
        if self._reports.agrees(session.node_id, digest):
            return
        before, now = session.disputed, anyio.current_time()
        if before is None or before[0] != digest or now - before[1] >= DISPUTE_SECS:
            session.disputed = digest, now
            session.link.send({"type": "resync"})

    async def _take_digest(self, session: Session, message: Mapping[str, Any]) -> None:
        """``{"type": "resolved", "deployment_id", "revision", "digest"}``: what a tag stands for."""
        deployment_id, revision, digest = (message.get(name) for name in ("deployment_id", "revision", "digest"))
        if not (isinstance(deployment_id, str) and isinstance(revision, int) and isinstance(digest, str)):
            raise InvalidSpec("", "a digest came without its deployment and revision")
        await self._pins.claim(session.node_id, deployment_id, revision, digest)

    async def _take_report(self, session: Session, report: Report) -> None:
        if report.node is not None:
            await self._nodes.told(session.node_id, report.node)
        await self._reports.take(session.node_id, report)
        if report.gateway is not None:
            await self._ingress.told(session.node_id, report.gateway)


def _stranger(hello: Hello, address: str) -> Operator:
    """Who was refused, as it calls itself; the port is left out, so that one machine is one source."""
    claimed = f"node {shown(hello.node_id)}" if hello.node_id else "a host that joins"
    return Operator(name=claimed, role=hello.role, source=address.rpartition(":")[0] or address)


def _facts(hello: Hello) -> NodeFacts:
    """What the peer tells of its machine; InvalidSpec names what is wrong."""
    return decode_lenient(NodeFacts, dict(hello.facts))
