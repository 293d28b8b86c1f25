"""Nodes and what they told of themselves."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from fledx.control_plane.scheduler.place import NodeView, view_of
from fledx.models.codec import decode_lenient, encode
from fledx.models.filters import NodeFilter
from fledx.models.ingress import GatewayFacts
from fledx.models.moment import stamp
from fledx.models.node import Capacity, Node, NodeFacts, Wish


def node_of(row: sqlite3.Row) -> Node:
    """A row as the model."""
    facts = json.loads(row["facts"])
    seen = row["seen"]
    return Node(
        node_id=row["id"],
        name=row["name"],
        status=row["status"],
        availability=row["availability"],
        since=row["since"],
        reason=row["reason"],
        arch=facts.get("arch"),
        os=facts.get("os"),
        labels=labels_of(facts, row["own_labels"]),
        capacity=Capacity(**facts["capacity"]) if facts.get("capacity") else None,
        public_ip=facts.get("public_ip"),
        public_host=facts.get("public_host"),
        address=row["address"],
        agent_version=facts.get("agent_version"),
        runtime=facts.get("runtime"),
        disk_pressure=facts.get("disk_pressure"),
        allows=tuple(facts["allows"]) if facts.get("allows") is not None else None,
        gateway=GatewayFacts(**facts["gateway"]) if facts.get("gateway") else None,
        metered=facts.get("metered"),
        last_seen=None if seen is None else stamp(seen),
        wish=None if row["wish"] is None else decode_lenient(Wish, json.loads(row["wish"])),
        created_at=row["created_at"],
    )


def labels_of(facts: Mapping[str, Any], own: str) -> dict[str, str]:
    """The operator's labels over those that the node tells; one that is null there is taken away."""
    found = {**(facts.get("labels") or {}), **json.loads(own)}
    return {key: value for key, value in found.items() if value is not None}


def is_gateway(connection: sqlite3.Connection, node_id: str) -> bool:
    """Whether a node tells that it serves public ingress."""
    row = by_id(connection, node_id)
    return row is not None and bool(json.loads(row["facts"]).get("gateway"))


def own_secrets(row: sqlite3.Row) -> list[str]:
    """The names of the secrets that a node has of its own."""
    return list(json.loads(row["facts"]).get("secrets") or ())


def view(row: sqlite3.Row) -> NodeView:
    """What the scheduler reads of a node's row."""
    facts = json.loads(row["facts"])
    busy = (text.partition("/") for text in facts.get("ports_in_use") or ())
    bounds = facts.get("port_range")
    return view_of(
        node_of(row),
        busy=frozenset((protocol, int(port)) for protocol, _, port in busy if port.isdigit()),
        port_range=(int(bounds[0]), int(bounds[1])) if bounds else None,
        prefixes=tuple(facts["volume_prefixes"]) if facts.get("volume_prefixes") is not None else None,
        knows=frozenset(facts.get("knows") or ()),
    )


def views(connection: sqlite3.Connection) -> list[NodeView]:
    """The same of all nodes."""
    return [view(row) for row in connection.execute("SELECT * FROM node")]


def insert(connection: sqlite3.Connection, node_id: str, name: str, facts: NodeFacts, token: bytes, now: str) -> None:
    """A node that has not connected yet."""
    connection.execute(
        "INSERT INTO node (id, name, host_key, token_hash, status, since, facts, created_at)"
        " VALUES (?, ?, ?, ?, 'registering', ?, ?, ?)",
        (node_id, name, facts.host_key, token, now, packed(facts), now),
    )


def packed(facts: NodeFacts) -> str:
    """Facts as they are stored."""
    return json.dumps(encode(facts), separators=(",", ":"))


def by_id(connection: sqlite3.Connection, node_id: str) -> sqlite3.Row | None:
    """The row of one node."""
    return _one(connection, "id = ?", node_id)


def by_name(connection: sqlite3.Connection, name: str) -> sqlite3.Row | None:
    """The row of the node called so, in any case of letters."""
    return _one(connection, "name = ?", name)


def by_host_key(connection: sqlite3.Connection, host_key: str) -> sqlite3.Row | None:
    """The row of the node that this host was before."""
    return _one(connection, "host_key = ?", host_key)


def _one(connection: sqlite3.Connection, where: str, value: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(f"SELECT * FROM node WHERE {where}", (value,)).fetchone()
    return row


def everyone(connection: sqlite3.Connection) -> list[Node]:
    """All nodes by name."""
    return [node_of(row) for row in connection.execute("SELECT * FROM node ORDER BY name")]


def page(
    connection: sqlite3.Connection, wanted: NodeFilter, *, limit: int, offset: int
) -> tuple[list[sqlite3.Row], int]:
    """Rows of a page by name, and how many there are in all."""
    where: list[str] = ["1"]
    values: list[Any] = []
    for column in ("status", "availability", "name"):
        if (value := getattr(wanted, column)) is not None:
            where.append(f"{column} = ?")
            values.append(value)
    for key, value in (wanted.labels or {}).items():
        merged = "json_patch(coalesce(json_extract(node.facts, '$.labels'), '{}'), node.own_labels)"
        where.append(f"EXISTS (SELECT 1 FROM json_each({merged}) WHERE key = ? AND value = ?)")
        values += [key, value]
    condition = " AND ".join(where)
    total = connection.execute(f"SELECT count(*) FROM node WHERE {condition}", values).fetchone()[0]
    sql = f"SELECT * FROM node WHERE {condition} ORDER BY name LIMIT ? OFFSET ?"
    return connection.execute(sql, (*values, limit, offset)).fetchall(), total


def set_status(connection: sqlite3.Connection, node_id: str, status: str, reason: str | None, now: str) -> None:
    """Store what was observed of a node, and since when."""
    connection.execute("UPDATE node SET status = ?, reason = ?, since = ? WHERE id = ?", (status, reason, now, node_id))


def set_facts(connection: sqlite3.Connection, node_id: str, facts: NodeFacts, address: str) -> None:
    """Store what a node tells at its connect."""
    connection.execute("UPDATE node SET facts = ?, address = ? WHERE id = ?", (packed(facts), address, node_id))


def set_token(connection: sqlite3.Connection, node_id: str, token: bytes, former: bytes | None = None) -> None:
    """Replace the hash of a node's token; `former` is good beside it until the new one has been used."""
    sql = "UPDATE node SET token_hash = ?, former_token_hash = ? WHERE id = ?"
    connection.execute(sql, (token, former, node_id))


def set_own_labels(connection: sqlite3.Connection, node_id: str, own: Mapping[str, str | None]) -> None:
    """Store what the operator lays over a node's labels."""
    text = json.dumps(own, separators=(",", ":"), sort_keys=True)
    connection.execute("UPDATE node SET own_labels = ? WHERE id = ?", (text, node_id))


def set_availability(connection: sqlite3.Connection, node_id: str, availability: str, wish: Wish | None) -> None:
    """Store what the operator wants of a node, and why."""
    text = None if wish is None else json.dumps(encode(wish), separators=(",", ":"))
    connection.execute("UPDATE node SET availability = ?, wish = ? WHERE id = ?", (availability, text, node_id))


def draining(connection: sqlite3.Connection) -> dict[str, Wish]:
    """The nodes that are to become empty, and who wants it."""
    rows = connection.execute("SELECT id, wish FROM node WHERE availability = 'draining' AND wish IS NOT NULL")
    return {row[0]: decode_lenient(Wish, json.loads(row[1])) for row in rows}


def delete(connection: sqlite3.Connection, node_id: str) -> None:
    """Forget a node that owns nothing, with all it has reported."""
    connection.execute("DELETE FROM node WHERE id = ?", (node_id,))


def set_seen(connection: sqlite3.Connection, seen: Mapping[str, float]) -> None:
    """Store last signs of life, unix seconds by node id."""
    rows = [(int(at), node_id) for node_id, at in seen.items()]
    connection.executemany("UPDATE node SET seen = ? WHERE id = ?", rows)


def next_revisions(connection: sqlite3.Connection, node_ids: set[str], now: float) -> None:
    """
    The desired state of these nodes has changed: give each a higher revision.

    Milliseconds of the clock at least, so that a restored backup does not fall behind what agents have seen.
    """
    rows = [(int(now * 1000), node_id) for node_id in sorted(node_ids)]
    connection.executemany("UPDATE node SET desired_revision = max(desired_revision + 1, ?) WHERE id = ?", rows)


def present_since(connection: sqlite3.Connection, node_ids: set[str]) -> dict[str, str]:
    """Since when each of these nodes has been in touch; those that are away are left out."""
    marks = ",".join("?" * len(node_ids))
    sql = f"SELECT id, since FROM node WHERE status IN ('ready', 'error') AND id IN ({marks})"
    return {row[0]: row[1] for row in connection.execute(sql, sorted(node_ids))}


def away(connection: sqlite3.Connection) -> dict[str, str]:
    """Nodes whose reports count for nothing now, each with a sentence."""
    rows = connection.execute("SELECT id, name, since FROM node WHERE status = 'unreachable'")
    return {row["id"]: f"node {row['name']} has been unreachable since {row['since']}" for row in rows}


def statuses(connection: sqlite3.Connection) -> list[tuple[str, str, bool]]:
    """Of each node: its id, its status, and whether it said that its link costs by the byte."""
    rows = connection.execute("SELECT id, status, json_extract(facts, '$.metered') FROM node")
    return [(row[0], row[1], bool(row[2])) for row in rows]


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """How many nodes there are of each status."""
    return {row[0]: row[1] for row in connection.execute("SELECT status, count(*) FROM node GROUP BY status")}
