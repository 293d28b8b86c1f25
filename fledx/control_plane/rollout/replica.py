"""A replica as a rollout sees it."""

from __future__ import annotations

from dataclasses import dataclass

from fledx.models.instance import Instance


@dataclass(frozen=True, kw_only=True)
class Replica:
    """
    One replica that has an owner.

    ``revision`` and ``fence`` are its assignment's, ``template`` is the hash that its container has when it runs that
    revision. ``present_since`` says since when its node has been in touch without a break; None while that is away. A
    control plane that was itself away, or whose clock has jumped, begins it anew: no deadline runs out in such a gap.
    ``seen`` is what its owner last reported, ``ready_since`` since when that has been ready without a break. ``leave``
    says why it must go to another node, ``leave_now`` that nothing else is waited for any more. ``leaving_since`` is
    since when it has been withdrawn.
    """

    number: int
    node: str
    revision: int
    fence: int
    template: str
    present_since: float | None
    seen: Instance | None = None
    ready_since: float | None = None
    leave: str | None = None
    leave_now: bool = False
    leaving_since: float | None = None


def has_new_container(one: Replica) -> bool:
    """Whether what was seen last is the container that its assignment asks for."""
    return one.seen is not None and one.seen.template == one.template and one.seen.fence == one.fence


def serves(one: Replica) -> bool:
    """Whether the replica serves as its assignment says."""
    return one.seen is not None and one.seen.ready and has_new_container(one)
