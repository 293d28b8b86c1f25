"""What a deployment's state is called, and why: from what is wanted, who owns it, and what was observed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fledx.models.assignment import Assignment
from fledx.models.deployment import DeploymentSpec, Pending
from fledx.models.instance import Instance
from fledx.models.permission import data_of


@dataclass(frozen=True, kw_only=True)
class Derived:
    """
    Status word, reason in one sentence, and how many replicas of the current revision are ready.

    ``wanted`` is how many a global deployment has and waits for; the last three are a job's, as they are shown.
    """

    status: str
    reason: str | None
    ready: int
    wanted: int | None = None
    outcome: str | None = None
    last_run: str | None = None
    next_run: str | None = None


def current(instances: Sequence[Instance], owners: Sequence[Assignment]) -> dict[int, Instance]:
    """By replica number: what the present owner reports of it under its present fence."""
    fences = {owner.replica_number: (owner.node_id, owner.fence) for owner in owners}
    return {
        each.replica_number: each for each in instances if fences.get(each.replica_number) == (each.node_id, each.fence)
    }


def derive(
    spec: DeploymentSpec,
    revision: int,
    owners: Sequence[Assignment],
    pending: Sequence[Pending],
    instances: Sequence[Instance],
    away: Mapping[str, str],
) -> Derived:
    """
    The state of one deployment.

    `away` maps ids of nodes that do not answer to a sentence about them; what such a node last reported counts for
    nothing. An instance counts only under its owner's present fence.
    """
    seen = {number: each for number, each in current(instances, owners).items() if each.node_id not in away}
    if spec.desired_state == "stopped":
        wanted = len(owners) if spec.mode == "global" else None
        return replace(_stopping(seen), wanted=wanted)
    if spec.mode == "global":
        found = _progress(spec, len(owners) + len(pending), revision, owners, pending, seen, away)
        return replace(found, wanted=len(owners) + len(pending))
    owners = [owner for owner in owners if owner.replica_number < spec.replicas]
    seen = {number: each for number, each in seen.items() if number < spec.replicas}
    return _progress(spec, spec.replicas, revision, owners, pending, seen, away)


def _progress(
    spec: DeploymentSpec,
    wanted: int,
    revision: int,
    owners: Sequence[Assignment],
    pending: Sequence[Pending],
    seen: Mapping[int, Instance],
    away: Mapping[str, str],
) -> Derived:
    done = {owner.replica_number for owner in owners if _done(seen.get(owner.replica_number), owner, revision)}
    ready = len(done)
    if ready >= wanted and not pending:
        return Derived(status="running", reason=None, ready=ready)
    left = [owner for owner in owners if owner.replica_number not in done]
    bound = "; its volume data lies there" if data_of(spec) and not spec.reschedule.abandon_volumes else ""
    return Derived(status=_word(ready, pending, seen), reason=telling(left, pending, seen, away, bound), ready=ready)


def _done(instance: Instance | None, owner: Assignment, revision: int) -> bool:
    """Whether a replica runs what it is to run in the end, and is ready."""
    return instance is not None and instance.ready and instance.revision == owner.revision == revision


def _stopping(seen: Mapping[int, Instance]) -> Derived:
    left = sum(1 for each in seen.values() if each.state in ("running", "pending"))
    if left:
        return Derived(status="deploying", reason=f"{replicas_word(left)} still stopping", ready=0)
    return Derived(status="stopped", reason=None, ready=0)


def _word(ready: int, pending: Sequence[Pending], seen: Mapping[int, Instance]) -> str:
    if any(each.state == "failed" for each in seen.values()):
        return "failed"
    return "pending" if pending and not ready else "deploying"


def telling(
    left: Sequence[Assignment],
    pending: Sequence[Pending],
    seen: Mapping[int, Instance],
    away: Mapping[str, str],
    bound: str = "",
) -> str | None:
    """The most telling thing about what is `left` to do; `bound` says why a replica does not leave its node."""
    for word in ("failed", "pending", "unknown", "stopped", "running"):
        for number, each in sorted(seen.items()):
            if each.state == word and each.message and not each.ready:
                return f"replica {number}: {each.message}"
    if pending:
        return f"{replicas_word(len(pending))} without a place: {pending[0].reason}"
    for owner in left:
        if owner.node_id in away:
            return f"replica {owner.replica_number}: {away[owner.node_id]}{bound}"
    return f"waiting for {replicas_word(len(left))}"


def replicas_word(count: int) -> str:
    """`1 replica`, `3 replicas`."""
    return "1 replica" if count == 1 else f"{count} replicas"
