"""Simulated agents: each runs what it was told last, link or no link, and tells what it sees while there is one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from fledx.agent.reconcile.firing import Record, fired
from fledx.models.desired import NodeDesiredState, ReplicaDesired
from fledx.models.instance import Instance
from fledx.models.job import JobDesired, JobStatus

Key = tuple[str, int]
#: By image: what its containers do. Good ones are ready after two seconds.
GOOD, CRASHES, NEVER_READY, DIES = "good", "crashes", "sleeps", "dies"
SECONDS_TO_READY, SECONDS_TO_DIE = 2.0, 20.0
#: The same where they are jobs: after so many seconds they end with this code.
ENDS = {GOOD: (10.0, 0), NEVER_READY: (90.0, 0), CRASHES: (1.0, 1), DIES: (SECONDS_TO_DIE, 1)}
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
    run: str = ""

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

    def ended(self, now: float) -> int | None:
        """The exit code of a job, once it has one."""
        seconds, code = ENDS[self.kind]
        return code if now - self.began >= seconds else None

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
    records: dict[Key, Record] = field(default_factory=dict)
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
        jobs = {one.key: one for one in self.desired.replicas if one.job is not None}
        self.records = {key: self.records[key] for key in self.records.keys() & jobs.keys()}
        wanted = {
            one.key: one for one in self.desired.replicas if one.desired_state == "running" and one.key not in jobs
        }
        for key in [key for key in self.containers if key not in wanted and key not in jobs]:
            del self.containers[key]
        for key, one in jobs.items():
            if one.job is not None:
                self._work_on_job(key, one, one.job, now)
        for key, one in wanted.items():
            found = self.containers.get(key)
            if found is None or (found.template, found.fence) != (one.template, one.fence):
                self.made += 1
                self.containers[key] = Container(one.template, one.fence, one.image, now, made=self.made)
        for key, found in self.containers.items():
            if key not in jobs:
                found.live(now)

    def _work_on_job(self, key: Key, one: ReplicaDesired, job: JobDesired, now: float) -> None:
        """The real schedule; containers that end as their images do."""
        record, _ = fired(self.records.get(key), one, job, datetime.fromtimestamp(now, timezone.utc))
        found = self.containers.get(key)
        if found is not None and (found.run != record.id or one.desired_state == "stopped" or not record.going):
            del self.containers[key]
            found = None
        if record.going and one.desired_state == "running" and found is None:
            self.made += 1
            found = Container(one.template, one.fence, one.image, now, made=self.made, run=record.id)
            self.containers[key] = found
        code = None if found is None else found.ended(now)
        if code is not None and record.run is not None:
            del self.containers[key]
            run = replace(record.run, exit_code=code, failures=record.run.failures + (code != 0), reason=f"exit {code}")
            outcome = "succeeded" if code == 0 else "failed" if run.failures > job.retries else None
            record = replace(record, run=replace(run, outcome=outcome))
        self.records[key] = record

    def die(self) -> None:
        """The power goes; what ran is started anew when it is back."""
        self.up = False
        self.containers.clear()

    def instances(self, now: float) -> dict[Key, Instance]:
        """What it would report."""
        wanted = {one.key: one for one in self.desired.replicas} if self.desired else {}
        found = {
            key: self._instance(key, found, wanted.get(key), now)
            for key, found in self.containers.items()
            if key not in self.records
        }
        jobs = {key: self._job(wanted[key], record) for key, record in self.records.items() if key in wanted}
        return found | jobs

    def _job(self, one: ReplicaDesired, record: Record) -> Instance:
        runs = one.key in self.containers
        outcome = record.run.outcome if record.run else None
        idle = "pending" if record.going else "failed" if outcome == "failed" and not record.pattern else "stopped"
        return Instance(
            deployment_id=one.deployment_id,
            replica_number=one.replica_number,
            state="running" if runs else idle,
            ready=runs,
            revision=one.revision,
            template=one.template,
            fence=one.fence,
            last_updated=STAMP,
            job=JobStatus(run=record.run, next_run=record.next_run),
        )

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
