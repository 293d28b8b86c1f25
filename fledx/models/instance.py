"""What an agent observed of one replica."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fledx.models.health import HealthStatus
from fledx.models.job import JobStatus

STATES = ("pending", "running", "stopped", "failed", "unknown")
MAX_MESSAGE = 2000
ARRIVING = re.compile(r"(?:pulling|unpacking) [^\n]*?: (\d+) (?:%|MB)")
"""How a message begins that tells how far an image has got."""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """
    One replica as its agent last saw it; times are RFC 3339 in UTC.

    ``state`` is pending while it is on its way (pulling, starting, waiting for its next quick restart), failed when the
    quick tries are used up or cannot help. ``message`` is the reason in words. ``template`` and ``fence`` are those of
    the container that is there, ``revision`` the newest one it fits: one that changes only what the agent does, such as
    its probes, keeps the container. 0 and None where none is there yet.
    ``ready`` is: it runs and its readiness probe, if it has one, passes. ``endpoints`` are ``host:port`` of published
    ports. ``job`` is told of a replica that is to run to its end; one that waits for its next time is stopped.
    """

    deployment_id: str
    replica_number: int
    node_id: str | None = None
    container_id: str | None = None
    state: str
    ready: bool = False
    message: str | None = None
    exit_code: int | None = None
    restart_count: int = 0
    generation: int = 0
    revision: int = 0
    template: str | None = None
    fence: int = 0
    started_at: str | None = None
    last_updated: str
    endpoints: tuple[str, ...] = ()
    health: HealthStatus | None = None
    job: JobStatus | None = None

    @property
    def arriving(self) -> int | None:
        """A number that grows while its image arrives; None when none does."""
        found = ARRIVING.match(self.message or "")
        return None if found is None else int(found[1])

    @property
    def key(self) -> tuple[str, int]:
        """Which replica this is."""
        return self.deployment_id, self.replica_number
