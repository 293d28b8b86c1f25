"""Where the data of replicas lies, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fledx.cli.views.table import table
from fledx.cli.views.text import age, harmless, size

Json = Mapping[str, Any]
STATES = {"current": "in use", "former": "before the last restore", "left": "left behind"}


def volume_table(items: Sequence[Json], now: float, *, sizes: bool = False, columns: int | None = None) -> str:
    """One line a volume; with `sizes` what lies in each, where that is known."""
    if not items:
        return "No volumes by name. `fledx deployments create --volume NAME:PATH` gives each replica one."
    rows = [
        [
            harmless(item["volume"]),
            harmless(f"{item['deployment']}/{item['replica_number']}"),
            harmless(item["node"]),
            harmless(STATES.get(item["state"], item["state"])),
            *([size(item.get("size_bytes"))] if sizes else ()),
            age(item["created_at"], now),
            harmless(item["name"]),
        ]
        for item in items
    ]
    heads = ["VOLUME", "REPLICA", "NODE", "STATE", *(["SIZE"] if sizes else ()), "AGE", "NAME ON THE NODE"]
    return table(heads, rows, columns=columns)
