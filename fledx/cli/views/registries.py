"""Registries' logins as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fledx.cli.views.table import table
from fledx.cli.views.text import age, harmless

Json = Mapping[str, Any]


def registry_table(items: Sequence[Json], now: float, *, columns: int | None = None) -> str:
    """One line a registry; passwords never come here."""
    if not items:
        return "No logins. `fledx registries login HOST --username NAME` keeps one, its password on stdin."
    rows = [
        [
            harmless(item["host"]),
            harmless(item["username"]),
            str(item["version"]),
            age(item["updated_at"], now),
            harmless(", ".join(item.get("used_by") or ())) or "-",
            "" if item.get("readable", True) else "sealed with a key that is lost: log in again",
        ]
        for item in items
    ]
    heads = ["REGISTRY", "USERNAME", "VERSION", "CHANGED", "USED BY", ""]
    if not any(row[-1] for row in rows):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    return table(heads, rows, columns=columns)
