"""What the control plane is told of one replica, from what is desired, seen and known; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fledx.agent.backoff import Pace
from fledx.agent.job_instances import JobKnown, job_state, job_status
from fledx.agent.reconcile.actions import Copy
from fledx.agent.reconcile.firing import Record
from fledx.agent.reconcile.history import History, ending_of, finished, in_order
from fledx.agent.reconcile.jobs import present
from fledx.agent.spec import Key
from fledx.models.desired import ReplicaDesired
from fledx.models.health import HealthStatus
from fledx.models.instance import MAX_MESSAGE, Instance
from fledx.models.job import JobDesired

CRASHES = 3
"""From so many in a row on a replica is called failed; one crash may be a database that was not up yet."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """
    All there is to know of one replica.

    ``doing`` is what its lane does right now, ``waiting`` what it waits for, ``trouble`` why the engine does not
    answer. ``host`` is the address under which published ports are reached, ``health`` the last probes by container id.
    ``record`` is that of a job.
    """

    key: Key
    node_id: str
    replica: ReplicaDesired | None
    copies: Sequence[Copy]
    history: History | None
    pace: Pace
    host: str
    doing: str = ""
    waiting: str = ""
    trouble: str | None = None
    health: Mapping[str, HealthStatus]
    record: Record | None = None


def instance_of(known: Known) -> Instance | None:
    """The instance without its ``last_updated``; None for one that is neither desired nor there."""
    copies = _ordered(known)
    if known.replica is None and not copies:
        return None
    if known.replica is not None and known.replica.job is not None:
        return _job(known, known.replica, known.replica.job)
    first = copies[0] if copies else None
    running = first is not None and first.running
    container = first.container if first else None
    health = known.health.get(container.id) if container and running else None
    state, message = _state(known, first, health)
    return Instance(
        deployment_id=known.key[0],
        replica_number=known.key[1],
        node_id=known.node_id,
        container_id=container.id if container else None,
        state=state,
        ready=state == "running" and _ready(known.replica, first, health),
        message=message[:MAX_MESSAGE] if message else None,
        exit_code=_exit_code(known, first),
        restart_count=_restarts(known, first),
        generation=known.replica.generation if known.replica else first.marks.generation if first else 0,
        revision=_revision(known.replica, first),
        template=first.marks.template if first else None,
        fence=first.marks.fence if first else known.replica.fence if known.replica else 0,
        started_at=container.started_at if container and running else None,
        last_updated="",
        endpoints=_endpoints(first, known.host) if first and running else (),
        health=health,
    )


def _job(known: Known, replica: ReplicaDesired, job: JobDesired) -> Instance:
    """A job is told under the revision and fence that it is to run, whether or not a container is there."""
    record = known.record or Record()
    copy = present(record, known.copies)
    busy = known.doing or known.waiting
    told = JobKnown(replica=replica, job=job, record=record, copy=copy, history=known.history, busy=busy)
    state, message = ("unknown", known.trouble) if known.trouble is not None else job_state(told)
    running = copy is not None and copy.running
    return Instance(
        deployment_id=known.key[0],
        replica_number=known.key[1],
        node_id=known.node_id,
        container_id=copy.container.id if copy else None,
        state=state,
        ready=state == "running",
        message=message[:MAX_MESSAGE] if message else None,
        exit_code=record.run.exit_code if record.run else None,
        restart_count=record.run.failures if record.run else 0,
        generation=replica.generation,
        revision=replica.revision,
        template=replica.template,
        fence=replica.fence,
        started_at=copy.container.started_at if copy and running else None,
        last_updated="",
        endpoints=_endpoints(copy, known.host) if copy and running else (),
        job=job_status(record),
    )


def _revision(replica: ReplicaDesired | None, first: Copy | None) -> int:
    """That of the replica which its container fits: a revision that changes the probes alone keeps the container."""
    if first is None:
        return 0
    return replica.revision if replica is not None and first.fits(replica) else first.marks.revision


def stamped(instance: Instance, before: Instance | None, stamp: str) -> Instance:
    """With the time of its last change; `before` itself if nothing differs but the time of the last probe."""
    if before is not None and _timeless(instance) == _timeless(before):
        return before
    return replace(instance, last_updated=stamp)


def _timeless(instance: Instance) -> Instance:
    health = replace(instance.health, last_checked_at=None) if instance.health else None
    return replace(instance, last_updated="", health=health)


def _ordered(known: Known) -> list[Copy]:
    if known.replica is not None:
        return in_order(known.copies, known.replica)
    return sorted(known.copies, key=lambda copy: (not copy.running, copy.container.created_at))


def _state(known: Known, first: Copy | None, health: HealthStatus | None) -> tuple[str, str]:
    """The word and the sentence."""
    replica, running = known.replica, first is not None and first.running
    if known.trouble is not None:
        return "unknown", known.trouble
    if replica is None:
        return ("running" if running else "stopped"), known.doing or "not assigned to this node any more"
    if running:
        return "running", known.doing or known.waiting or _while_running(known, health)
    if replica.desired_state == "stopped":
        return "stopped", known.doing
    if known.doing or known.waiting:
        return "pending", known.doing or known.waiting
    return _down(known, replica, first)


def _while_running(known: Known, health: HealthStatus | None) -> str:
    history = known.history
    if history is None or known.replica is None:
        return ""
    if history.problem is not None:
        return f"revision {known.replica.revision} does not start: {_again(history)}"
    restarted = f"restarted after: {_with_lines(history)}" if history.failures and history.ending else ""
    if health is None or health.ready:
        return restarted
    unready = f"not ready: {health.last_probe_result or 'its readiness probe has not answered yet'}"
    cause, newline, lines = restarted.partition("\n")
    return f"{cause}; {unready}{newline}{lines}" if cause else unready


def _down(known: Known, replica: ReplicaDesired, first: Copy | None) -> tuple[str, str]:
    """For a replica that should run and does not."""
    history = known.history
    if first is not None and first.container.state == "paused":
        return "pending", "its container is paused"
    if history is None:
        return "pending", ""
    if first is not None and first.container.state == "exited" and first.fits(replica) and history.repair is None:
        code = first.container.exit_code
        if finished(replica, code):
            return ("stopped" if code == 0 else "failed"), _with_lines(history) or ending_of(first.container)
    if history.problem or history.failures:
        patient = history.problem is None and (history.outside or history.failures < CRASHES)
        return ("pending" if patient else "failed"), _again(history)
    return "pending", history.repair or history.ending or ""


def _again(history: History) -> str:
    """What went wrong, and when it is tried again."""
    what = history.problem or (history.repair if history.outside else None) or _with_lines(history)
    often = f"failed {history.failures} times in a row, " if history.failures > 1 else ""
    when = f"tried again after {history.wait:.0f} s" if history.wait >= 1 else "tried again at once"
    head, newline, lines = what.partition("\n")
    return f"{head}; {often}{when}{newline}{lines}"


def _with_lines(history: History) -> str:
    if history.ending is None:
        return ""
    return f"{history.ending}\n{history.lines}" if history.lines else history.ending


def _ready(replica: ReplicaDesired | None, first: Copy | None, health: HealthStatus | None) -> bool:
    """Without a readiness probe, or as an old copy that was never probed, whatever runs is ready."""
    if health is not None:
        return health.ready
    probed = replica is not None and replica.health is not None and replica.health.readiness is not None
    return not (probed and replica is not None and first is not None and first.fits(replica))


def _exit_code(known: Known, first: Copy | None) -> int | None:
    if first is not None and first.container.exit_code is not None:
        return first.container.exit_code
    return known.history.exit_code if known.history else None


def _restarts(known: Known, first: Copy | None) -> int:
    if first is not None and (known.replica is None or not first.fits(known.replica)):
        return first.marks.restarts
    if known.history is None:
        return 0
    return max(0, known.history.runs - 1 if first is None or _counted(known.history, first) else known.history.runs)


def _counted(history: History, copy: Copy) -> bool:
    """Whether the history knows of this container's run: its start may not have been answered yet."""
    young = copy.container.state != "created" and copy.marks.restarts >= history.runs
    return history.serving == copy.container.id or not (copy.running or young)


def _endpoints(first: Copy, host: str) -> tuple[str, ...]:
    found = []
    for port in first.container.ports:
        address = port.host_ip or host
        found.append(f"[{address}]:{port.host_port}" if ":" in address else f"{address}:{port.host_port}")
    return tuple(dict.fromkeys(found))
