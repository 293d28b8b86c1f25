"""
What the agent shows on its own endpoints: `/health` for those who watch the machine, `/metrics` for Prometheus.

On a gateway, those pages of Envoy's own administration that change nothing stand beside `/health`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

import fledx
from fledx.agent.answers import Answer, Asked, as_json
from fledx.agent.http import serve
from fledx.agent.metrics import CONTENT_TYPE, Metrics, Sight
from fledx.agent.spec import Key
from fledx.errors import FledxError
from fledx.models.ingress import GatewayStatus
from fledx.models.instance import Instance
from fledx.settings.agent import AgentSettings


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How the agent stands at one moment; ``connected_since`` None and ``link_problem`` are the link's."""

    node_id: str
    name: str | None
    engine: str | None
    trouble: str | None
    connected_since: str | None
    link_problem: str | None
    revision: int
    instances: Sequence[Instance]
    usage: Mapping[Key, Mapping[str, Any]]
    rounds: int
    round_seconds: float
    probes: Mapping[tuple[str, ...], int]
    gateway: GatewayStatus | None = None


class Pages:
    """Serves them where the settings say; `envoy` are the pages of Envoy's own, by their paths."""

    def __init__(
        self,
        settings: AgentSettings,
        metrics: Metrics,
        standing: Callable[[], Standing],
        envoy: Mapping[str, Callable[[str], Awaitable[Answer]]],
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._standing = standing
        self._envoy = {path: _or_unavailable(page) for path, page in envoy.items()}

    async def run(self) -> None:
        """Serve until cancelled; port 0 turns one off."""
        settings = self._settings
        async with anyio.create_task_group() as tasks:
            if settings.health_port:
                tasks.start_soon(self._serve_health, settings.health_port)
            if settings.metrics_port:
                pages = {"/metrics": self.metrics, "/health": self.health}
                tasks.start_soon(serve, settings.metrics_host, settings.metrics_port, pages, "/metrics")

    async def _serve_health(self, port: int) -> None:
        await serve("127.0.0.1", port, {"/health": self.health}, "/health", asked=self._envoy)

    def health(self) -> Answer:
        """
        200 while this node does its work, link or no link.

        503 with the reason while its engine does not answer, or while it is a gateway whose Envoy does not serve.
        """
        now = self._standing()
        well = now.trouble is None and (now.gateway is None or now.gateway.state == "serving")
        states = [instance.state for instance in now.instances]
        page = {
            "status": "ok" if well else "degraded",
            "node_id": now.node_id,
            "name": now.name,
            "version": fledx.__version__,
            "runtime": now.engine,
            "runtime_error": now.trouble,
            "control_plane": {"connected_since": now.connected_since, "problem": now.link_problem},
            "revision": now.revision,
            "instances": {state: states.count(state) for state in sorted(set(states))},
        }
        if now.gateway is not None:
            told = ("state", "reason", "refused", "revision")
            page["gateway"] = {field: getattr(now.gateway, field) for field in told}
        return as_json(200 if well else 503, page)

    def metrics(self) -> Answer:
        """The series with their values of now."""
        now = self._standing()
        sight = Sight(
            connected=now.connected_since is not None,
            runtime_up=now.trouble is None,
            revision=now.revision,
            instances=now.instances,
            usage=now.usage,
            rounds=now.rounds,
            round_seconds=now.round_seconds,
            probes=now.probes,
        )
        return Answer(status=200, kind=CONTENT_TYPE, body=self._metrics.page(sight))


def _or_unavailable(page: Callable[[str], Awaitable[Answer]]) -> Asked:
    """503 with the reason while nobody answers there."""

    async def asked(query: str) -> Answer:
        try:
            return await page(query)
        except FledxError as problem:
            return as_json(503, {"error": f"Envoy: {problem.text}", "code": problem.code})

    return asked
