"""Who has been silent for how long, and what follows from it; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

MISSED_HEARTBEATS = 3
METERED_HEARTBEAT_SECS = 30.0
LONGEST_NAP = 5.0
"""Seconds between two looks of a loop, beyond its interval, after which it was asleep and not its peers silent."""


class Silence(NamedTuple):
    """
    One node: its stored status, and the seconds since its last sign of life that we were awake to hear.

    ``connected`` says that it has a session, though it may be a silent one; ``limits`` are the times after which its
    deployments want their replicas moved, each once. ``metered`` nodes beat seldom.
    """

    node_id: str
    status: str
    seconds: float
    connected: bool = False
    limits: frozenset[float] = frozenset()
    metered: bool = False


@dataclass(frozen=True, kw_only=True)
class MarkUnreachable:
    """Show that a node does not answer; moves nothing."""

    node_id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class MoveWork:
    """Give a silent node's replicas to others, those of deployments whose limit is one of those ``over``."""

    node_id: str
    over: frozenset[float]
    reason: str


@dataclass(frozen=True, kw_only=True)
class MarkBack:
    """Show that a node answers again, over the session that it has had all along."""

    node_id: str


Action = MarkUnreachable | MarkBack | MoveWork


def heartbeat_of(usual: float, *, metered: bool) -> float:
    """Seconds between the heartbeats of a node."""
    return max(usual, METERED_HEARTBEAT_SECS) if metered else usual


def decide(silences: Iterable[Silence], *, heartbeat_secs: float, move: bool, stale_secs: float = 90.0) -> list[Action]:
    """
    Show a node as unreachable after three missed heartbeats; move its work when its time is up, if at all.

    With a patience (`stale_secs`) that is shorter than that it is shown then, as nothing moves that was not shown; but
    a metered node has the time of its own three heartbeats in every case.
    """
    actions: list[Action] = []
    for each in silences:
        missed = MISSED_HEARTBEATS * heartbeat_of(heartbeat_secs, metered=each.metered)
        shown = missed if each.metered else min(missed, stale_secs)
        if each.status != "unreachable" and each.seconds < shown:
            continue  # almost all of them, each second
        said = f"no sign of life for {each.seconds:.0f} s"
        if each.status in ("ready", "error") and each.seconds >= shown:
            actions.append(MarkUnreachable(node_id=each.node_id, reason=said))
        if each.status == "unreachable" and each.connected and each.seconds < shown:
            actions.append(MarkBack(node_id=each.node_id))
        over = frozenset(limit for limit in each.limits if each.seconds >= max(limit, shown))
        if move and over and each.status == "unreachable":
            reason = f"{said}, over the limit of {max(over):g} s"
            actions.append(MoveWork(node_id=each.node_id, over=over, reason=reason))
    return actions


class Watchfulness:
    """
    Since when we have been listening without a break, in the seconds of a monotonic clock.

    A process that was frozen, or a machine that slept, has heard nothing and must not conclude from that: after such a
    pause, and after our own start, everybody has the full time again.
    """

    def __init__(self, now: float, longest_nap: float) -> None:
        self.since = now
        self._last = now
        self._longest_nap = longest_nap

    def look(self, now: float) -> float:
        """Note one look; since when we have been awake."""
        if now - self._last > self._longest_nap:
            self.since = now
        self._last = now
        return self.since
