"""Simulated agents: each runs what it was told last, link or no link, and tells what it sees while there is one."""

from __future__ import annotations

from dataclasses import dataclass, field

from fledx.models.desired import NodeDesiredState, ReplicaDesired
from fledx.models.instance import Instance

Key = tuple[str, int]
#: By image: what its containers do. Good ones are ready after two seconds.
GOOD, CRASHES, NEVER_READY, DIES = "good", "crashes", "sleeps", "dies"
SECONDS_TO_READY, SECONDS_TO_DIE = 2.0, 20.0
STAMP = "2026-11-25T10:00:00.000Z"


@dataclass
class Container:
    """One container, as its labels say, and its life."""

    template: str
    fence: int
    image: str
    began: float
    restarts: int = 0
    made: int = 0
    down_until: float | None = None

    @property
    def kind(self) -> str:
        return self.image.partition(":")[0]

    def live(self, now: float) -> None:
        """It crashes and is started again, as its image does."""
        if self.down_until is not None:
            if now >= self.down_until:
                self.began, self.down_until, self.restarts = now, None, self.restarts + 1
            return
        age = now - self.began
        if (self.kind == CRASHES and age >= 1) or (self.kind == DIES and age >= SECONDS_TO_DIE):
            self.down_until = now + 2.0 ** min(self.restarts, 5)

    def ready(self, now: float) -> bool:
        up = self.down_until is None and now - self.began >= SECONDS_TO_READY
        return up and self.kind in (GOOD, DIES)


@dataclass
class Agent:
    """
    One node: `up` is its power, `linked` its way to the control plane.

    One that is `frozen` keeps its session and is silent; `session` is whether the control plane has one with it.
    """

    node_id: str
    name: str
    up: bool = True
    linked: bool = True
    frozen: bool = False
    session: bool = True
    heard: float = 0.0
    desired: NodeDesiredState | None = None
    containers: dict[Key, Container] = field(default_factory=dict)
    told: dict[Key, Instance] | None = None
    made: int = 0

    @property
    def talks(self) -> bool:
        return self.up and self.linked and self.session and not self.frozen

    def take(self, state: NodeDesiredState) -> None:
        """A push: the newest wins."""
        if self.desired is None or state.revision > self.desired.revision:
            self.desired = state

    def work(self, now: float) -> None:
        """Run what is desired and nothing else."""
        if not self.up or self.frozen or self.desired is None:
            return
        wanted = {one.key: one for one in self.desired.replicas if one.desired_state == "running"}
        for key in [key for key in self.containers if key not in wanted]:
            del self.containers[key]
        for key, one in wanted.items():
            found = self.containers.get(key)
            if found is None or (found.template, found.fence) != (one.template, one.fence):
                self.made += 1
                self.containers[key] = Container(one.template, one.fence, one.image, now, made=self.made)
        for found in self.containers.values():
            found.live(now)

    def die(self) -> None:
        """The power goes; what ran is started anew when it is back."""
        self.up = False
        self.containers.clear()

    def instances(self, now: float) -> dict[Key, Instance]:
        """What it would report."""
        wanted = {one.key: one for one in self.desired.replicas} if self.desired else {}
        return {key: self._instance(key, found, wanted.get(key), now) for key, found in self.containers.items()}

    def _instance(self, key: Key, found: Container, one: ReplicaDesired | None, now: float) -> Instance:
        fits = one is not None and (found.template, found.fence) == (one.template, one.fence)
        return Instance(
            deployment_id=key[0],
            replica_number=key[1],
            container_id=f"{self.name}-{found.made}-{found.restarts}",
            state="running" if found.down_until is None else "pending",
            ready=found.ready(now),
            message=None if found.down_until is None else "exited with code 1",
            restart_count=found.restarts,
            revision=one.revision if one is not None and fits else 0,
            template=found.template,
            fence=found.fence,
            last_updated=STAMP,
        )
