"""Probes that tell whether an instance is alive and whether it is ready."""

from __future__ import annotations

from dataclasses import dataclass

from fledx.models.check import Faults, each, line, shown

KINDS = ("http", "tcp", "exec")
DEFAULT_INTERVAL = 10.0
DEFAULT_TIMEOUT = 1.0
DEFAULT_THRESHOLD = 3
DEFAULT_START_PERIOD = 0.0


@dataclass(frozen=True, kw_only=True)
class HealthProbe:
    """
    One probe: ``http`` (port, path), ``tcp`` (port) or ``exec`` (command).

    Unset numbers mean the defaults above, which are fledx-core's: seconds, and failures in a row.
    """

    type: str
    port: int | None = None
    path: str | None = None
    command: tuple[str, ...] | None = None
    interval_seconds: float | None = None
    timeout_seconds: float | None = None
    failure_threshold: int | None = None
    start_period_seconds: float | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        if self.type not in KINDS:
            faults.add("type", f"{shown(self.type)} is not http, tcp or exec")
        elif self.type == "exec":
            self._check_command(faults)
        else:
            self._check_port(faults)
        self._check_numbers(faults)
        faults.settle()

    def _check_command(self, faults: Faults) -> None:
        if not self.command:
            faults.add("command", "an exec probe needs a command")
        for path, fault in each(self.command or (), "command"):
            faults.add(path, fault)

    def _check_port(self, faults: Faults) -> None:
        if self.port is None:
            faults.add("port", f"a {self.type} probe needs a port")
        elif not 1 <= self.port <= 65535:
            faults.add("port", f"health.probe.port {self.port} is not between 1 and 65535")
        if self.type == "http":
            object.__setattr__(self, "path", (self.path or "").strip())
            faults.add("path", line(self.path or ""))

    def _check_numbers(self, faults: Faults) -> None:
        for field in ("interval_seconds", "timeout_seconds", "failure_threshold"):
            value = getattr(self, field)
            if value is not None and not 0 < value <= 86400:
                faults.add(field, f"{value:g} is not above 0 and at most 86400")
        if self.start_period_seconds is not None and not 0 <= self.start_period_seconds <= 86400:
            faults.add("start_period_seconds", f"{self.start_period_seconds:g} is not between 0 and 86400")


@dataclass(frozen=True, kw_only=True)
class DeploymentHealth:
    """Liveness restarts an instance; readiness decides whether it takes part in rollouts and ingress."""

    liveness: HealthProbe | None = None
    readiness: HealthProbe | None = None

    def __post_init__(self) -> None:
        if self.liveness is None and self.readiness is None:
            faults = Faults()
            faults.add("", "names neither a liveness nor a readiness probe")
            faults.settle()


@dataclass(frozen=True, kw_only=True)
class HealthStatus:
    """What the probes of one instance last found; ``healthy`` is both probes together."""

    healthy: bool
    ready: bool = True
    last_probe_result: str | None = None
    reason: str | None = None
    last_error: str | None = None
    last_checked_at: str | None = None
