"""Each deployment's part of what gateways serve, as it was last worked out; text and marks are the caller's."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

#: By name, or SQLite would rather read every node in the order that is asked for than sort the few that there are.
GATEWAYS = "node INDEXED BY node_gateway WHERE json_extract(facts, '$.gateway') IS NOT NULL"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A stored part; ``marks`` are the desired revisions of gateways with which it last changed, by node id."""

    body: str
    marks: Mapping[str, int]


def get(connection: sqlite3.Connection, deployment_id: str) -> Row | None:
    """The part of one deployment."""
    sql = "SELECT body, marks FROM ingress_part WHERE deployment_id = ?"
    row = connection.execute(sql, (deployment_id,)).fetchone()
    return None if row is None else Row(body=row[0], marks=json.loads(row[1]))


def concerns(connection: sqlite3.Connection, deployment_id: str) -> bool:
    """Whether a deployment has a part, or claims to have one."""
    sql = (
        "SELECT EXISTS (SELECT 1 FROM ingress_claim WHERE deployment_id = :id)"
        " OR EXISTS (SELECT 1 FROM ingress_part WHERE deployment_id = :id)"
    )
    return bool(connection.execute(sql, {"id": deployment_id}).fetchone()[0])


def put(connection: sqlite3.Connection, deployment_id: str, body: str, *, passing: bool) -> None:
    """Keep a part; its marks stay as they are."""
    connection.execute(
        "INSERT INTO ingress_part (deployment_id, body, passing) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET body = excluded.body, passing = excluded.passing",
        (deployment_id, body, 1 if passing else None),
    )


def delete(connection: sqlite3.Connection, deployment_id: str) -> None:
    """Forget a part."""
    connection.execute("DELETE FROM ingress_part WHERE deployment_id = ?", (deployment_id,))


def mark(connection: sqlite3.Connection, deployment_id: str) -> None:
    """The part changed with the desired revisions that gateways have now."""
    rows = connection.execute(f"SELECT id, desired_revision FROM {GATEWAYS}")
    marks = {row[0]: row[1] for row in rows}
    sql = "UPDATE ingress_part SET marks = ? WHERE deployment_id = ?"
    connection.execute(sql, (json.dumps(marks), deployment_id))


def everything(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Deployment id and part of all, in a fixed order."""
    rows = connection.execute("SELECT deployment_id, body FROM ingress_part ORDER BY deployment_id")
    return [(row[0], row[1]) for row in rows]


def passing(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """The same of those that time or a gateway's word may change."""
    rows = connection.execute("SELECT deployment_id, body FROM ingress_part WHERE passing IS NOT NULL")
    return [(row[0], row[1]) for row in rows]


def gateways(connection: sqlite3.Connection) -> list[sqlite3.Row]:
    """The rows of all nodes that serve public ingress, by name."""
    return connection.execute(f"SELECT * FROM {GATEWAYS} ORDER BY name").fetchall()
