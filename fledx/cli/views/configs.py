"""Configs and secrets as tables, and one config on a screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fledx.cli.views.table import fields, table
from fledx.cli.views.text import age, harmless

Json = Mapping[str, Any]


def config_table(items: Sequence[Json], now: float, *, wide: bool = False, columns: int | None = None) -> str:
    """One line a config."""
    if not items:
        return "No configs. `fledx configs create NAME --var KEY=VALUE` makes one."
    rows = []
    for item in items:
        about = item["metadata"]
        rows.append(
            [
                harmless(about["name"]),
                str(about["version"]),
                str(item["entry_count"]),
                str(item["file_count"]),
                age(about["updated_at"], now),
                harmless(about["config_id"] if wide else about["config_id"][:8]),
            ]
        )
    return table(["NAME", "VERSION", "ENTRIES", "FILES", "CHANGED", "ID"], rows, columns=columns)


def config_screen(item: Json, now: float) -> str:
    """All of one config; where a value is a secret's, the secret's name."""
    about = item["metadata"]
    head = [
        ("name", harmless(about["name"])),
        ("id", harmless(about["config_id"])),
        ("version", f"{about['version']}, {age(about['updated_at'], now)} ago"),
        ("deployments", harmless(", ".join(item.get("deployments") or ())) or "none"),
        ("nodes", harmless(", ".join(item.get("nodes") or ())) or "none"),
    ]
    parts = [fields(head)]
    if entries := item.get("entries"):
        parts.append("\n".join(["entries", *(f"  {_entry(entry)}" for entry in entries)]))
    if files := item.get("files"):
        parts.append("\n".join(["files", *(f"  {_file(file)}" for file in files)]))
    return "\n\n".join(parts)


def _entry(entry: Json) -> str:
    if entry.get("secret_ref") is not None:
        return f"{harmless(entry['key'])} = secret {harmless(entry['secret_ref'])}"
    return f"{harmless(entry['key'])} = {harmless(entry.get('value', ''))}"


def _file(file: Json) -> str:
    if file.get("file_ref") is not None:
        return f"{harmless(file['path'])}: secret {harmless(file['file_ref'])}"
    content = file.get("content")
    size = len(content.encode()) if content is not None else len(file.get("content_base64") or "") * 3 // 4
    return f"{harmless(file['path'])}: {size} bytes"


def attachment_line(item: Json, target: str) -> str:
    """How a config stands to a deployment or node now."""
    word = "attached to" if item.get("attached") else "not attached to"
    about = item["metadata"]
    return f"{harmless(about['name'])} (version {about['version']}) is {word} {harmless(target)}"


def secret_table(items: Sequence[Json], now: float, *, columns: int | None = None) -> str:
    """One line a secret; values never come here."""
    if not items:
        return "No secrets. `fledx secrets set NAME` makes one, its value on stdin."
    rows = [
        [
            harmless(item["name"]),
            str(item["version"]),
            age(item["updated_at"], now),
            harmless(", ".join(item.get("used_by") or ())) or "-",
            "" if item.get("readable", True) else "sealed with a key that is lost: set it again",
        ]
        for item in items
    ]
    heads = ["NAME", "VERSION", "CHANGED", "USED BY", ""]
    if not any(row[-1] for row in rows):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    return table(heads, rows, columns=columns)


def environment_screen(item: Json) -> str:
    """Where each variable and file of a replica is from, values masked."""
    where = f" on {harmless(item['node'])}" if item.get("node") else ""
    head = f"{harmless(item['name'])}/{item['replica_number']}{where}, revision {item['revision']}"
    rows = [[harmless(each["name"]), _filled(each), harmless(each["origin"])] for each in item.get("variables") or ()]
    files = [[harmless(each["name"]), _filled(each), harmless(each["origin"])] for each in item.get("files") or ()]
    parts = [head]
    parts += [table(["VARIABLE", "VALUE", "FROM"], rows)] if rows else ["No variables."]
    parts += [table(["FILE", "CONTENT", "FROM"], files)] if files else []
    return "\n\n".join(parts)


def _filled(each: Json) -> str:
    if each.get("secret") is None:
        return harmless(each.get("value") or "of a config")
    note = (", optional" if each.get("optional") else "") + (", missing" if each.get("missing") else "")
    return f"secret {harmless(each['secret'])}{note}"
