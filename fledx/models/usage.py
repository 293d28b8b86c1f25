"""What one replica used in one minute, as it travels and as it is shown."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import Any

from fledx.errors import InvalidSpec
from fledx.models.moment import stamp

FIGURES = (
    "cpu_percent",
    "memory_bytes",
    "network_rx_bytes",
    "network_tx_bytes",
    "blk_read_bytes",
    "blk_write_bytes",
)
MAX_MINUTES = 2000
"""In one message: at most 100 KiB of it."""
MAX_UNPACKED = 1024 * 1024
MOST = 2**32
PRECISION = 100
"""Hundredths of a percent of a core are as fine as a sample is."""


@dataclass(frozen=True, kw_only=True)
class Minute:
    """
    Averages over some samples of one minute of one replica; another message may bring more samples of it.

    ``minute`` counts minutes since 1970, ``figures`` are in the order of `FIGURES`.
    """

    deployment_id: str
    replica_number: int
    minute: int
    samples: int
    figures: tuple[float, ...]


def pack(minutes: Iterable[Minute]) -> bytes:
    """
    By replica, each column as differences from one minute to the next, in JSON, deflated.

    Most figures of most minutes are those of the minute before: ten idle replicas take 1 to 2 bytes a figure that moves
    and a fraction of one for any other, where samples written out took 300 bytes each.
    """
    ordered = sorted(minutes, key=lambda each: (each.deployment_id, each.replica_number, each.minute))
    rows = [
        [key[0], key[1], *map(_differences, _columns(list(group)))]
        for key, group in groupby(ordered, key=lambda each: (each.deployment_id, each.replica_number))
    ]
    return zlib.compress(json.dumps(rows, separators=(",", ":")).encode(), 9)


def unpack(packed: bytes) -> list[Minute]:
    """What was packed; InvalidSpec for anything else, and for more than fits a message."""
    try:
        inflating = zlib.decompressobj()
        text = inflating.decompress(packed, MAX_UNPACKED)
        if not inflating.eof:
            raise ValueError("it is longer than a message may be")
        found = [minute for row in json.loads(text) for minute in _minutes(row)]
    except (zlib.error, ValueError, TypeError, IndexError, RecursionError, OverflowError) as problem:
        raise InvalidSpec("minutes", f"this is not usage: {str(problem)[:200]}") from None
    if len(found) > MAX_MINUTES:
        raise InvalidSpec("minutes", f"{len(found)} of them are more than {MAX_MINUTES}")
    return found


def _columns(minutes: Sequence[Minute]) -> Iterator[list[int]]:
    yield [each.minute for each in minutes]
    yield [each.samples for each in minutes]
    for index, name in enumerate(FIGURES):
        scale = PRECISION if name == "cpu_percent" else 1
        yield [round(each.figures[index] * scale) for each in minutes]


def _differences(column: Sequence[int]) -> list[int]:
    return [column[0], *(after - before for before, after in pairwise(column))]


def _minutes(row: Sequence[Any]) -> Iterator[Minute]:
    deployment_id, number, *columns = row
    if not isinstance(deployment_id, str) or len(columns) != 2 + len(FIGURES):
        raise ValueError("a replica's columns are missing")
    when, samples, cpu, *others = ([int(value) for value in accumulate(column)] for column in columns)
    for minute, count, hundredths, *figures in zip(when, samples, cpu, *others, strict=True):
        found = (hundredths / PRECISION, *map(float, figures))
        if not (0 < count < MOST and 0 <= minute < MOST and 0 <= int(number) < MOST):
            raise ValueError("a number is out of range")
        if not all(0 <= figure < 2**63 for figure in found):
            raise ValueError("a figure is out of range")
        yield Minute(
            deployment_id=deployment_id, replica_number=int(number), minute=minute, samples=count, figures=found
        )


@dataclass(frozen=True, kw_only=True)
class Usage:
    """
    Averages over the samples of the minute that begins at ``bucket_start``.

    CPU in percent of one core; memory without the page cache; network and block bytes are counters since the
    container's start. ``deployment`` and ``node`` are names, None once they are deleted.
    """

    deployment_id: str
    node_id: str
    replica_number: int
    bucket_start: str
    samples: int
    avg_cpu_percent: float
    avg_memory_bytes: int
    avg_network_rx_bytes: int
    avg_network_tx_bytes: int
    avg_blk_read_bytes: int
    avg_blk_write_bytes: int
    deployment: str | None = None
    node: str | None = None

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Usage:
        """A stored minute; `bucket_start` is in unix seconds there."""
        figures = {f"avg_{name}": round(row[name], 2 if name == "cpu_percent" else None) for name in FIGURES}
        return cls(
            deployment_id=row["deployment_id"],
            node_id=row["node_id"],
            replica_number=row["replica_number"],
            bucket_start=stamp(row["bucket_start"]),
            samples=row["samples"],
            deployment=row.get("deployment"),
            node=row.get("node"),
            **figures,
        )
