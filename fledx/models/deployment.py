"""What the operator asked for: so many replicas of one template, on nodes that suit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fledx.errors import InvalidSpec
from fledx.models import check, cron
from fledx.models.assignment import Assignment
from fledx.models.check import Faults, shown
from fledx.models.ingress import IngressRule, Serving, rule_faults
from fledx.models.instance import Instance
from fledx.models.job import DEFAULT_RETRIES, MAX_RETRIES, JobDesired
from fledx.models.placement import Constraints, Placement
from fledx.models.port import container_ports
from fledx.models.template import Template

STATUSES = ("pending", "deploying", "running", "stopped", "failed")
DESIRED_STATES = ("running", "stopped")
MODES = ("service", "global", "job")
MAX_REPLICAS = 10_000
RETURNS = ("keep_new", "keep_original")


@dataclass(frozen=True, kw_only=True)
class UpdatePolicy:
    """
    How a new revision replaces the old one.

    At most ``max_unavailable`` replicas are down at once by our own doing. With ``max_surge`` as many extra ones are
    started before others are stopped, where there is room for them; then ``max_unavailable`` may be 0. A replica counts
    as taken over when it has been ready for ``min_healthy_seconds``; after ``progress_deadline_seconds`` without
    progress the rollout has failed, and ``on_failure`` (rollback or pause) happens. The rollout is complete once one
    replica at least has stayed ready for ``watch_seconds``: 35 by default, so that an image that dies after half a
    minute is found out before the last good one is given up.
    """

    max_unavailable: int = 1
    max_surge: int = 0
    min_healthy_seconds: float = 3.0
    progress_deadline_seconds: float = 300.0
    on_failure: str = "rollback"
    watch_seconds: float = 35.0

    def __post_init__(self) -> None:
        faults = Faults()
        if not 0 <= self.max_surge <= MAX_REPLICAS:
            faults.add("max_surge", f"{self.max_surge} is not between 0 and {MAX_REPLICAS}")
        if self.max_unavailable < 0 or not (self.max_unavailable or self.max_surge):
            faults.add("max_unavailable", f"{self.max_unavailable} is less than {0 if self.max_surge else 1}")
        for field in ("min_healthy_seconds", "progress_deadline_seconds", "watch_seconds"):
            if not 0 <= getattr(self, field) <= 86400:
                faults.add(field, f"{getattr(self, field):g} is not between 0 and 86400")
        if self.on_failure not in ("rollback", "pause"):
            faults.add("on_failure", f"{shown(self.on_failure)} is not rollback or pause")
        faults.settle()


@dataclass(frozen=True, kw_only=True)
class ReschedulePolicy:
    """
    What happens to replicas on a node that does not answer.

    They are placed elsewhere after ``after_seconds``; None is the control plane's own setting, 0 is never. When the
    node comes back, ``on_return`` says who goes on: keep_new the successor, keep_original the one that was there first.
    Replicas with data in volumes stay with their node, unless ``abandon_volumes``: then they begin with empty ones.
    """

    after_seconds: float | None = None
    on_return: str = "keep_new"
    abandon_volumes: bool = False

    def __post_init__(self) -> None:
        faults = Faults()
        if self.after_seconds is not None and not 0 <= self.after_seconds <= 86400 * 365:
            faults.add("after_seconds", f"{self.after_seconds:g} is not between 0 and a year")
        if self.on_return not in RETURNS:
            faults.add("on_return", f"{shown(self.on_return)} is not {' or '.join(RETURNS)}")
        faults.settle()


@dataclass(frozen=True, kw_only=True)
class DeploymentSpec(Template):
    """
    A deployment's text; without a name it is called after its image.

    ``ingress`` are the hosts and paths under which gateways serve it; a change of it restarts nothing.
    ``mode`` is service (so many replicas that run on), global (one on each node that suits) or job (so many that run to
    their end). ``retries`` (3 unless told), ``schedule`` (a cron expression) and ``timezone`` (UTC) are a job's.
    """

    name: str = ""
    mode: str = "service"
    replicas: int = 1
    labels: Mapping[str, str] | None = None
    constraints: Constraints | None = None
    placement: Placement | None = None
    desired_state: str = "running"
    requires_public_ip: bool = False
    tunnel_only: bool = False
    update: UpdatePolicy = UpdatePolicy()
    reschedule: ReschedulePolicy = ReschedulePolicy()
    ingress: tuple[IngressRule, ...] | None = None
    retries: int | None = None
    schedule: str | None = None
    timezone: str | None = None

    @property
    def tcp_ports(self) -> tuple[int, ...]:
        """The container ports that an ingress rule may mean without naming it."""
        return container_ports(self.ports or ())

    @property
    def is_once(self) -> bool:
        """Whether it is a job that runs to its end once."""
        return self.mode == "job" and self.schedule is None

    def job(self, done: str | None = None) -> JobDesired | None:
        """How its replicas are run by agents, if they are jobs; `done` is the outcome of one that has ended."""
        if self.mode != "job":
            return None
        retries = DEFAULT_RETRIES if self.retries is None else self.retries
        return JobDesired(retries=retries, schedule=self.schedule, timezone=self.timezone or "UTC", done=done)

    def look_for(self, faults: Faults) -> None:
        super().look_for(faults)
        object.__setattr__(self, "name", self.name.strip() or _name_of(self.image))
        faults.add("name", check.name(self.name))
        if not 1 <= self.replicas <= MAX_REPLICAS:
            faults.add("replicas", f"{self.replicas} is not between 1 and {MAX_REPLICAS}")
        if self.desired_state not in DESIRED_STATES:
            faults.add("desired_state", f"{shown(self.desired_state)} is not running or stopped")
        if self.requires_public_ip and not any(port.expose for port in self.ports or ()):
            faults.add("requires_public_ip", "needs at least one port with expose")
        faults.found += check.labels(self.labels or {}, "labels")
        faults.found += rule_faults(self.ingress or (), self.tcp_ports)
        if self.mode not in MODES:
            faults.add("mode", f"{shown(self.mode)} is not service, global or job")
        elif self.mode == "job":
            self._look_for_job(faults)
        else:
            for field in ("retries", "schedule", "timezone"):
                faults.add(field, None if getattr(self, field) is None else "is for jobs only (mode: job)")
        if self.mode == "global":
            self._look_for_global(faults)

    def _look_for_global(self, faults: Faults) -> None:
        if self.replicas != 1:
            faults.add("replicas", "is not for a global deployment: it has one on each node that suits")
        if self.update.max_surge:
            faults.add("update.max_surge", "is not for a global deployment: it has one replica a node")

    def _look_for_job(self, faults: Faults) -> None:
        if self.retries is not None and not 0 <= self.retries <= MAX_RETRIES:
            faults.add("retries", f"{self.retries} is not between 0 and {MAX_RETRIES}")
        if self.schedule is not None:
            object.__setattr__(self, "schedule", " ".join(self.schedule.split()))
            faults.add("schedule", cron.expression_fault(self.schedule))
        if self.timezone is not None:
            without = "is for jobs with a schedule" if self.schedule is None else None
            faults.add("timezone", without or check.line(self.timezone))
        if self.restart != "always":
            faults.add("restart", "is not for jobs: one that failed is started again by its retries")
        for field, why in (("health", "it is judged by its exit code"), ("ingress", "it serves nobody")):
            faults.add(field, f"is not for jobs: {why}" if getattr(self, field) else None)


def _name_of(image: str) -> str:
    """`registry.example.com/team/shop:1.2` is called `shop`."""
    last = image.rsplit("/", 1)[-1].partition("@")[0].partition(":")[0]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-._")[:63] or "deployment"


def patched(spec: Mapping[str, Any], changes: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """
    An encoded spec with the changes of a PATCH: null and absent leave a field, an empty list or map clears it.

    A port of the change without a host port keeps the one that the same container port had. Raises InvalidSpec for
    a field that is not in `known`, and for a change that changes nothing at all.
    """
    problems = [(key[:60], "is not a field of a deployment") for key in changes if key not in known]
    if problems:
        raise InvalidSpec.of(problems)
    given = {key: value for key, value in changes.items() if value is not None}
    if not given:
        raise InvalidSpec("", "the change names no field", hint="give at least one field that is not null")
    cleared = {key: None if value in ({}, []) else value for key, value in given.items()}
    return {**spec, **cleared}


@dataclass(frozen=True, kw_only=True)
class Pending:
    """One replica that could not be placed, and why, node by node in groups."""

    replica_number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """
    How far the current revision has got; ``state`` is progressing, complete, paused, rolled_back or failed.

    ``reason`` says why it ended badly or cannot go on, ``waits_for`` what it waits for while all is well.
    """

    state: str
    revision: int
    updated: int
    wanted: int
    reason: str | None = None
    since: str | None = None
    waits_for: str | None = None


@dataclass(frozen=True, kw_only=True)
class Revision:
    """
    One template in a deployment's history.

    ``changed`` names the fields that differ from the revision before; none where a config or secret changed that they
    refer to. ``state`` is progressing, complete, paused, failed, rolled_back or superseded (by the next, before it was
    complete); ``current`` marks the one that is wanted now. ``digest`` is what the image's tag stood for.
    """

    revision: int
    state: str
    current: bool = False
    image: str
    digest: str | None = None
    changed: tuple[str, ...] = ()
    reason: str | None = None
    created_at: str
    created_by: str


@dataclass(frozen=True, kw_only=True)
class Deployment(DeploymentSpec):
    """
    A deployment as the API shows it: the spec, and what became of it; times are RFC 3339 in UTC.

    ``generation`` rises with every accepted change, ``revision`` when the template changes. ``ready_replicas`` counts
    instances of the current revision that run and pass their readiness probe; of a job those that run or have
    succeeded. ``configs`` are the names of those that are attached and ``image_digest`` is what the image's tag stands
    for in this revision, both told of a single deployment only.

    ``replicas`` of a global deployment are as many as there are nodes for it now. ``outcome`` of a job is succeeded or
    failed, None until that is known; with a schedule it is that of the run that ended last, ``last_run`` when the last
    one was due, ``next_run`` when the next one is.
    """

    deployment_id: str
    status: str
    reason: str | None = None
    generation: int
    revision: int
    outcome: str | None = None
    last_run: str | None = None
    next_run: str | None = None
    ready_replicas: int = 0
    unplaced_replicas: int = 0
    assigned_node_id: str | None = None
    assignments: tuple[Assignment, ...] = ()
    instances: tuple[Instance, ...] = ()
    instance: Instance | None = None
    pending: tuple[Pending, ...] = ()
    rollout: Rollout | None = None
    configs: tuple[str, ...] | None = None
    serving: Serving | None = None
    image_digest: str | None = None
    last_reported: str | None = None
    created_at: str
    updated_at: str

    def _look_for_global(self, faults: Faults) -> None:
        """Here the replicas are counted, not asked for."""
