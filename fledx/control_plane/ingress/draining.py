"""
When an instance behind gateways may be taken down: look at its deployment, decide who is offered to them and how.

An instance that is to go is first offered no more: gateways get it as draining, and its own agent is told to leave it
alone (`Offer.hold`) until every gateway has nothing under way there. The last one that serves waits before that until
another is in what every gateway serves, if another is to come. Nothing waits for ever, nor for a gateway that is away.
All times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

REPLACEMENT_SECONDS = 60.0
"""So long the last one that serves waits for another, such as one on another node that pulls its image first."""
SLACK_SECONDS = 5.0
"""So much longer an agent holds by itself, should it hear nothing more."""

Key = tuple[int, str, int, str]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """
    One instance that runs: its owner's fence and template as observed, not as wanted.

    ``stays`` says that it is what its node is to run, ``leaving`` that a rollout has withdrawn it. ``ready`` counts
    only while its node is in touch. ``addresses`` are ``host:port`` by container port.
    """

    replica_number: int
    node_id: str
    fence: int
    template: str
    ready: bool
    stays: bool
    leaving: bool = False
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """Which container this is."""
        return self.replica_number, self.node_id, self.fence, self.template


@dataclass(frozen=True, kw_only=True)
class Offer:
    """
    One instance as gateways are told of it.

    ``live`` once every gateway that counts has had it. ``going_since`` is since when it is to go, ``draining_since``
    since when it gets nothing new. ``hold`` is how many seconds its agent is to leave it alone, None where that has
    nothing to do with it.
    """

    replica_number: int
    node_id: str
    fence: int
    template: str
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    live: bool = False
    going_since: float | None = None
    draining_since: float | None = None
    hold: float | None = None

    @property
    def key(self) -> Key:
        """Which container this is."""
        return self.replica_number, self.node_id, self.fence, self.template

    @property
    def passing(self) -> bool:
        """Whether time or a gateway's word may change it."""
        return self.going_since is not None or not self.live


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """
    One gateway that counts: it is connected and serves.

    ``caught_up`` says that it serves the newest of this deployment, ``drained`` names the backends and containers that
    have nothing under way there.
    """

    node_id: str
    caught_up: bool
    drained: frozenset[tuple[str, int, int, str]] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Look:
    """
    What is known of one deployment and its gateways.

    ``coming`` are node and replica number of all that are to run; ``backends`` the names under which gateways know the
    deployment. ``grace`` bounds a drain, in seconds.
    """

    seen: Sequence[Seen]
    coming: Collection[tuple[str, int]] = ()
    backends: Collection[str] = ()
    gateways: Sequence[Gateway] = ()
    now: float
    grace: float = 10.0


def next_offers(before: Iterable[Offer], look: Look) -> tuple[Offer, ...]:
    """Who is offered from now on, by replica number and node; `before` are those that gateways were told of so far."""
    had = {offer.key: offer for offer in before}
    kept: list[Offer] = []
    for seen in look.seen:
        offer = had.get(seen.key)
        if seen.stays and not seen.leaving:
            kept += [_staying(offer, seen, look)] if seen.ready else []
        elif offer is not None and (seen.ready or offer.draining_since is not None):
            kept.append(_going(offer, seen, look))
    leave_now = _may_drain(kept, look)
    decided = [_drained(offer, look) if offer.key in leave_now else offer for offer in kept]
    return tuple(sorted((offer for offer in decided if offer is not None), key=lambda offer: offer.key))


def _staying(offer: Offer | None, seen: Seen, look: Look) -> Offer:
    """One that serves on; all that was offered before is known to a gateway that has caught up."""
    known = offer is not None and (offer.live or all(gateway.caught_up for gateway in look.gateways))
    return Offer(
        replica_number=seen.replica_number,
        node_id=seen.node_id,
        fence=seen.fence,
        template=seen.template,
        addresses=seen.addresses,
        live=known or not look.gateways,
    )


def _going(offer: Offer, seen: Seen, look: Look) -> Offer:
    """One that is to go; it is held where its agent would take it down otherwise."""
    hold = None if seen.stays else REPLACEMENT_SECONDS + look.grace + SLACK_SECONDS
    since = look.now if offer.going_since is None else min(offer.going_since, look.now)
    return replace(offer, going_since=since, hold=hold)


def _may_drain(kept: Sequence[Offer], look: Look) -> set[Key]:
    """Those that are to go and need not wait for another to serve first."""
    going = [offer for offer in kept if offer.going_since is not None]
    staying = [offer for offer in kept if offer.going_since is None]
    if not look.gateways or any(offer.live for offer in staying) or not (staying or _hope(kept, look)):
        return {offer.key for offer in going}
    return {
        offer.key
        for offer in going
        if offer.draining_since is not None or look.now - (offer.going_since or look.now) >= REPLACEMENT_SECONDS
    }


def _hope(kept: Sequence[Offer], look: Look) -> bool:
    """Whether a replica is still to come that does not need the place of one that is held."""
    places = {(offer.node_id, offer.replica_number) for offer in kept}
    return any(place not in places for place in look.coming)


def _drained(offer: Offer, look: Look) -> Offer | None:
    """Drain it; None once nothing holds it any more and its agent takes it down."""
    since = look.now if offer.draining_since is None else min(offer.draining_since, look.now)
    over = look.now - since >= look.grace or all(_idle_at(gateway, offer, look) for gateway in look.gateways)
    if over and offer.hold is not None:
        return None
    return replace(offer, draining_since=since, hold=None if offer.hold is None else look.grace + SLACK_SECONDS)


def _idle_at(gateway: Gateway, offer: Offer, look: Look) -> bool:
    number, _, fence, template = offer.key
    return all((backend, number, fence, template) in gateway.drained for backend in look.backends)
