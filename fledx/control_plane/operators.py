"""
Sessions of operators on the tunnel port: what comes in goes out to the node of a replica, and into the audit log.

`exec` needs the same rights as a change: who runs a command can change anything in its container. So does `forward`,
as nobody here can tell a service's reads from its writes.
"""

from __future__ import annotations

import logging
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from fledx import __version__, tracing
from fledx.control_plane.audit import AuditLog
from fledx.control_plane.bell import Bell
from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.metrics import Metrics
from fledx.control_plane.targets import Target, Targets
from fledx.control_plane.trust.refusals import OPERATOR_REFUSALS, Refusals
from fledx.control_plane.trust.tokens import Tokens
from fledx.errors import Denied, FledxError, InvalidSpec, LimitExceeded, Unavailable
from fledx.models.check import shown
from fledx.models.codec import decode_lenient, encode
from fledx.models.exec import ExecRequest
from fledx.models.forward import ForwardRequest, ReplicaRef
from fledx.models.token import Operator
from fledx.tunnel.greeting import Hello, Refused, Welcome
from fledx.tunnel.link import Link
from fledx.tunnel.relay import Tally, relay
from fledx.tunnel.stream import Stream

log = logging.getLogger(__name__)

ROLE = "operator"
MAY_ENTER = ("admin", "operator")
CHECK_SECONDS = 5.0
"""How late an expired token is noticed; a revoked one is at once."""
CLOSING_SECONDS = 5.0
MAX_FORWARDS = 1000
MAX_TRIES = 3


class Operators:
    """Admits operators to the tunnel and attends their sessions."""

    def __init__(
        self,
        tokens: Tokens,
        targets: Targets,
        dispatch: Dispatch,
        bell: Bell,
        audit: AuditLog,
        metrics: Metrics,
        heartbeat_secs: float,
    ) -> None:
        self._tokens = tokens
        self._targets = targets
        self._dispatch = dispatch
        self._bell = bell
        self._audit = audit
        self._metrics = metrics
        self._heartbeat_secs = heartbeat_secs
        self._refusals = Refusals(OPERATOR_REFUSALS)

    async def authenticate(self, hello: Hello, address: str) -> Welcome | Refused:
        """Let in whoever brings an operator's token; what each may do is asked stream by stream."""
        try:
            by = self._tokens.operator(hello.token, source=source_of(address))
        except Denied as problem:
            return await self._refused(problem, source_of(address))
        return Welcome(
            session=str(uuid.uuid4()),
            version=__version__,
            heartbeat_secs=self._heartbeat_secs,
            body={"operator": by.name, "role": by.role},
        )

    async def _refused(self, problem: Denied, source: str) -> Refused:
        self._metrics.connected(problem.code)
        self._metrics.refused("operator")
        stranger = Operator(name="unknown", role="none", source=source)
        await self._audit.refused("auth", stranger, f"operator session: {problem.text}")
        log.warning("refused at the tunnel", extra={"peer": source, "role": ROLE, "reason": problem.text})
        if (seconds := self._refusals.count(source)) is not None:
            reason = f"too many refused tokens from here; try again in {seconds} seconds"
            return Refused(code=LimitExceeded.code, reason=reason)
        return Refused(code=problem.code, reason=f"{problem.text} ({problem.hint})" if problem.hint else problem.text)

    async def attend(self, link: Link) -> None:
        """Serve one session until it ends, or its token does."""
        if not isinstance(link.peer, Hello):
            await link.closed()
            return
        session = OperatorSession(link.peer.token, source_of(link.address), self._tokens)
        by = session.operator()
        log.info("operator connected", extra={"operator": by.name, "peer": link.address})
        try:
            async with anyio.create_task_group() as tasks:
                link.attend(
                    tasks, on_stream=lambda stream: self._serve(session, stream), on_message=lambda message: None
                )
                tasks.start_soon(self._watch, session, by, link)
                await link.closed()
                tasks.cancel_scope.cancel()
        finally:
            log.info("operator disconnected", extra={"operator": by.name, "reason": link.reason or "shutting down"})
            with anyio.move_on_after(CLOSING_SECONDS, shield=True):
                for use in session.forwards.values():
                    await self._ended(use, None)

    async def _watch(self, session: OperatorSession, by: Operator, link: Link) -> None:
        """End the session when its token has ended."""
        with self._bell.listen(*([by.token_id] if by.token_id else [])) as ear:
            while True:
                with anyio.move_on_after(CHECK_SECONDS):
                    await ear.wait()
                try:
                    session.operator()
                except Denied as problem:
                    link.close(problem.text, code=problem.code)
                    return

    async def _serve(self, session: OperatorSession, stream: Stream) -> None:
        request_id = tracing.told_by(stream.meta) or secrets.token_hex(16)
        with tracing.working_for(request_id):
            try:
                by = session.operator()
            except Denied as problem:
                stranger = Operator(name="unknown", role="none", source=session.source, request_id=request_id)
                await self._audit.refused("auth", stranger, f"operator session: {problem.text}")
                raise
            await self._lead(session, stream, replace(by, request_id=request_id))

    async def _lead(self, session: OperatorSession, stream: Stream, by: Operator) -> None:
        try:
            if stream.kind not in ("exec", "forward"):
                raise InvalidSpec("kind", f"operators open no stream of kind {shown(stream.kind, most=40)}")
            if by.role not in MAY_ENTER:
                hint = "use a token with the role operator or admin"
                raise Denied(f"{by.name} may only read; {stream.kind} needs more", known=True, hint=hint)
            meta = dict(stream.meta)
            request = _request(stream.kind, meta)
            found = self._targets.find(decode_lenient(ReplicaRef, meta))
        except FledxError as problem:
            await self._turned_down(stream, by, problem)
            raise
        if isinstance(request, ExecRequest):
            await self._exec(stream, by, found[0], request)
        else:
            await self._forward(session, stream, by, found, request)

    async def _turned_down(self, stream: Stream, by: Operator, problem: FledxError) -> None:
        ref = stream.meta.get("deployment")
        name = ref[:64] if isinstance(ref, str) else None
        if isinstance(problem, Denied):
            await self._audit.refused("authz", by, f"{stream.kind}: {problem.text}", name=name)
        else:
            kind = stream.kind if stream.kind in ("exec", "forward") else "stream"
            await self._audit.refused(f"deployment.{kind}", by, problem.text, name=name)

    async def _exec(self, stream: Stream, by: Operator, target: Target, request: ExecRequest) -> None:
        """The opening is written down before the command can run; its end with what became of it."""
        facts = {
            "command": list(request.command),
            "tty": request.tty,
            "user": request.user,
            "workdir": request.workdir,
            "variables": sorted(request.env),
        }
        use = await self._begun("deployment.exec", by, target, facts)
        meta = {**_whose(target), **encode(request)}
        async with self._told(use):
            there = await self._dispatch.open(target.owner.node_id, "exec", meta)
            stream.accept(_answer(target, by))
            await relay(stream, there, use.tally)

    async def _forward(
        self, session: OperatorSession, stream: Stream, by: Operator, found: list[Target], request: ForwardRequest
    ) -> None:
        """
        One connection. Where several replicas may serve, the next is tried when one does not answer.

        A browser opens dozens, so the audit log has one line for the first and one, with sums, when the session ends.
        """
        if request.look:
            await self._begun_once(session, by, found[0], request.port)
            stream.accept(_answer(found[0], by))
            return
        for target in found[:MAX_TRIES]:
            use = await self._begun_once(session, by, target, request.port)
            try:
                meta = {**_whose(target), "port": request.port}
                there = await self._dispatch.open(target.owner.node_id, "connect", meta)
            except Unavailable:
                if target is found[:MAX_TRIES][-1]:
                    raise
                continue
            use.connections += 1
            stream.accept(_answer(target, by))
            await relay(stream, there, use.tally)
            return

    async def _begun_once(self, session: OperatorSession, by: Operator, target: Target, port: int) -> Use:
        key = (target.deployment_id, target.number, port)
        async with session.beginning:
            if key not in session.forwards:
                if len(session.forwards) >= MAX_FORWARDS:
                    raise LimitExceeded(f"this session forwards {MAX_FORWARDS} ports already")
                session.forwards[key] = await self._begun("deployment.forward", by, target, {"port": port})
        return session.forwards[key]

    async def _begun(self, action: str, by: Operator, target: Target, facts: Mapping[str, Any]) -> Use:
        """Write the opening down; without that nothing is opened."""
        where = {"replica": target.number, "node": target.node, **facts}
        after = {name: value for name, value in where.items() if value not in (None, [])}
        await self._audit.noted(action, by, id=target.deployment_id, name=target.deployment, after=after)
        log.info(action, extra={"operator": by.name, "target": str(target), "request_id": by.request_id})
        return Use(action=action, by=by, target=target)

    @asynccontextmanager
    async def _told(self, use: Use) -> AsyncIterator[None]:
        """Write down how it ended, whatever ends it."""
        problem: str | None = "the operator has left"
        try:
            yield
            problem = None
        except FledxError as caught:
            problem = caught.text
            raise
        finally:
            with anyio.move_on_after(CLOSING_SECONDS, shield=True):
                await self._ended(use, problem)

    async def _ended(self, use: Use, problem: str | None) -> None:
        facts = {
            "replica": use.target.number,
            "seconds": round(time.monotonic() - use.began, 1),
            "bytes_in": use.tally.there,
            "bytes_out": use.tally.back,
            **({"connections": use.connections} if use.action == "deployment.forward" else {}),
        }
        where = use.target
        try:
            await self._audit.noted(
                f"{use.action}_end", use.by, id=where.deployment_id, name=where.deployment, after=facts, failed=problem
            )
        except FledxError as trouble:
            log.error("an end was not audited", extra={"reason": str(trouble), "action": use.action})


@dataclass(kw_only=True, eq=False)
class Use:
    """Something that was opened; ``tally`` counts what goes into the replica and what comes back."""

    action: str
    by: Operator
    target: Target
    began: float = field(default_factory=time.monotonic)
    tally: Tally = field(default_factory=Tally)
    connections: int = 0


class OperatorSession:
    """One connected operator, and the ports that were forwarded in it."""

    def __init__(self, token: str, source: str, tokens: Tokens) -> None:
        self.source = source
        self._token = token
        self._tokens = tokens
        self.forwards: dict[tuple[str, int, int], Use] = {}
        self.beginning = anyio.Lock()

    def operator(self) -> Operator:
        """Whose it is; Denied once the token has ended."""
        return self._tokens.operator(self._token, source=self.source)


def source_of(address: str) -> str:
    """An address without its port, so that one machine is one source."""
    return address.rpartition(":")[0].strip("[]") or address


def _request(kind: str, meta: dict[str, Any]) -> ExecRequest | ForwardRequest:
    """What is asked for; InvalidSpec for what cannot be meant."""
    return decode_lenient(ExecRequest, meta) if kind == "exec" else decode_lenient(ForwardRequest, meta)


def _whose(target: Target) -> dict[str, Any]:
    return {"deployment_id": target.deployment_id, "replica_number": target.number}


def _answer(target: Target, by: Operator) -> dict[str, Any]:
    """What the operator is told on acceptance."""
    return {
        "deployment": target.deployment,
        "replica": target.number,
        "node": target.node,
        "request_id": by.request_id,
    }
