"""The decision: what to do so that this node runs what it is to run; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from fledx.agent.backoff import Pace
from fledx.agent.reconcile.actions import Action, Copy, Examine, Remove, Replace, Resume, Start, Stop, Wait
from fledx.agent.reconcile.firing import Record
from fledx.agent.reconcile.history import History, finished, in_order
from fledx.agent.reconcile.jobs import job_actions
from fledx.agent.spec import Key
from fledx.models.desired import ReplicaDesired

HostPort = tuple[int, str]


@dataclass(frozen=True, kw_only=True)
class View:
    """
    What a plan is made from: everything this node is to run, its copies as just seen, and what they have been through.

    ``desired`` None means that no control plane has said anything yet: then nothing is started and nothing removed.
    ``jobs`` are the records of replicas that are jobs. ``held`` are replicas whose living containers stay as they are,
    because gateways still wait for their answers.
    """

    desired: Mapping[Key, ReplicaDesired] | None
    copies: Mapping[Key, Sequence[Copy]]
    histories: Mapping[Key, History]
    now: float
    pace: Pace
    held: Set[Key] = field(default_factory=frozenset)
    jobs: Mapping[Key, Record] = field(default_factory=dict)


def plan(view: View) -> list[Action]:
    """
    All actions that are due, those of one replica in the order they must run; replicas are independent of each other.

    The caller executes them and looks again; the plan over the result is empty until time passes or something happens.
    """
    if view.desired is None:
        return []
    actions: list[Action] = []
    for key in sorted(view.copies.keys() - view.desired.keys()):
        actions += _away_with(key, view.copies[key], "not assigned to this node any more")
    yielding = dict(_yielding_ports(view, view.desired))
    for key, replica in sorted(view.desired.items()):
        if replica.job is not None:
            if key in view.jobs and key in view.histories:
                copies = view.copies.get(key, ())
                actions += job_actions(key, replica, view.jobs[key], copies, view.histories[key], view.now)
        elif replica.desired_state == "stopped":
            actions += _stopped(key, replica, view.copies.get(key, ()))
        else:
            actions += _running(key, replica, view, yielding)
    return [_held_back(action) if action.key in view.held else action for action in actions]


def _held_back(action: Action) -> Action:
    """The same action, or a wait if it would end a container that still answers what a gateway has sent it."""
    match action:
        case Stop(copy=copy) | Remove(copy=copy) | Replace(old=copy) if copy.alive:
            reason = f"gateways still wait for answers of {copy.container.name} ({action.reason})"
            return Wait(key=action.key, kind="wait", reason=reason)
    return action


def _away_with(key: Key, copies: Sequence[Copy], reason: str) -> Iterator[Action]:
    for copy in copies:
        if copy.alive:
            yield Stop(key=key, kind="stop", reason=reason, copy=copy, remove=True)
        else:
            yield Remove(key=key, kind="remove", reason=reason, copy=copy)


def _yielding_ports(view: View, desired: Mapping[Key, ReplicaDesired]) -> Iterator[tuple[HostPort, Copy]]:
    """Host ports of containers that are about to end for good, so that whoever follows waits for them."""
    for key, copies in view.copies.items():
        if key not in desired or desired[key].desired_state == "stopped":
            for copy in copies:
                yield from (((port.host_port or 0, port.protocol), copy) for port in copy.container.ports)


def _stopped(key: Key, replica: ReplicaDesired, copies: Sequence[Copy]) -> Iterator[Action]:
    """
    Nothing runs. The last container stays for its logs and is started again later.

    Unless its policy would take it for a job that is done: then starting the deployment must make a new one.
    """
    kept = replica.restart == "always"
    for i, copy in enumerate(in_order(copies, replica)):
        if copy.alive:
            reason = "the deployment is stopped"
            yield Stop(key=key, kind="stop", reason=reason, copy=copy, remove=bool(i) or not kept)
        elif i or not kept or copy.container.state != "exited":
            yield Remove(key=key, kind="remove", reason="left over from before the stop", copy=copy)


def _running(key: Key, replica: ReplicaDesired, view: View, yielding: Mapping[HostPort, Copy]) -> Iterator[Action]:
    copies = in_order(view.copies.get(key, ()), replica)
    history = view.histories.get(key) or History(template=replica.template, fence=replica.fence)
    prepared = _prepared(replica, copies)
    yield from _leftovers(key, copies, history, view, keep=prepared)
    yield from _examination(key, copies, history)
    action = _next_step(key, replica, copies, history, prepared)
    if action is None:
        return
    if history.retry_at is not None and view.now < history.retry_at and not isinstance(action, Stop):
        yield from _revival(key, replica, copies, history)
        return
    holder = _in_the_way(replica, yielding)
    if holder is not None and not isinstance(action, Stop):
        number, copy = holder
        action = Wait(key=key, kind="wait", reason=f"port {number} is being given up by {copy.container.name}")
    yield action


def _next_step(
    key: Key, replica: ReplicaDesired, copies: Sequence[Copy], history: History, prepared: Copy | None
) -> Action | None:
    """What brings this replica to run as it should, None when it does or when it is done."""
    if not copies:
        return _fresh(key, replica, history)
    copy = copies[0]
    if not copy.fits(replica):
        if not copy.alive:
            return _fresh(key, replica, history)
        reason = _difference(copy, replica)
        return Replace(key=key, kind="replace", reason=reason, replica=replica, old=copy, prepared=prepared)
    if copy.running:
        if history.sick is None or history.sick[0] != copy.container.id:
            return None
        return Stop(key=key, kind="unhealthy", reason=history.sick[1], copy=copy)
    return _revived(key, replica, copy, history)


def _prepared(replica: ReplicaDesired, copies: Sequence[Copy]) -> Copy | None:
    """A new container that an interrupted replacement made, while the old one still serves."""
    if not copies or copies[0].fits(replica) or not copies[0].alive:
        return None
    return next((copy for copy in copies if copy.container.state == "created" and copy.fits(replica)), None)


def _examination(key: Key, copies: Sequence[Copy], history: History) -> Iterator[Action]:
    if not copies or copies[0].container.state != "exited":
        return
    if copies[0].container.id == history.crashed != history.examined:
        reason = "its last lines say why it ended"
        yield Examine(key=key, kind="examine", reason=reason, copy=copies[0])


def _fresh(key: Key, replica: ReplicaDesired, history: History) -> Start:
    """A new container."""
    kind, reason = "start", f"assigned to this node (revision {replica.revision})"
    if history.repair is not None:
        kind, reason = "drift" if history.outside else "restart", history.repair
    elif history.crashed is not None and history.ending is not None:
        kind, reason = "restart", history.ending
    return Start(key=key, kind=kind, reason=reason, replica=replica, restarts=history.runs)


def _revived(key: Key, replica: ReplicaDesired, copy: Copy, history: History) -> Action | None:
    """For a container that fits but does not run: start it, start another, or let it be."""
    state = copy.container.state
    if state == "paused":
        reason = "its container was paused from outside fledx"
        return Resume(key=key, kind="drift", reason=reason, replica=replica, copy=copy)
    if state == "restarting":
        reason = "its container was given a restart policy from outside fledx"
        return Stop(key=key, kind="drift", reason=reason, copy=copy, remove=True)
    if state == "exited" and history.repair is None and finished(replica, copy.container.exit_code):
        return None
    if state == "dead" or copy.container.id == history.crashed:
        return _fresh(key, replica, history)
    if history.repair is not None:
        kind, reason = "drift" if history.outside else "start", history.repair
    else:
        made = "was made but never started" if state == "created" else "is there but does not run"
        kind, reason = "start", f"its container {made}"
    return Resume(key=key, kind=kind, reason=reason, replica=replica, copy=copy)


def _difference(copy: Copy, replica: ReplicaDesired) -> str:
    if copy.marks.template != replica.template:
        return f"revision {replica.revision} follows revision {copy.marks.revision}"
    return f"its ownership was renewed (fence {replica.fence} follows {copy.marks.fence})"


def _leftovers(
    key: Key, copies: Sequence[Copy], history: History, view: View, *, keep: Copy | None
) -> Iterator[Action]:
    """Every copy but the first goes; the youngest that ended stays for its logs until the first has proved itself."""
    if not copies:
        return
    first = copies[0]
    proved = history.serves(first.container.id, at_least=view.pace.stable, now=view.now)
    ended = next((copy for copy in copies[1:] if copy.container.state == "exited"), None)
    for copy in copies[1:]:
        if copy.alive:
            reason = f"a second container beside {first.container.name}"
            yield Stop(key=key, kind="stop", reason=reason, copy=copy, remove=True)
        elif copy is ended and not proved and first.container.state != "exited":
            continue
        elif copy is not keep:
            reason = "its successor has proved itself" if proved else "nobody needs it any more"
            yield Remove(key=key, kind="remove", reason=reason, copy=copy)


def _revival(key: Key, replica: ReplicaDesired, copies: Sequence[Copy], history: History) -> Iterator[Action]:
    """While the new one cannot start, an old one that ended after serving well goes on serving."""
    for copy in copies:
        if copy.container.id == history.revive and copy.container.state == "exited":
            reason = f"it serves on, as its successor cannot start: {history.problem}"
            yield Resume(key=key, kind="restart", reason=reason, replica=replica, copy=copy)


def _in_the_way(replica: ReplicaDesired, yielding: Mapping[HostPort, Copy]) -> tuple[int, Copy] | None:
    for port in replica.ports or ():
        copy = yielding.get((port.host_port or 0, port.protocol)) if port.host_port else None
        if copy is not None:
            return port.host_port or 0, copy
    return None
