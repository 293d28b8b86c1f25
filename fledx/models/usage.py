"""What one replica used in one minute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fledx.models.moment import stamp

FIGURES = (
    "cpu_percent",
    "memory_bytes",
    "network_rx_bytes",
    "network_tx_bytes",
    "blk_read_bytes",
    "blk_write_bytes",
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
