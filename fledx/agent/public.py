"""Whether this node is a gateway; only one that is loads what belongs to it."""

from __future__ import annotations

import functools
import logging
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from fledx.agent.answers import Answer
from fledx.agent.clock import Clock
from fledx.agent.files import write_private
from fledx.agent.health.probes import Prober
from fledx.agent.memory import places, shared_with_envoy
from fledx.agent.reconcile.actions import Copy
from fledx.agent.runtime.base import Runtime
from fledx.agent.spec import Key
from fledx.errors import FledxError
from fledx.models.desired import NodeDesiredState
from fledx.models.ingress import GatewayFacts, GatewayStatus
from fledx.models.registry import RegistryLogin
from fledx.settings.agent import AgentSettings
from fledx.tunnel.link import Link

logger = logging.getLogger(__name__)

MARK = "gateway"
"""File in the data directory of an agent that has had a gateway: there may be an Envoy of ours."""


class Public(Protocol):
    """What an agent does for public ingress."""

    facts: GatewayFacts | None
    status: GatewayStatus | None
    pages: Mapping[str, Callable[[str], Awaitable[Answer]]]

    def wake(self) -> None:
        """Desired state, containers or their health have changed."""

    def linked(self) -> None:
        """There is a link to the control plane."""

    async def run(self) -> None:
        """Serve until cancelled."""


class NotPublic:
    """A node that is no gateway; the Envoy of when it was one is taken away, with the keys it was given."""

    facts: GatewayFacts | None = None
    status: GatewayStatus | None = None
    pages: Mapping[str, Callable[[str], Awaitable[Answer]]] = {}

    def __init__(self, node_id: str, directory: Path, runtime: Runtime, clock: Clock, shared: Sequence[str]) -> None:
        self._node_id = node_id
        self._mark = directory / MARK
        self._runtime = runtime
        self._clock = clock
        self._shared = [Path(place, shared_with_envoy(node_id)) for place in shared]

    def wake(self) -> None:
        """Nobody is waiting."""

    def linked(self) -> None:
        """Nobody is waiting."""

    async def run(self) -> None:
        """Clean up, if there is cause to."""
        while self._mark.exists():
            try:
                await take_away(self._runtime, self._node_id)
                for shared in self._shared:
                    shutil.rmtree(shared, ignore_errors=True)
                self._mark.unlink(missing_ok=True)
            except (FledxError, OSError) as problem:
                logger.warning("the gateway of before is still there", extra={"reason": str(problem)})
                await self._clock.sleep(60)


async def take_away(runtime: Runtime, node_id: str) -> None:
    """Remove this node's Envoy."""
    for container in await runtime.labelled("fledx.gateway", node_id):
        await runtime.remove(container.id)


def public_of(
    settings: AgentSettings,
    node_id: str,
    directory: Path,
    environ: Mapping[str, str],
    *,
    runtime: Runtime,
    clock: Clock,
    desired: Callable[[], NodeDesiredState | None],
    asked: Callable[[], bool],
    copies: Callable[[Key], Sequence[Copy]],
    prober: Callable[[], Prober],
    link: Callable[[], Link | None],
    login: Callable[[str], RegistryLogin | None],
    changed: Callable[[], None],
) -> Public:
    """The gateway of a node whose settings say that it is one."""
    shared = (settings.gateway_dir,) if settings.gateway_dir else places(environ)
    if not settings.gateway_enabled:
        return NotPublic(node_id, directory, runtime, clock, shared)
    from fledx.agent.ingress.gateway import Gateway, Node

    try:
        write_private(directory / MARK, b"")
    except OSError as problem:
        logger.warning("this node may not remember that it is a gateway", extra={"reason": str(problem)})
    node = Node(
        node_id=node_id,
        runtime=runtime,
        clock=clock,
        desired=desired,
        asked=asked,
        copies=copies,
        healthy=functools.partial(_healthy, prober),
        link=link,
        login=login,
        changed=changed,
    )
    return Gateway(settings, shared, node)


def _healthy(prober: Callable[[], Prober], container_id: str) -> bool:
    """One that was not asked yet is what the control plane says it is: ready."""
    status = prober().statuses.get(container_id)
    return status is None or status.ready
