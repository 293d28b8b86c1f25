"""Which images may go, and in which order; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fledx.agent.runtime.containers import Image
from fledx.models.image import familiar


@dataclass(frozen=True, kw_only=True)
class Kept:
    """
    What this agent remembers of images.

    ``pulled`` are the names under which it pulled any (by digest, where that is known). ``releases`` has by deployment
    the names that its containers were made from, the present one first. ``digests`` is what a tag stood for last.
    """

    pulled: frozenset[str] = frozenset()
    releases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An image that may go, under the name by which it was pulled, and why; ``size`` in bytes."""

    name: str
    size: int
    reason: str


SPARED = 2
"""The present release of a deployment, and the one before it, to which it may go back."""


def candidates(
    kept: Kept, images: Sequence[Image], *, wanted: Collection[str], used: Collection[str]
) -> list[Candidate]:
    """
    What may be removed, in this order: what no deployment of this node needs any more, then old releases.

    `wanted` are the names of images that replicas of this node are to run, `used` those of containers that are there.
    Only what this agent has pulled is named at all, and of a deployment that is still here neither the present release
    nor the one to go back to.
    """
    releases = kept.releases.values()
    spared = {name for names in releases for name in names[:SPARED]} | set(wanted) | set(used)
    old = dict.fromkeys(name for names in releases for name in reversed(names[SPARED:]))
    orphans = sorted(kept.pulled - spared - set(old))
    found = _sized(orphans, images, "no deployment of this node needs it")
    return [*found, *_sized([name for name in old if name in kept.pulled - spared], images, "an old release")]


def _sized(names: Iterable[str], images: Sequence[Image], reason: str) -> Iterator[Candidate]:
    """Those that the engine has; an image that somebody has given a name besides is not ours alone."""
    for name in names:
        image = next((each for each in images if _has(each, name)), None)
        if image is not None and len(image.tags) <= ("@" not in name):
            yield Candidate(name=name, size=image.size, reason=reason)


def _has(image: Image, name: str) -> bool:
    repository, at, digest = name.partition("@")
    own = f"{familiar(repository)}{at}{digest}"
    return own in {*image.tags, *image.digests}
