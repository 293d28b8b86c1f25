"""Troubles of a real fleet, in an order that is drawn from a seed; pure but for the small disks."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bed.commands import run

NODES = ("e1", "e2")
OF_NODES = ("agent killed", "agent frozen", "agent's disk full", "link cut", "container removed by hand")
OF_ENGINES = ("engine frozen", "engine killed", "engine restarted")
OF_CONTROL_PLANE = ("control plane killed", "control plane frozen", "control plane's disk full")
SCALED = "scaled"
LONGEST_SECS = 4.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """One trouble: of what, begun so many seconds into its round, ended so many seconds later."""

    trouble: str
    target: str
    begin: float
    seconds: float
    replicas: int = 0

    def __str__(self) -> str:
        what = f"{self.trouble} to {self.replicas}" if self.replicas else f"{self.trouble} ({self.target})"
        return f"{self.begin:.1f} s: {what} for {self.seconds:.1f} s"


def rounds(seed: int) -> Iterator[list[Step]]:
    """Rounds of one to three troubles that overlap, for ever the same for a seed; no two of a kind hit one target."""
    chance = random.Random(seed)
    while True:
        steps: list[Step] = []
        for _ in range(chance.randint(1, 3)):
            step = _step(chance)
            if all((each.target, _kind(each)) != (step.target, _kind(step)) for each in steps):
                steps.append(step)
        yield sorted(steps, key=lambda step: step.begin)


def _step(chance: random.Random) -> Step:
    trouble = chance.choice((*OF_NODES, *OF_ENGINES, *OF_CONTROL_PLANE, SCALED))
    target = "cp" if trouble in (*OF_CONTROL_PLANE, SCALED) else chance.choice(NODES)
    return Step(
        trouble=trouble,
        target=target,
        begin=chance.uniform(0, 2),
        seconds=chance.uniform(0.3, LONGEST_SECS),
        replicas=chance.randint(1, 4) if trouble == SCALED else 0,
    )


def _kind(step: Step) -> str:
    """Troubles that get in each other's way: of processes, of disks, of engines and what runs in them, of the cable."""
    word = step.trouble.split()[-1]
    if step.trouble in OF_ENGINES or word == "hand":
        return "engine"
    return "process" if word in ("killed", "frozen", SCALED) else word


@contextmanager
def small_disk(image: Path, place: Path, *, megabytes: int) -> Iterator[None]:
    """A file system of its own in a file, mounted there."""
    with image.open("wb") as file:
        file.truncate(megabytes * 1024 * 1024)
    run("mkfs.ext4", "-q", "-m", "0", image)
    place.mkdir(parents=True, exist_ok=True)
    run("mount", "-o", "loop", image, place)
    try:
        yield
    finally:
        run("umount", "-l", place)


def fill(place: Path) -> None:
    """Leave no room on its file system."""
    with contextlib.suppress(OSError), (place / "filler").open("ab", buffering=0) as file:
        for size in (65536, 1024, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
