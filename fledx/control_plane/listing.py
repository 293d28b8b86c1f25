"""
Pages of lists as JSON, written from their rows.

What is only shown needs no model: making, checking and encoding a hundred of them holds the loop for a hundredth of a
second, and this a tenth of that. `view.py` and `store/nodes.py` say what an item is; a test holds the two ways equal.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from fledx.control_plane.store.nodes import labels_of
from fledx.models.moment import stamp

SHOWN_FACTS = (
    *("arch", "os", "capacity", "public_ip", "public_host", "agent_version", "runtime", "disk_pressure"),
    *("allows", "gateway", "metered"),
)


def deployment_item(row: sqlite3.Row, owners: Sequence[sqlite3.Row], public_host: str | None) -> bytes:
    """
    `encode(deployment_view(...))` as JSON, without instances and what is pending.

    `row` is a deployment with `replicas` and `desired_state` of its spec, `owners` its assignments by number with the
    names of their nodes.
    """
    spec = row["spec"]
    reason = "" if row["reason"] is None else f',"reason":{quoted(row["reason"])}'
    first = f',"assigned_node_id":{quoted(owners[0]["node_id"])}' if owners else ""
    unplaced = 0 if row["desired_state"] == "stopped" else _unplaced(row, owners)
    if row["mode"] == "global":
        spec = json.dumps({**json.loads(spec), "replicas": row["replicas"]}, separators=(",", ":"))
    job = "" if row["job"] in (None, "{}") else f",{row['job'][1:-1]}"
    assignments = ",".join([_assignment(owner, public_host) for owner in owners])
    return (
        f'{spec[:-1]},"deployment_id":{quoted(row["id"])},"status":"{row["status"]}"{reason}'
        f'{job},"generation":{row["generation"]},"revision":{row["revision"]},"ready_replicas":{row["ready"]}'
        f',"unplaced_replicas":{unplaced}{first},"assignments":[{assignments}],"instances":[],"pending":[]'
        f',"rollout":{_rollout(row, owners)},"created_at":"{row["created_at"]}","updated_at":"{row["updated_at"]}"}}'
    ).encode("ascii")


def _due(row: sqlite3.Row, owners: Sequence[sqlite3.Row]) -> list[sqlite3.Row]:
    """Those of the wanted number; a rollout may have more for a while."""
    if row["mode"] == "global":
        return list(owners)
    return [owner for owner in owners if owner["replica_number"] < row["replicas"]]


def _unplaced(row: sqlite3.Row, owners: Sequence[sqlite3.Row]) -> int:
    waiting: int | None = row["waiting"]
    return row["replicas"] - len(_due(row, owners)) if waiting is None else waiting


def _assignment(owner: sqlite3.Row, public_host: str | None) -> str:
    ports = owner["ports"]
    if '"expose":true' in ports:
        ports = _with_endpoints(ports, public_host)
    leaving = "" if owner["leaving"] is None else ',"leaving":true'
    return (
        f'{{"replica_number":{owner["replica_number"]},"node_id":{quoted(owner["node_id"])},"node":{quoted(owner["node"])}'
        f',"fence":{owner["fence"]},"revision":{owner["revision"]},"ports":{ports}{leaving}}}'
    )


def _with_endpoints(ports: str, public_host: str | None) -> str:
    found: list[dict[str, Any]] = json.loads(ports)
    for port in found:
        host = port.get("host_ip") or public_host
        if port.get("expose") and host is not None and port.get("host_port") is not None:
            port["endpoint"] = f"{host}:{port['host_port']}"
    return json.dumps(found, separators=(",", ":"))


def _rollout(row: sqlite3.Row, owners: Sequence[sqlite3.Row]) -> str:
    kept = {} if row["rollout"] is None else json.loads(row["rollout"])
    due = _due(row, owners)
    updated = sum([owner["revision"] == row["revision"] for owner in due])
    state = quoted(kept.get("state", "complete" if updated == len(due) else "progressing"))
    told = [name for name in ("reason", "since", "waits_for") if kept.get(name) is not None]
    more = "".join(f',"{name}":{quoted(kept[name])}' for name in told)
    counts = f'"revision":{row["revision"]},"updated":{updated},"wanted":{row["replicas"]}'
    return f'{{"state":{state},{counts}{more}}}'


def node_item(row: sqlite3.Row) -> bytes:
    """`encode(node_of(row))` as JSON."""
    reason = "" if row["reason"] is None else f',"reason":{quoted(row["reason"])}'
    address = "" if row["address"] is None else f',"address":{quoted(row["address"])}'
    seen = "" if row["seen"] is None else f',"last_seen":"{stamp(row["seen"])}"'
    wish = "" if row["wish"] is None else f',"wish":{row["wish"]}'
    return (
        f'{{"node_id":{quoted(row["id"])},"name":{quoted(row["name"])},"status":"{row["status"]}"'
        f',"availability":"{row["availability"]}","since":"{row["since"]}"{reason}'
        f',{_facts(row["facts"], row["own_labels"])}{address}{seen}{wish},"created_at":"{row["created_at"]}"}}'
    ).encode("ascii")


@lru_cache(maxsize=4096)
def _facts(text: str, own_labels: str) -> str:
    """What is shown of a node's facts, as fields of an object; they change seldom and are many to read."""
    facts = json.loads(text)
    shown: dict[str, Any] = {"labels": labels_of(facts, own_labels)}
    shown |= {name: facts[name] for name in SHOWN_FACTS if facts.get(name) not in (None, {})}
    return json.dumps(shown, separators=(",", ":"))[1:-1]
