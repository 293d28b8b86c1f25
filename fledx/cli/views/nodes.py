"""Nodes as a table, and one of them on a screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fledx.cli.views.serving import gateway_line
from fledx.cli.views.table import fields, painted, table
from fledx.cli.views.text import age, brief, cores, harmless, labels, size

Json = Mapping[str, Any]


def node_table(
    items: Sequence[Json], now: float, *, wide: bool = False, columns: int | None = None, colour: bool = False
) -> str:
    """One row a node; a reason only where one is not well."""
    heads = ["NAME", "STATUS", "SEEN", "ARCH", "CPU", "MEMORY"]
    heads += ["OS", "ADDRESS", "AGENT", "RUNTIME", "AGE", "LABELS"] if wide else []
    heads += ["ID", "REASON"]
    rows = [_row(item, now, wide=wide) for item in items]
    if not any(row[-1] for row in rows):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    return table(heads, rows, columns=None if wide else columns, colour=colour)


def _row(item: Json, now: float, *, wide: bool) -> list[str]:
    capacity = item.get("capacity") or {}
    row = [
        harmless(item.get("name") or "-"),
        state(item),
        age(item.get("last_seen"), now),
        harmless(item.get("arch") or "-"),
        cores(capacity.get("cpu_millis")),
        size(capacity.get("memory_bytes")),
    ]
    if wide:
        row += [harmless(item.get(field) or "-") for field in ("os", "address", "agent_version", "runtime")]
        row += [age(item.get("created_at"), now), labels(item.get("labels"))]
    identity = str(item.get("node_id", "-"))
    return [
        *row,
        harmless(identity if wide else identity[:8]),
        brief(item.get("reason") or item.get("disk_pressure") or ""),
    ]


def state(item: Json) -> str:
    """`ready`, or `ready,cordoned` where the operator wants no more work there."""
    availability = item.get("availability", "active")
    return harmless(item["status"] if availability == "active" else f"{item['status']},{availability}")


def wish(item: Json | None, now: float) -> str:
    """Who wanted it so, since when, and how far a drain is."""
    if not item:
        return ""
    words = [f"by {item['by']} {age(item['since'], now)} ago", str(item.get("reason") or "")]
    words += [f"empty for {age(item['done'], now)}"] if item.get("done") else []
    words += [f"at the latest {item['deadline']}"] if item.get("deadline") and not item.get("done") else []
    return harmless(", ".join(filter(None, words)))


def move_table(moves: Sequence[Json], *, columns: int | None = None) -> str:
    """One row a move, in the order in which they are made."""
    rows = [
        [
            harmless(text)
            for text in (f"{each['deployment']}/{each['replica_number']}", each["from_node"], each["to_node"])
        ]
        + [brief(each["reason"])]
        for each in moves
    ]
    return table(["REPLICA", "FROM", "TO", "REASON"], rows, columns=columns)


def node_screen(
    item: Json, now: float, *, names: Mapping[str, str], columns: int | None = None, colour: bool = False
) -> str:
    """What it is, whether it is well, and what runs there; `names` are the deployments' by id."""
    capacity = item.get("capacity") or {}
    head = f"{harmless(item.get('name') or '-')}  {painted(state(item)) if colour else state(item)}"
    facts = [
        ("why", brief(item.get("reason") or "") or None),
        ("disk", brief(item.get("disk_pressure") or "") or None),
        (str(item.get("availability", "active")), wish(item.get("wish"), now) or None),
        ("id", harmless(item.get("node_id", "-"))),
        ("since", f"{age(item.get('since'), now)} ago" if item.get("since") else None),
        ("last seen", f"{age(item.get('last_seen'), now)} ago" if item.get("last_seen") else "never"),
        ("machine", harmless(f"{item.get('os') or '-'}/{item.get('arch') or '-'}")),
        ("cpu", cores(capacity.get("cpu_millis"))),
        ("memory", size(capacity.get("memory_bytes"))),
        ("labels", labels(item.get("labels"))),
        *[(word, harmless(item.get(field) or "") or None) for word, field in FACTS],
        ("allows", harmless(", ".join(item["allows"])) if item.get("allows") else None),
        ("gateway", gateway_line(item)),
        ("metered", "yes: it beats seldom, and is called unreachable later" if item.get("metered") else None),
        ("joined", f"{age(item.get('created_at'), now)} ago"),
    ]
    parts = [head, fields(facts, indent="  ")]
    if instances := item.get("instances"):
        parts.append(_instances(instances, now, names, columns=columns, colour=colour))
    else:
        parts.append("Nothing runs here.")
    return "\n\n".join(parts)


FACTS = (
    ("address", "address"),
    ("public ip", "public_ip"),
    ("public host", "public_host"),
    ("runtime", "runtime"),
    ("agent", "agent_version"),
)


def _instances(
    items: Sequence[Json], now: float, names: Mapping[str, str], *, columns: int | None, colour: bool
) -> str:
    rows = [
        [
            harmless(f"{names.get(each['deployment_id'], str(each['deployment_id'])[:8])}/{each['replica_number']}"),
            harmless(each["state"]),
            str(each.get("restart_count", 0)),
            age(each.get("started_at"), now),
            harmless(", ".join(each.get("endpoints") or ()) or "-"),
            brief(each.get("message") or ""),
        ]
        for each in items
    ]
    return table(["REPLICA", "STATE", "RESTARTS", "AGE", "ENDPOINTS", "WHY"], rows, columns=columns, colour=colour)
