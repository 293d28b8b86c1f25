"""What a step may decide, each for a reason."""

from __future__ import annotations

from dataclasses import dataclass

from fledx.control_plane.rollout.replica import Replica
from fledx.control_plane.rollout.state import RolloutState


@dataclass(frozen=True, kw_only=True)
class Advance:
    """Give a replica the template of this revision."""

    replica_number: int
    to_revision: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Move:
    """Give a replica to another node, at the revision it has."""

    replica_number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Complete:
    """The revision is in place, and is from now on the one to go back to."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class RollBack:
    """Make this revision the deployment's own again."""

    to_revision: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Stop here; what serves is left as it is until an operator decides."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Nothing can be done now, for this reason."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Surge:
    """Place an extra replica at the present revision, beyond the wanted number."""

    replica_number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Withdraw:
    """Show a replica that serves as leaving."""

    replica_number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Rejoin:
    """It does not leave after all."""

    replica_number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Release:
    """Take an extra replica away."""

    replica_number: int
    reason: str


Decision = Advance | Move | Complete | RollBack | Pause | Wait | Surge | Withdraw | Rejoin | Release


@dataclass(frozen=True, kw_only=True)
class Step:
    """What to do now, and the state once it is done; no decisions when a rollout is over and nobody is left behind."""

    state: RolloutState
    decisions: tuple[Decision, ...]


def advance_of(one: Replica, revision: int, reason: str) -> Advance:
    return Advance(replica_number=one.number, to_revision=revision, reason=reason)


def move_of(one: Replica) -> Move:
    return Move(replica_number=one.number, reason=one.leave or "")
