"""The use cases without a store: what the API calls, and what it was called with."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import anyio

from fledx.control_plane.events import EventFilter
from fledx.control_plane.logs import LogRequest
from fledx.control_plane.nodes import Registered
from fledx.control_plane.trust.tokens import Endpoint, JoinToken, Spending
from fledx.errors import Conflict, Denied, FledxError, NotFound
from fledx.models.assignment import Assignment
from fledx.models.codec import decode, encode
from fledx.models.deployment import Deployment, DeploymentSpec, patched
from fledx.models.event import Event, LogLine
from fledx.models.filters import DeploymentFilter, NodeFilter
from fledx.models.ingress import GatewayView
from fledx.models.instance import Instance
from fledx.models.node import Node, NodeFacts
from fledx.models.token import Operator

NOW = "2026-11-25T10:00:00.000Z"
SPEC_FIELDS = frozenset(DeploymentSpec.__dataclass_fields__)


def deployment(spec: DeploymentSpec, *, generation: int = 1) -> Deployment:
    """A spec as a deployment with each replica on a node of its own."""
    owners = tuple(Assignment(replica_number=i, node_id=f"node-{i}") for i in range(spec.replicas))
    fields = {name: getattr(spec, name) for name in SPEC_FIELDS}
    return Deployment(
        **fields,
        deployment_id=f"id-of-{spec.name}",
        status="pending",
        generation=generation,
        revision=1,
        assignments=owners,
        created_at=NOW,
        updated_at=NOW,
    )


class FakeDeployments:
    """Deployments by name; `failure` is raised by the next call."""

    def __init__(self) -> None:
        self.known: dict[str, Deployment] = {}
        self.calls: list[tuple[str, Any]] = []
        self.failure: Exception | None = None
        self.changed = anyio.Event()
        self.held: anyio.Event | None = None
        self.encoded = False

    def _note(self, name: str, *facts: Any) -> None:
        self.calls.append((name, facts))
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    async def create(
        self, spec: DeploymentSpec, *, by: Operator, idempotency_key: str | None = None, configs: Sequence[str] = ()
    ) -> Deployment:
        self._note("create", by.name, idempotency_key)
        if self.held is not None:
            await self.held.wait()
        if spec.name in self.known:
            raise Conflict(f"there is a deployment {spec.name} already")
        self.known[spec.name] = deployment(spec)
        return self.known[spec.name]

    async def preview(self, spec: DeploymentSpec, *, by: Operator, configs: Sequence[str] = ()) -> Deployment:
        self._note("preview", by.name)
        return deployment(spec)

    def get(self, ref: str) -> Deployment:
        self._note("get", ref)
        if ref not in self.known:
            raise NotFound(f"no deployment {ref!r}", hint="`fledx deployments list` shows what there is")
        return self.known[ref]

    def page(self, wanted: DeploymentFilter, *, limit: int, offset: int) -> tuple[list[Any], int]:
        self._note("page", wanted, limit, offset)
        found: list[Any] = [self.known[name] for name in sorted(self.known)]
        if self.encoded:
            found = [b'{"name":"%s"}' % name.encode() for name in sorted(self.known)]
        return found[offset : offset + limit], len(found)

    async def patch(
        self, ref: str, changes: Mapping[str, Any], *, by: Operator, generation: int | None = None
    ) -> Deployment:
        self._note("patch", changes, generation)
        merged = patched(encode(_spec(self.get(ref))), changes, SPEC_FIELDS)
        return await self.replace(ref, decode(DeploymentSpec, merged), by=by, generation=generation)

    async def replace(
        self, ref: str, spec: DeploymentSpec, *, by: Operator, generation: int | None = None
    ) -> Deployment:
        self._note("replace", spec, generation)
        before = self.get(ref)
        if generation not in (None, before.generation):
            raise Conflict(f"{ref} is at generation {before.generation}, not {generation}")
        self.known[ref] = deployment(spec, generation=before.generation + 1)
        self._ring()
        return self.known[ref]

    async def delete(
        self, ref: str, *, by: Operator, generation: int | None = None, drop_volumes: bool = False
    ) -> None:
        self._note("delete", ref, generation)
        self.dropped_volumes = drop_volumes
        if generation is not None and generation != self.get(ref).generation:
            raise Conflict(f"{ref} is at another generation than {generation}")
        if self.known.pop(ref, None) is None:
            raise NotFound(f"no deployment {ref!r}")
        self._ring()

    async def watch(self, ref: str) -> AsyncGenerator[Deployment, None]:
        while True:
            changed = self.changed
            yield self.get(ref)
            await changed.wait()
            if ref not in self.known:
                return

    def _ring(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


def _spec(known: Deployment) -> DeploymentSpec:
    return DeploymentSpec(**{name: getattr(known, name) for name in SPEC_FIELDS})


class FakeNodes:
    """Nodes by name."""

    def __init__(self) -> None:
        self.known: dict[str, Node] = {}
        self.calls: list[tuple[str, Any]] = []

    def add(self, name: str) -> None:
        """One more ready node."""
        self.known[name] = Node(
            node_id=f"id-of-{name}", name=name, status="ready", since=NOW, labels={}, created_at=NOW
        )

    async def register(self, facts: NodeFacts, *, by: str | Spending) -> Registered:
        name = facts.name or "node-1"
        if name in self.known:
            raise Conflict(f"there is a node {name} already, on another host")
        self.calls.append(("register", (facts, by if isinstance(by, str) else by(cast(Any, None)))))
        self.add(name)
        return Registered(node_id=f"id-of-{name}", node_token="fn_secret", name=name)

    def get(self, ref: str) -> Node:
        if ref not in self.known:
            raise NotFound(f"no node {ref!r}")
        return self.known[ref]

    def gateway(self, node_id: str) -> GatewayView | None:
        return None

    def instances(self, node_id: str) -> list[Instance]:
        return [Instance(deployment_id="d", replica_number=0, state="running", ready=True, last_updated=NOW)]

    def page(self, wanted: NodeFilter, *, limit: int, offset: int) -> tuple[list[Node], int]:
        self.calls.append(("page", (wanted, limit, offset)))
        found = [self.known[name] for name in sorted(self.known)]
        return found[offset : offset + limit], len(found)


class FakeTokens:
    """One token a role, called after it; registration tokens are spent."""

    def __init__(self) -> None:
        self.registrations = {"join": "join token 1"}
        self.endpoint = Endpoint(host="cp.example.com", port=7443, tls=True, pins=("pin-1",))

    def operator(self, token: str | None, *, source: str) -> Operator:
        if token not in ("admin", "operator", "read_only"):
            raise Denied("this operator token is not known")
        return Operator(name=f"the {token}", role=token, source=source)

    def registration(self, token: str) -> Spending:
        if token not in self.registrations:
            raise Denied("this registration token is unknown, used up or too old")
        return lambda sql: self.registrations.pop(token)

    async def create_join(self, *, ttl_seconds: float, uses: int | None, by: Operator) -> JoinToken:
        return JoinToken(join=f"fledx-join.{ttl_seconds:g}", expires_at=NOW, uses=uses)


class FakeLogs:
    """Yields what it was given: lines, notices, or an exception at its place; then waits if asked to follow."""

    def __init__(self) -> None:
        self.items: list[LogLine | str | Exception] = []
        self.wanted: LogRequest | None = None
        self.unwound = anyio.Event()

    async def read(self, wanted: LogRequest) -> AsyncGenerator[LogLine | str, None]:
        self.wanted = wanted
        try:
            async with anyio.create_task_group() as tasks:  # as the real one: a group around the yields
                for item in self.items:
                    if isinstance(item, Exception):
                        tasks.cancel_scope.cancel()
                        break
                    yield item
                if wanted.follow:
                    await anyio.sleep_forever()
        finally:
            self.unwound.set()
        if self.items and isinstance(self.items[-1], Exception):
            raise self.items[-1]


def log_line(number: int, text: str) -> LogLine:
    """A line of replica `number`."""
    return LogLine(deployment="web", replica_number=number, node="edge-1", stream="stdout", time=NOW, line=text)


@dataclass
class FakeEvents:
    """A history that grows by `happen`."""

    known: list[Event] = field(default_factory=list)
    more: anyio.Event = field(default_factory=anyio.Event)
    wanted: EventFilter | None = None
    failure: FledxError | None = None

    def happen(self, kind: str) -> None:
        """One more event."""
        self.known.append(Event(id=len(self.known) + 1, at=NOW, kind=kind, subject="web", reason="because"))
        self.more.set()
        self.more = anyio.Event()

    def page(self, wanted: EventFilter, *, after: int = 0, limit: int = 50) -> list[Event]:
        self.wanted = wanted
        if after:
            return [event for event in self.known if event.id > after][:limit]
        return self.known[-limit:] if limit else []

    async def follow(self, wanted: EventFilter, *, after: int | None) -> AsyncGenerator[Event, None]:
        self.wanted = wanted
        last = len(self.known) if after is None else after
        while True:
            more = self.more
            for event in self.known[last:]:
                yield event
                last = event.id
            if self.failure is not None:
                raise self.failure
            await more.wait()


class FakeOverview:
    """Two nodes and a deployment."""

    def summary(self) -> dict[str, Any]:
        counts = {"nodes": {"ready": 2, "unreachable": 0}, "deployments": {"running": 1, "failed": 0}}
        tunnel = {"host": "cp.example", "port": 7443, "use_tls": True}
        return {"summary": counts, "control_plane": {"version": "0.1.0", "started_at": NOW, "tunnel": tunnel}}

    def health(self) -> dict[str, Any]:
        return {"status": "ok", "version": "0.1.0"}

    def replicas(self) -> dict[str, int]:
        return {"wanted": 3, "ready": 2, "unplaced": 1}

    def kept(self) -> tuple[int, float]:
        return 4096, 0.0


def renamed(known: Deployment, name: str) -> Deployment:
    """The same under another name."""
    return replace(known, name=name)
