"""How a deployment is served to the world, and how a node does as a gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fledx.cli.views.table import painted, table
from fledx.cli.views.text import brief, harmless

Json = Mapping[str, Any]


def serving_lines(item: Json) -> list[tuple[str, str | None]]:
    """Field and text of a deployment's URLs, and of what is in the way."""
    serving = item.get("serving") or {}
    urls = ", ".join(harmless(url) for url in serving.get("urls") or ())
    return [("url", urls or None), ("not served", brief(serving.get("reason") or "") or None)]


def gateway_table(item: Json, *, columns: int | None = None, colour: bool = False) -> str | None:
    """One row a gateway: its state, and which way it reaches each replica."""
    found = (item.get("serving") or {}).get("gateways") or ()
    if not found:
        return None
    rows = [
        [
            harmless(each["node"]),
            painted(harmless(each["state"])) if colour else harmless(each["state"]),
            ", ".join(f"{harmless(number)} {harmless(way)}" for number, way in _in_order(each.get("ways"))) or "-",
            _note(each),
        ]
        for each in found
    ]
    heads = ["GATEWAY", "STATE", "REACHES REPLICA", "NOTE"]
    if not any(row[-1] for row in rows):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    return table(heads, rows, columns=columns)


def _in_order(ways: Mapping[str, str] | None) -> list[tuple[str, str]]:
    return sorted((ways or {}).items(), key=lambda each: (len(each[0]), each[0]))


def _note(each: Json) -> str:
    if each.get("refused"):
        return f"goes on with what it had: {brief(each['refused'])}"
    return brief(each.get("reason") or "")


def gateway_line(item: Json) -> str | None:
    """`serving on 80 and 443`; None of a node that is no gateway."""
    facts = item.get("gateway")
    if not facts:
        return None
    state = item.get("gateway_state") or {}
    ports = " and ".join(str(facts[name]) for name in ("http_port", "https_port") if facts.get(name) is not None)
    told = f"{harmless(state.get('state', 'configured'))} on {ports}"
    note = _note(state)
    return f"{told}; {note}" if note else told
