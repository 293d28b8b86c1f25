"""Operators' tokens and the audit log, as tables and as lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fledx.cli.views.table import table
from fledx.cli.views.text import age, brief, counted, harmless

Json = Mapping[str, Any]


#: What is written down of these is no state that a thing has then, but all there is to say.
ENTERED = ("deployment.exec", "deployment.forward")


def token_table(items: Sequence[Json], now: float, *, wide: bool = False, columns: int | None = None) -> str:
    """One line a token."""
    if not items:
        return "No tokens but those of the settings. `fledx tokens create NAME` makes one."
    heads = ["NAME", "ROLE", "STATE", "USED", "AGE", *(["BY"] if wide else []), "ID"]
    rows = []
    for item in items:
        identity = str(item["token_id"])
        rows.append(
            [
                harmless(item["name"]),
                harmless(item["role"]),
                token_state(item, now),
                age(item.get("last_used_at"), now),
                age(item["created_at"], now),
                *([harmless(item["created_by"])] if wide else []),
                harmless(identity if wide else identity[:8]),
            ]
        )
    return table(heads, rows, columns=columns)


def token_state(item: Json, now: float) -> str:
    """`good`, `good until ...`, `expired` or `revoked`."""
    from fledx.errors import InvalidSpec
    from fledx.models.moment import unix

    if item.get("revoked_at"):
        return "revoked"
    end = item.get("expires_at")
    if end is None:
        return "good"
    try:
        return "expired" if unix(end) <= now else f"good until {harmless(str(end)[:16])}Z"
    except InvalidSpec:
        return f"good until {harmless(end)}"


def audit_table(items: Sequence[Json], now: float, *, wide: bool = False, columns: int | None = None) -> str:
    """Oldest first, as one reads."""
    heads = ["NO", "AT" if wide else "AGO", "WHO", *(["ROLE", "FROM", "REQUEST"] if wide else []), "DID", "TO", "WHAT"]
    rows = []
    for item in items:
        more = ("operator_role", "source", "request_id")
        rows.append(
            [
                str(item["number"]),
                harmless(item["created_at"]) if wide else age(item["created_at"], now),
                harmless(item["operator"]),
                *([harmless(item.get(field) or "-") for field in more] if wide else []),
                harmless(item["action"]),
                harmless(item.get("resource_name") or item.get("resource_id") or "-"),
                what(item),
            ]
        )
    return table(heads, rows, columns=None if wide else columns)


def what(item: Json) -> str:
    """Why it failed, which fields changed to what, or what was done inside a replica."""
    if item["status"] != "success":
        return f"failed: {brief(item.get('payload') or 'no reason was kept')}"
    before, after = item.get("before") or {}, item.get("after") or {}
    if not before:
        entered = item["action"].removesuffix("_end") in ENTERED
        return ", ".join(f"{harmless(key)}: {_short(value)}" for key, value in after.items()) if entered else ""
    return ", ".join(
        f"{harmless(key)}: {_short(before.get(key))} -> {_short(after.get(key))}" for key in before | after
    )


def _short(value: Any) -> str:
    text = "-" if value is None else value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return harmless(text if len(text) <= 40 else text[:39] + "…")


def audit_line(item: Json) -> str:
    """One line of the log on one line, with its moment."""
    parts = [item["created_at"], item["operator"], item["action"], item.get("resource_name") or "-"]
    return "  ".join([*(harmless(part) for part in parts), what(item)]).rstrip()


def verdict(found: Json) -> str:
    """What a check of the chain has found, in one line."""
    if not found["intact"]:
        return f"the audit log was tampered with: {harmless(found.get('fault') or 'it does not hold')}"
    if not found["lines"]:
        return "the audit log is empty"
    lines = f"{counted(found['lines'], 'line')}, {found['first']} to {found['last']}"
    return f"the audit log is whole: {lines}; its end is {harmless(found['digest'])}"
