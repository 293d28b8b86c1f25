"""The API on fakes, built as `run.py` builds it on the real ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import anyio
from starlette.applications import Starlette

from fledx.control_plane.api.app import app
from fledx.control_plane.metrics import Metrics
from fledx.models.token import Operator
from fledx.settings.control_plane import ControlPlaneSettings
from tests.fakes.use_cases import FakeDeployments, FakeEvents, FakeLogs, FakeNodes, FakeOverview, FakeTokens
from tests.unit.api.caller import Caller

PEM = "-----BEGIN CERTIFICATE-----\n"


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeAudit:
    """What was refused: action, name of the token, reason, name of the thing."""

    known: list[tuple[str, str, str, str | None]] = field(default_factory=list)

    async def refused(self, action: str, by: Operator, reason: str, *, name: str | None = None) -> None:
        self.known.append((action, by.name, reason, name))


@dataclass
class Site:
    """Fakes, the application on them, and an operator who calls it."""

    settings: ControlPlaneSettings = field(default_factory=ControlPlaneSettings)
    authority: str | None = PEM
    deployments: FakeDeployments = field(default_factory=FakeDeployments)
    nodes: FakeNodes = field(default_factory=FakeNodes)
    tokens: FakeTokens = field(default_factory=FakeTokens)
    logs: FakeLogs = field(default_factory=FakeLogs)
    events: FakeEvents = field(default_factory=FakeEvents)
    configs: Any = None
    secrets: Any = None
    registries: Any = None
    certificates: Any = None
    operator_tokens: Any = None
    audit: Any = field(default_factory=FakeAudit)
    usage: Any = None
    volumes: Any = None
    revisions: Any = None
    fleet: Any = None
    rebalancing: Any = None
    watching: Any = None
    overview: FakeOverview = field(default_factory=FakeOverview)
    metrics: Metrics = field(default_factory=Metrics)
    clock: Clock = field(default_factory=Clock)
    stopping: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        parts = [
            "deployments",
            "revisions",
            "fleet",
            "rebalancing",
            "nodes",
            "tokens",
            "logs",
            "events",
            "configs",
            "secrets",
            "registries",
            "certificates",
        ]
        parts += ["operator_tokens", "audit", "usage", "volumes", "overview", "watching"]
        fakes: dict[str, Any] = {part: cast(Any, getattr(self, part)) for part in parts}
        self.app: Starlette = app(
            **fakes,
            settings=self.settings,
            metrics=self.metrics,
            authority=self.authority,
            stopping=self.stopping,
            clock=self.clock,
        )
        self.call = Caller(self.app)

    def caller(self, *, address: str = "203.0.113.9", token: str | None = "operator") -> Caller:
        """Another client."""
        return Caller(self.app, address=address, token=token)

    async def with_web(self) -> Site:
        """The same with the deployment web."""
        await self.call("POST", "/api/v1/deployments", json={"name": "web", "image": "nginx", "replicas": 2})
        self.deployments.calls.clear()
        return self
