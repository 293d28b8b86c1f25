"""The gateway: looks at what it is to serve and at how its Envoy is, and does what is missing."""

from __future__ import annotations

import contextlib
import functools
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import anyio

from fledx.agent.answers import Answer
from fledx.agent.backoff import Pace, delay
from fledx.agent.clock import Clock, Wake
from fledx.agent.ingress.admin import READ_ONLY, Admin
from fledx.agent.ingress.awaited import Awaited
from fledx.agent.ingress.backends import Backends
from fledx.agent.ingress.container import EnvoyContainer, Recipe
from fledx.agent.ingress.direct import Direct
from fledx.agent.ingress.drains import Drains
from fledx.agent.ingress.envoy_config.bootstrap import ADMIN
from fledx.agent.ingress.envoy_config.shapes import Front
from fledx.agent.ingress.feeding import Feed, watches_allowed
from fledx.agent.ingress.shared import Owner, Shared
from fledx.agent.ingress.targets import Reached, Sight, reached, served
from fledx.agent.memory import shared_with_envoy
from fledx.agent.reconcile.actions import Copy
from fledx.agent.runtime.base import Runtime
from fledx.agent.spec import Key
from fledx.errors import FledxError, Unavailable
from fledx.models.desired import NodeDesiredState
from fledx.models.ingress import Backend, Endpoint, GatewayDesired, GatewayFacts, GatewayStatus
from fledx.models.registry import RegistryLogin
from fledx.settings.agent import AgentSettings
from fledx.tunnel.link import Link

logger = logging.getLogger(__name__)

LOOK_SECS, AGAIN_SECS = 2.0, 0.5
START_SECS, FOUND_SECS = 15.0, 3.0
"""For an answer of an Envoy that was started, and of one that was found running."""
FROZEN_AFTER = 3
"""Questions in a row that a running Envoy leaves unanswered, at 2 s each."""
STEADY_SECS = 60.0
MOST_WAYS = 1500
"""So many are told; a report has its limit."""
PACE = Pace(first=1.0, longest=30.0, limit=8, slow=60.0)
EMPTY = GatewayDesired()


@dataclass(frozen=True, kw_only=True)
class Node:
    """
    What a gateway asks of the rest of the agent.

    `asked` says whether the engine has told of its containers yet, `healthy` whether a container's probes say nothing
    against it, `changed` hears that the status has. `login` gives what the control plane holds for an image's registry.
    """

    node_id: str
    runtime: Runtime
    clock: Clock
    desired: Callable[[], NodeDesiredState | None]
    asked: Callable[[], bool]
    copies: Callable[[Key], Sequence[Copy]]
    healthy: Callable[[str], bool]
    link: Callable[[], Link | None]
    login: Callable[[str], RegistryLogin | None]
    changed: Callable[[], None]
    spread: Callable[[], float] = field(default=random.random)


def front_of(settings: AgentSettings) -> Front:
    """How Envoy is to listen."""
    return Front(
        address=settings.gateway_address,
        http_port=settings.gateway_http_port,
        https_port=settings.gateway_https_port or None,
        proxy_protocol=settings.gateway_proxy_protocol,
        hops=settings.gateway_trusted_hops,
        max_connections=settings.gateway_max_connections,
        direct=settings.gateway_direct == "auto",
    )


class Gateway:
    """One Envoy and all that feeds it; ``status`` is what the control plane is told."""

    def __init__(self, settings: AgentSettings, places: Sequence[str], node: Node) -> None:
        self.status: GatewayStatus | None = GatewayStatus(state="starting", reason="Envoy has not been started yet")
        self.front = front_of(settings)
        self.facts: GatewayFacts | None = GatewayFacts(
            http_port=self.front.http_port, https_port=self.front.https_port, image=settings.gateway_envoy_image
        )
        self.pages: Mapping[str, Callable[[str], Awaitable[Answer]]] = {
            path: functools.partial(self._page, path) for path in READ_ONLY
        }
        self._node = node
        self._clock = node.clock
        self._wake = Wake()
        ports = [port for port in (self.front.http_port, self.front.https_port) if port is not None]
        owner = Owner.of(ports)
        self._shared = Shared(places, shared_with_envoy(node.node_id), owner)
        self.admin = Admin(self._shared.socket_path(ADMIN))
        watches = settings.gateway_watches
        self._feed = Feed(
            self.front,
            node.node_id,
            self._shared,
            self.admin,
            self._clock,
            watches=watches_allowed if watches is None else lambda: watches,
        )
        self._container = EnvoyContainer(
            node.runtime,
            Recipe(
                node_id=node.node_id,
                image=settings.gateway_envoy_image,
                login=functools.partial(node.login, settings.gateway_envoy_image),
                ports=tuple(ports),
                bootstrap=repr(self._feed.bootstrap).encode(),
                owner=owner,
                shared=self._shared,
                concurrency=settings.gateway_concurrency,
            ),
        )
        self._backends = Backends(self._shared, link=node.link, clock=self._clock, changed=self.wake)
        self._direct = Direct(endpoints=self._elsewhere, changed=self.wake, clock=self._clock)
        self._tries_direct = settings.gateway_direct == "auto"
        self._ways: list[Reached] = []
        self._waiting = Awaited()
        self._drains = Drains(
            inline=lambda: self._feed.inline, active=self.admin.active, busy=self._backends.busy, clock=self._clock
        )
        self._unanswered = 0
        self._failures = 0
        self._not_before = 0.0
        self._login: RegistryLogin | None = None
        self._up_since: float | None = None

    def wake(self) -> None:
        """Something has changed: look soon."""
        self._wake.ring()

    def linked(self) -> None:
        """The link to the control plane is there again."""
        self._backends.linked()

    async def _page(self, path: str, query: str) -> Answer:
        return await self.admin.page(f"{path}?{query}" if query else path)

    async def run(self) -> None:
        """Serve until cancelled; Envoy goes on then, with what it knows."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._backends.run)
            tasks.start_soon(self._notice_the_end)
            if self._tries_direct:
                tasks.start_soon(self._direct.run)
            while True:
                patience = await self._round()
                await self._clock.wait(self._wake, patience)

    async def _round(self) -> float:
        """One look at everything; seconds until the next if nothing happens."""
        try:
            await self._have_envoy()
            return await self._serve()
        except FledxError as problem:
            text = f"{problem.text} ({problem.hint})" if problem.hint else problem.text
            self._show("failed", text)
        except Exception:
            logger.exception("a round of the gateway failed")
            self._show("failed", "an internal error; the agent's log has the details")
        return AGAIN_SECS if self._unanswered else LOOK_SECS

    async def _have_envoy(self) -> None:
        """See to it that Envoy runs and answers."""
        if self._container.id is not None and await self._answers():
            if self._up_since is not None and self._clock.monotonic() - self._up_since > STEADY_SECS:
                self._failures = 0
            return
        state = await self._container.state()
        if state is not None and state.state == "running" and self._unanswered < FROZEN_AFTER:
            raise Unavailable("Envoy does not answer")
        if state is not None and state.state == "running":
            logger.warning("Envoy is frozen and is put down")
            await self._container.put_down()
        if self._container.id is not None and self._unanswered:
            self._tell_end(state.exit_code if state is not None else None)
        await self._bring_up()

    async def _answers(self) -> bool:
        try:
            answered = await self.admin.ready()
        except FledxError:
            answered = False
        self._unanswered = 0 if answered else self._unanswered + 1
        return answered

    def _tell_end(self, code: int | None) -> None:
        self._unanswered = 0
        logger.warning("Envoy has ended and is started again", extra={"exit_code": code})

    async def _bring_up(self) -> None:
        """Start it or find it running; after a failure not before some time has passed, or another login is there."""
        now, login = self._clock.monotonic(), self._container.login()
        if now < self._not_before and login == self._login:
            raise Unavailable((self.status and self.status.reason) or "Envoy could not be started")
        self._failures, self._login = self._failures + 1, login
        self._not_before = now + delay(PACE, self._failures, self._node.spread())
        if self.status is None or self.status.state != "failed":
            self._show("starting", "Envoy is being started")
        self._shared.prepare()
        self._feed.prepare()
        started = await self._container.bring_up(lambda text: self._show("starting", text))
        self._feed.restarted()
        await self._until_ready(START_SECS if started else FOUND_SECS)
        self._up_since = self._clock.monotonic()

    async def _until_ready(self, within: float) -> None:
        end = self._clock.monotonic() + within
        while not await self._answers():
            found = await self._container.state()
            if found is None or found.state != "running":
                why = await self._container.last_refusal()
                code = found.exit_code if found is not None else None
                raise Unavailable(f"Envoy ended with code {code} as soon as it was started: {why or 'without a word'}")
            if self._clock.monotonic() > end:
                raise Unavailable(f"Envoy has not answered within {within:g} s")
            await anyio.sleep(0.05)
        self._unanswered = 0

    async def _serve(self) -> float:
        """Have it serve what is wanted now, and tell how far that is."""
        state = self._node.desired()
        desired = state.gateway if state is not None and state.gateway is not None else EMPTY
        self._ways = reached(desired, self._sight())
        self._open_sockets()
        if not self._node.asked():
            return LOOK_SECS
        self._direct.look()
        awaited = self._waiting.look(desired, self._ways, self._clock.monotonic())
        waits = {name for name, now in awaited.items() if now}
        whole = await self._feed.serve(served(desired, self._ways, waits), self._container)
        for name in self._backends.names() - {each.target.address for each in self._ways if each.target is not None}:
            self._backends.close(name)
        due = await self._drains.look(self._ways, awaited.keys())
        self._show("serving", None, revision=state.revision if whole and state is not None else None)
        return LOOK_SECS if due is None else due

    def _sight(self) -> Sight:
        return Sight(
            node_id=self._node.node_id,
            local=self._local,
            direct=self._direct.found,
            refused=self._backends.refused,
        )

    def _local(self, backend: Backend, endpoint: Endpoint) -> tuple[str, int] | None:
        """Where an instance of this node listens, if it runs and none of its probes says that it is not ready."""
        for copy in self._node.copies((backend.deployment_id, endpoint.replica_number)):
            fits = (copy.marks.template, copy.marks.fence) == (endpoint.template, endpoint.fence)
            if fits and copy.running and self._node.healthy(copy.container.id):
                address = "127.0.0.1" if copy.container.host_network else copy.container.address
                return (address, backend.port) if address is not None else None
        return None

    def _elsewhere(self) -> Iterable[Endpoint]:
        return [each.endpoint for each in self._ways if each.endpoint.node_id != self._node.node_id]

    def _open_sockets(self) -> None:
        for each in self._ways:
            if each.way == "tunnel" and each.target is not None:
                name, backend = each.target.address, each.backend

                def others(name: str = name, backend: Backend = backend) -> bool:
                    return self._others(backend, name)

                self._backends.open(name, backend, each.endpoint, others=others)

    def _others(self, backend: Backend, name: str) -> bool:
        """Whether this backend has another endpoint that answers, as far as is known."""
        return any(
            each.target is not None
            and each.target.address != name
            and not each.endpoint.draining
            and not (each.way == "tunnel" and self._backends.refused(each.target.address))
            for each in self._ways
            if each.backend.name == backend.name
        )

    def _show(self, state: str, reason: str | None, *, revision: int | None = None) -> None:
        """Take over how it stands, and let it be told if that is news."""
        before = self.status or GatewayStatus(state="starting")
        ways = {f"{each.backend.name}/{each.endpoint.replica_number}": each.way for each in self._ways[:MOST_WAYS]}
        status = GatewayStatus(
            state=state,
            revision=before.revision if revision is None else revision,
            reason=reason,
            refused=self._feed.refused,
            drained=self._drains.over(),
            ways=ways,
        )
        if status == before:
            return
        if (state, reason) != (before.state, before.reason):
            level = logging.ERROR if state == "failed" else logging.INFO
            logger.log(level, "the gateway is %s", state, extra={"reason": reason})
        self.status = status
        self._node.changed()

    async def _notice_the_end(self) -> None:
        """A connection that says nothing ends when Envoy does: so its end is noticed at once."""
        while True:
            with contextlib.suppress(OSError, anyio.EndOfStream, anyio.BrokenResourceError):
                async with await anyio.connect_unix(self.admin.path) as stream:
                    while True:
                        await stream.receive()
            self._wake.ring()
            await self._clock.sleep(LOOK_SECS / 2)
