"""A deployment's history as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fledx.cli.views.table import table
from fledx.cli.views.text import age, brief, harmless

Json = Mapping[str, Any]


def revision_table(items: Sequence[Json], now: float, *, columns: int | None = None, colour: bool = False) -> str:
    """One row a revision, the one that is wanted now marked by `*`."""
    heads = ["REVISION", "STATUS", "AGE", "BY", "IMAGE", "CHANGED", "REASON"]
    rows = [
        [
            f"{item['revision']}{'*' if item.get('current') else ''}",
            harmless(item["state"]),
            age(item.get("created_at"), now),
            harmless(item["created_by"]),
            _image(item),
            harmless(", ".join(item.get("changed") or ()) or "-"),
            brief(item.get("reason") or ""),
        ]
        for item in items
    ]
    return table(heads, rows, columns=columns, colour=colour)


def _image(item: Json) -> str:
    """As it was asked for, and what the tag stood for."""
    digest = item.get("digest")
    return harmless(item["image"] if digest is None else f"{item['image']} ({digest[:19]})")
