"""Numbers that only grow."""

from __future__ import annotations

import sqlite3


def following(connection: sqlite3.Connection, name: str, *, by: int = 1) -> int:
    """Raise a counter and return it."""
    sql = "UPDATE counter SET value = value + ? WHERE name = ? RETURNING value"
    row = connection.execute(sql, (by, name)).fetchone()
    return int(row[0])


def current(connection: sqlite3.Connection, name: str) -> int:
    """Where a counter stands."""
    return int(connection.execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchone()[0])
