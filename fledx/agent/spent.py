"""What instances have used and the control plane has not been told yet, as averages of minutes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fledx.models.usage import FIGURES, MAX_MINUTES, Minute

MOST_MINUTES = 5000
"""Eight hours of ten instances; what is older gives way when a node is away for longer."""

Slot = tuple[str, int, int]


class Spent:
    """Each sample is in exactly one `Minute` that is taken: one taken before its minute was over has another part."""

    def __init__(self) -> None:
        self._slots: dict[Slot, tuple[int, tuple[float, ...]]] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, samples: Sequence[Mapping[str, Any]]) -> None:
        """Samples as `Sampler` makes them."""
        for sample in samples:
            slot = sample["deployment_id"], sample["replica_number"], sample["minute"]
            count, sums = self._slots.get(slot, (0, (0.0,) * len(FIGURES)))
            figures = (float(sample[name] or 0) for name in FIGURES)
            self._slots[slot] = count + 1, tuple(sum_ + more for sum_, more in zip(sums, figures, strict=True))
        for slot in list(self._slots)[: max(0, len(self._slots) - MOST_MINUTES)]:
            del self._slots[slot]

    def batches(self) -> Iterator[list[Minute]]:
        """All of it in pieces that fit a message, the oldest first; each stays here until it is `told`."""
        slots = list(self._slots)
        for start in range(0, len(slots), MAX_MINUTES):
            yield [self._minute(slot) for slot in slots[start : start + MAX_MINUTES]]

    def told(self, batch: Sequence[Minute]) -> None:
        """This piece has been sent."""
        for each in batch:
            self._slots.pop((each.deployment_id, each.replica_number, each.minute), None)

    def _minute(self, slot: Slot) -> Minute:
        count, sums = self._slots[slot]
        return Minute(
            deployment_id=slot[0],
            replica_number=slot[1],
            minute=slot[2],
            samples=count,
            figures=tuple(sum_ / count for sum_ in sums),
        )
