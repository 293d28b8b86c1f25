"""Numbers that only grow."""

from __future__ import annotations

import sqlite3


def following(connection: sqlite3.Connection, name: str) -> int:
    """Raise a counter by one and return it."""
    row = connection.execute("UPDATE counter SET value = value + 1 WHERE name = ? RETURNING value", (name,)).fetchone()
    return int(row[0])


def current(connection: sqlite3.Connection, name: str) -> int:
    """Where a counter stands."""
    return int(connection.execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchone()[0])
