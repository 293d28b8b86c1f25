"""What can be done about one replica; each action says why."""

from __future__ import annotations

from dataclasses import dataclass

from fledx.agent.runtime.containers import Container
from fledx.agent.spec import Key, Marks
from fledx.models.desired import ReplicaDesired


@dataclass(frozen=True, kw_only=True)
class Copy:
    """One container of a replica, and the marks it was made with."""

    container: Container
    marks: Marks

    @property
    def running(self) -> bool:
        """Whether it runs; a paused one does not."""
        return self.container.state == "running"

    @property
    def alive(self) -> bool:
        """Whether it has processes: it must be stopped before it is removed."""
        return self.container.state in ("running", "paused", "restarting")

    def fits(self, replica: ReplicaDesired) -> bool:
        """Whether it is what the replica wants: made from this template under this ownership."""
        return self.marks.template == replica.template and self.marks.fence == replica.fence


@dataclass(frozen=True, kw_only=True)
class Action:
    """``kind`` is the word under which it is told: start, restart, drift, replace, stop, unhealthy, remove, examine."""

    key: Key
    kind: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Start(Action):
    """Make a new container and start it; ``run`` is which run of a job it is for."""

    replica: ReplicaDesired
    restarts: int = 0
    run: str = ""


@dataclass(frozen=True, kw_only=True)
class Resume(Action):
    """Start a container that is there, or let it go on if it is paused."""

    replica: ReplicaDesired
    copy: Copy


@dataclass(frozen=True, kw_only=True)
class Replace(Action):
    """
    Make the new container, stop the old one, start the new one.

    In this order, so that an image or a mount that is missing costs no downtime; when the new one does not start, the
    old one is started again. ``prepared`` is a new container that was made before and never started.
    """

    replica: ReplicaDesired
    old: Copy
    prepared: Copy | None = None


@dataclass(frozen=True, kw_only=True)
class Stop(Action):
    """End a container in its own time, and remove it if asked to."""

    copy: Copy
    remove: bool = False


@dataclass(frozen=True, kw_only=True)
class Remove(Action):
    """Take away a container that has ended."""

    copy: Copy


@dataclass(frozen=True, kw_only=True)
class Examine(Action):
    """Read the last lines of a container that crashed."""

    copy: Copy


@dataclass(frozen=True, kw_only=True)
class Wait(Action):
    """Nothing can be done yet: something of ours is in the way and will be gone soon."""
