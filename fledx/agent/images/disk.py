"""Watches the disk that Docker keeps images on: stops pulls before it is full, and cleans up what nobody needs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass

import anyio

from fledx.agent.clock import Clock, Wake
from fledx.agent.images.cleaning import Candidate, candidates
from fledx.agent.images.records import Records
from fledx.agent.runtime.base import ImageStore
from fledx.agent.runtime.containers import PullFailed
from fledx.errors import FledxError

logger = logging.getLogger(__name__)
LOOK_SECS = 60.0
LOW_LOOK_SECS = 10.0
"""Between two looks while space is short: somebody is waiting for it."""
AMPLE = 1.1
"""So many times the reserve must be free before pulls go on, so that they do not stop and go."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """
    ``reserve`` bytes stay free: below that nothing is pulled. Above ``clean_percent`` of use images are removed that
    no revision needs; 100 turns that off, as 0 does with the reserve.
    """

    reserve: int
    clean_percent: int


@dataclass(frozen=True, kw_only=True)
class Space:
    """What a file system has, what is taken of it, and what an ordinary user may still write, in bytes."""

    root: str
    total: int
    free: int
    taken: int

    @property
    def used_percent(self) -> float:
        """As `df` shows it: what only root may write counts neither way."""
        return 100.0 * self.taken / (self.taken + self.free) if self.taken else 0.0

    def __str__(self) -> str:
        return f"{_size(self.free)} of {_size(self.total)} free at {self.root}"


def measure(root: str) -> Space | None:
    """The space below a directory, None where this process cannot see it: then the engine is elsewhere."""
    try:
        found = os.statvfs(root)
    except OSError:
        return None
    total, taken = found.f_blocks * found.f_frsize, (found.f_blocks - found.f_bfree) * found.f_frsize
    return Space(root=root, total=total, free=found.f_bavail * found.f_frsize, taken=taken)


@dataclass(frozen=True, kw_only=True)
class InUse:
    """Names of images that replicas of this node are to run, and those of containers that are there."""

    wanted: Collection[str]
    used: Collection[str]


class Disk:
    """
    The guard; ``pressure`` says why nothing is pulled, None while all is well.

    `tell` hears what was done and what has changed, as a sentence; `eased` is called when there is room again.
    """

    def __init__(
        self,
        images: ImageStore,
        records: Records,
        clock: Clock,
        limits: Limits,
        *,
        in_use: Callable[[], InUse],
        tell: Callable[[str], None],
        eased: Callable[[], None],
        measured: Callable[[str], Space | None] = measure,
    ) -> None:
        self.pressure: str | None = None
        self._images = images
        self._records = records
        self._clock = clock
        self._limits = limits
        self._in_use = in_use
        self._tell = tell
        self._eased = eased
        self._measured = measured
        self._root: str | None = None
        self._wake = Wake()
        self._cleaning = anyio.Lock()

    async def run(self) -> None:
        """Look now and then until cancelled."""
        while True:
            try:
                await self.look()
            except FledxError as problem:
                logger.debug("the disk could not be looked at", extra={"reason": problem.text})
            await self._records.store()
            await self._clock.wait(self._wake, LOW_LOOK_SECS if self.pressure else LOOK_SECS)

    def soon(self) -> None:
        """Look, and write down what is to be kept, before long."""
        self._wake.ring()

    async def look(self) -> None:
        """Clean up if that is due, and say whether there is room."""
        space = await self._space()
        if space is not None and self._due(space):
            space = await self._clean(space)
        self._judge(space)

    async def admit(self, image: str) -> None:
        """Before a pull: raises PullFailed when there is no room, even after cleaning up."""
        await self.look()
        if self.pressure is not None:
            raise self._full(image, self.pressure)

    def room(self, image: str) -> Callable[[int], None]:
        """During a pull of this image: what is asked with the bytes still to come."""

        def check(missing: int) -> None:
            space = self._measured(self._root) if self._root else None
            if space is None or not self._limits.reserve:
                return
            if space.free - missing < self._limits.reserve:
                more = f"{_size(missing)} more to fetch, and " if missing else ""
                self._wake.ring()
                raise self._full(image, f"{more}{space}, of which {_size(self._limits.reserve)} stay free")

        return check

    def _full(self, image: str, why: str) -> PullFailed:
        hint = "free some; FLEDX_AGENT_DISK_RESERVE_BYTES says how much stays free"
        return PullFailed("no_space", f"image {image}: it is not pulled, as the disk is nearly full: {why}", hint=hint)

    async def _space(self) -> Space | None:
        if self._root is None:
            self._root = await self._images.data_root()
        return self._measured(self._root) if self._root else None

    def _due(self, space: Space) -> bool:
        full = self._limits.clean_percent < 100 and space.used_percent > self._limits.clean_percent
        return full or self._short(space)

    def _short(self, space: Space) -> bool:
        return space.free < self._limits.reserve * (AMPLE if self.pressure else 1)

    def _judge(self, space: Space | None) -> None:
        short = space is not None and self._short(space)
        if short == (self.pressure is not None):
            return
        if short:
            self.pressure = f"{space}, and {_size(self._limits.reserve)} are kept free: no image is pulled"
            self._tell(f"the disk is nearly full: {self.pressure}")
        else:
            self.pressure = None
            self._tell(f"there is room on the disk again: {space}")
            self._eased()

    async def _clean(self, space: Space) -> Space | None:
        """Remove one after the other until there is enough room; nothing that somebody waits for is held up long."""
        async with self._cleaning:
            now: Space | None = self._measured(space.root)
            for each in await self._candidates() if now is not None and self._due(now) else ():
                if await self._images.remove_image(each.name):
                    self._records.removed([each.name])
                    self._tell(f"removed image {each.name} ({_size(each.size)}): {each.reason}; {now} before")
                now = self._measured(space.root)
                if now is None or not self._due(now):
                    break
            return now

    async def _candidates(self) -> list[Candidate]:
        in_use = self._in_use()
        return candidates(self._records.kept, await self._images.all_images(), wanted=in_use.wanted, used=in_use.used)


def _size(count: int) -> str:
    """`310 MB`, `16.0 GB`."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}" if count < 10 * unit else f"{count / unit:.0f} {name}"
    return f"{count} B"
