"""What creates under an Idempotency-Key have done, so that each is done once."""

from __future__ import annotations

import sqlite3


def remembered(connection: sqlite3.Connection, operator: str, key: str) -> sqlite3.Row | None:
    """What a create with this Idempotency-Key did before."""
    sql = "SELECT request_hash, deployment_id FROM idempotency WHERE operator = ? AND key = ?"
    row: sqlite3.Row | None = connection.execute(sql, (operator, key)).fetchone()
    return row


def remember(
    connection: sqlite3.Connection, operator: str, key: str, hashed: str, deployment_id: str, now: str
) -> None:
    """Keep what a create with an Idempotency-Key did."""
    values = (key, operator, hashed, deployment_id, now)
    connection.execute("INSERT INTO idempotency VALUES (?, ?, ?, ?, ?)", values)
