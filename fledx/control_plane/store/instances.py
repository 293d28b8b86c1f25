"""What agents last reported of their replicas."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

from fledx.models.codec import decode_lenient, encode
from fledx.models.instance import Instance


def store(connection: sqlite3.Connection, node_id: str, found: Iterable[Instance], now: float) -> None:
    """Insert or replace instances of a node; readiness without a break keeps the time it began."""
    rows = []
    for each in found:
        body = json.dumps(encode(each), separators=(",", ":"))
        rows.append((node_id, *each.key, body, int(now) if each.ready else None))
    connection.executemany(
        "INSERT INTO instance VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body,"
        " ready_since = CASE WHEN excluded.ready_since IS NULL THEN NULL"
        " WHEN json_extract(body, '$.container_id') IS NOT json_extract(excluded.body, '$.container_id')"
        " THEN excluded.ready_since ELSE coalesce(ready_since, excluded.ready_since) END",
        rows,
    )


def forget(connection: sqlite3.Connection, node_id: str, keys: Iterable[tuple[str, int]]) -> None:
    """Drop what a node no longer has."""
    connection.executemany(
        "DELETE FROM instance WHERE node_id = ? AND deployment_id = ? AND replica_number = ?",
        [(node_id, *key) for key in keys],
    )


def keys_of_node(connection: sqlite3.Connection, node_id: str) -> set[tuple[str, int]]:
    """Which replicas a node has reported."""
    sql = "SELECT deployment_id, replica_number FROM instance WHERE node_id = ?"
    return {(row[0], row[1]) for row in connection.execute(sql, (node_id,))}


def running_on(connection: sqlite3.Connection, node_id: str) -> set[tuple[str, int, int]]:
    """Deployment, replica number and fence of each instance that a node reports as running."""
    sql = (
        "SELECT deployment_id, replica_number, json_extract(body, '$.fence') FROM instance"
        " WHERE node_id = ? AND json_extract(body, '$.state') = 'running'"
    )
    return {(row[0], row[1], row[2]) for row in connection.execute(sql, (node_id,))}


def of_node(connection: sqlite3.Connection, node_id: str) -> list[Instance]:
    """Everything a node has reported."""
    sql = "SELECT body FROM instance WHERE node_id = ? ORDER BY deployment_id, replica_number"
    return [instance_of(row[0]) for row in connection.execute(sql, (node_id,))]


def of_deployment(connection: sqlite3.Connection, deployment_id: str) -> list[tuple[Instance, int | None]]:
    """Everything reported of a deployment, with the unix time since when each has been ready."""
    sql = "SELECT body, ready_since FROM instance WHERE deployment_id = ? ORDER BY replica_number, node_id"
    return [(instance_of(row[0]), row[1]) for row in connection.execute(sql, (deployment_id,))]


def of_deployments(connection: sqlite3.Connection, ids: list[str]) -> dict[str, list[Instance]]:
    """The same for several deployments at once, by deployment."""
    marks = ",".join("?" * len(ids))
    sql = f"SELECT deployment_id, body FROM instance WHERE deployment_id IN ({marks}) ORDER BY replica_number, node_id"
    found: dict[str, list[Instance]] = defaultdict(list)
    for row in connection.execute(sql, ids):
        found[row[0]].append(instance_of(row[1]))
    return found


def deployments_on(connection: sqlite3.Connection, node_id: str) -> set[str]:
    """Deployments of which a node has reported anything."""
    rows = connection.execute("SELECT DISTINCT deployment_id FROM instance WHERE node_id = ?", (node_id,))
    return {row[0] for row in rows}


@lru_cache(maxsize=4096)
def instance_of(body: str) -> Instance:
    """A stored body as the model; the same one is decoded once, as each look at a deployment reads all of its own."""
    return decode_lenient(Instance, json.loads(body))


def forget_deployment(connection: sqlite3.Connection, deployment_id: str) -> None:
    """Drop all that was reported of a deployment."""
    connection.execute("DELETE FROM instance WHERE deployment_id = ?", (deployment_id,))
