"""What replicas used, as averages of minutes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from fledx.models.usage import FIGURES, Minute, Usage


def add(connection: sqlite3.Connection, node_id: str, minutes: Iterable[Minute]) -> None:
    """Add samples of a node to the averages of their minutes."""
    rows = [
        (each.deployment_id, node_id, each.replica_number, each.minute * 60, each.samples, *each.figures)
        for each in minutes
    ]
    sums = ", ".join(
        f"{name} = ({name} * samples + excluded.{name} * excluded.samples) / (samples + excluded.samples)"
        for name in FIGURES
    )
    connection.executemany(
        f"INSERT INTO usage VALUES ({','.join('?' * (5 + len(FIGURES)))}) ON CONFLICT DO UPDATE SET {sums},"
        " samples = samples + excluded.samples",
        rows,
    )


def page(
    connection: sqlite3.Connection,
    *,
    since: int,
    until: int,
    deployment_id: str | None,
    node_id: str | None,
    replica_number: int | None,
    limit: int,
    offset: int,
) -> tuple[list[Usage], int]:
    """Minutes between two unix times, newest first, and how many there are in all."""
    where: list[str] = ["bucket_start >= ? AND bucket_start <= ?"]
    values: list[Any] = [since, until]
    narrowed = {"deployment_id": deployment_id, "node_id": node_id, "replica_number": replica_number}
    for column, value in narrowed.items():
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    condition = " AND ".join(where)
    total = connection.execute(f"SELECT count(*) FROM usage WHERE {condition}", values).fetchone()[0]
    sql = (
        "SELECT usage.*, deployment.name AS deployment, node.name AS node FROM usage"
        " LEFT JOIN deployment ON deployment.id = deployment_id LEFT JOIN node ON node.id = node_id"
        f" WHERE {condition} ORDER BY bucket_start DESC, deployment_id, node_id, replica_number LIMIT ? OFFSET ?"
    )
    rows = connection.execute(sql, (*values, limit, offset))
    return [Usage.of_row(dict(row)) for row in rows], total


def prune(connection: sqlite3.Connection, before: int) -> int:
    """Forget minutes before a unix time; how many there were."""
    return connection.execute("DELETE FROM usage WHERE bucket_start < ?", (before,)).rowcount
