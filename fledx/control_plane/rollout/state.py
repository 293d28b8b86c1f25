"""What is remembered of a rollout between two steps, and how one begins."""

from __future__ import annotations

from dataclasses import dataclass, replace

PROGRESSING, COMPLETE, PAUSED, ROLLED_BACK, FAILED = "progressing", "complete", "paused", "rolled_back", "failed"


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A replica has taken over at the new revision: it was ready for long enough, after so many restarts."""

    number: int
    fence: int
    restarts: int
    since: float


@dataclass(frozen=True, kw_only=True)
class Unready:
    """
    A replica at the new revision is not ready (yet, or again) on this node, since then.

    ``restarts`` is what its container counted when it was first seen, for it may be older than the rollout. ``arrived``
    is how far its image had got when that last put off the deadline: a slow link is no fault.
    """

    number: int
    node: str
    since: float
    restarts: int | None = None
    arrived: int | None = None


@dataclass(frozen=True, kw_only=True)
class RolloutState:
    """
    What is remembered of a rollout between two steps.

    ``previous`` is the revision to go back to: the last one that was complete, None if none was. ``rolling_back`` marks
    a rollout that is itself the way back: it has no further way back. ``waits_for`` says what it waited for when it was
    last looked at, ``no_surge`` why an extra replica could not be placed.
    """

    revision: int
    previous: int | None = None
    phase: str = PROGRESSING
    rolling_back: bool = False
    started_at: float
    progressed_at: float
    taken: tuple[Taken, ...] = ()
    unready: tuple[Unready, ...] = ()
    reason: str | None = None
    waits_for: str | None = None
    no_surge: str | None = None


def begin(before: RolloutState | None, revision: int, now: float, *, served: int | None = None) -> RolloutState:
    """
    A new revision is to be rolled out; `before` is the state of whatever was rolled out until now.

    Where no revision has been complete so far, `served` is one that did serve, with all its replicas.
    """
    previous = last_good(before) or (None if before and before.phase == FAILED else served)
    return RolloutState(revision=revision, previous=previous, started_at=now, progressed_at=now)


def begin_back(before: RolloutState | None, revision: int, now: float, reason: str) -> RolloutState:
    """An operator wants an earlier revision; to the last good one there is no way back that is better."""
    if last_good(before) in (None, revision):
        return replace(begin(None, revision, now), rolling_back=True, reason=reason)
    return begin(before, revision, now)


def last_good(state: RolloutState | None) -> int | None:
    """The revision that is known to serve, and to which one can go back."""
    if state is None or state.phase == FAILED:
        return None
    return state.revision if state.rolling_back or state.phase in (COMPLETE, ROLLED_BACK) else state.previous
