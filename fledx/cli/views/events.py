"""What happened, as a table and as lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fledx.cli.views.table import table
from fledx.cli.views.text import age, brief, harmless

Json = Mapping[str, Any]


def event_table(items: Sequence[Json], now: float, *, columns: int | None = None, wide: bool = False) -> str:
    """Oldest first, as one reads."""
    heads = ["AT" if wide else "AGO", "EVENT", "OF", "WHY"]
    rows = [
        [harmless(item["at"]) if wide else age(item["at"], now), harmless(item["kind"]), subject(item), _why(item)]
        for item in items
    ]
    return table(heads, rows, columns=None if wide else columns)


def subject(item: Json) -> str:
    """`web/0` for a replica, else the name of the deployment or node."""
    number = item.get("replica_number")
    return harmless(item.get("subject", "-")) + ("" if number is None else f"/{number}")


def _why(item: Json) -> str:
    return brief(item.get("reason", ""))


def event_line(item: Json) -> str:
    """One event on one line, with its moment."""
    return f"{harmless(item['at'])}  {harmless(item['kind'])}  {subject(item)}  {_why(item)}".rstrip()
