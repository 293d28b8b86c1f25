"""What the agent shows on its own endpoints: `/health` for those who watch the machine, `/metrics` for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

import fledx
from fledx.agent.http import Answer, as_json, serve
from fledx.agent.metrics import CONTENT_TYPE, Metrics, Sight
from fledx.agent.spec import Key
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


class Pages:
    """Serves them where the settings say."""

    def __init__(self, settings: AgentSettings, metrics: Metrics, standing: Callable[[], Standing]) -> None:
        self._settings = settings
        self._metrics = metrics
        self._standing = standing

    async def run(self) -> None:
        """Serve until cancelled; port 0 turns one off."""
        settings = self._settings
        async with anyio.create_task_group() as tasks:
            if settings.health_port:
                tasks.start_soon(serve, "127.0.0.1", settings.health_port, {"/health": self.health}, "/health")
            if settings.metrics_port:
                pages = {"/metrics": self.metrics, "/health": self.health}
                tasks.start_soon(serve, settings.metrics_host, settings.metrics_port, pages, "/metrics")

    def health(self) -> Answer:
        """200 while this node does its work, link or no link; 503 with the reason while its engine does not answer."""
        now = self._standing()
        states = [instance.state for instance in now.instances]
        page = {
            "status": "ok" if now.trouble is None else "degraded",
            "node_id": now.node_id,
            "name": now.name,
            "version": fledx.__version__,
            "runtime": now.engine,
            "runtime_error": now.trouble,
            "control_plane": {"connected_since": now.connected_since, "problem": now.link_problem},
            "revision": now.revision,
            "instances": {state: states.count(state) for state in sorted(set(states))},
        }
        return as_json(200 if now.trouble is None else 503, page)

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
