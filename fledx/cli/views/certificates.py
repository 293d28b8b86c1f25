"""Gateways' certificates as a table, and one of them on a screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fledx.cli.views.table import fields, table
from fledx.cli.views.text import age, harmless
from fledx.models.moment import unix

Json = Mapping[str, Any]
FEW = 2


def certificate_table(items: Sequence[Json], now: float, *, columns: int | None = None) -> str:
    """One line a certificate; keys never come here."""
    if not items:
        return "No certificates. `fledx certificates create NAME --cert FILE --key FILE` keeps one."
    rows = [
        [
            harmless(item["name"]),
            _hosts(item["hosts"]),
            _left(item["not_after"], now),
            harmless(", ".join(item.get("used_by") or ())) or "-",
            harmless(item.get("warning") or ""),
        ]
        for item in items
    ]
    heads = ["NAME", "HOSTS", "ENDS IN", "USED BY", "NOTE"]
    if not any(row[-1] for row in rows):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    return table(heads, rows, columns=columns)


def certificate_screen(item: Json, now: float) -> str:
    """All that is told of one."""
    shown_for = item.get("shown_for") or ()
    return fields(
        [
            ("name", harmless(item["name"])),
            ("hosts", harmless(", ".join(item["hosts"]))),
            ("shown for", harmless(", ".join(shown_for)) or "none"),
            ("used by", harmless(", ".join(item.get("used_by") or ())) or "none"),
            ("issuer", harmless(item["issuer"])),
            ("valid", f"{harmless(item['not_before'])} to {harmless(item['not_after'])}"),
            ("fingerprint", harmless(item["fingerprint"])),
            ("version", f"{item['version']}, {age(item['updated_at'], now)} ago"),
            ("note", harmless(item["warning"]) if item.get("warning") else None),
        ]
    )


def _hosts(hosts: Sequence[str]) -> str:
    more = f", +{len(hosts) - FEW}" if len(hosts) > FEW else ""
    return harmless(", ".join(hosts[:FEW])) + more


def _left(not_after: str, now: float) -> str:
    days = int((unix(not_after) - now) // 86400)
    return "ended" if unix(not_after) <= now else f"{days}d"
