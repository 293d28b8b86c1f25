"""Tokens that let a host become a node."""

from __future__ import annotations

import sqlite3


def insert(
    connection: sqlite3.Connection, token_id: str, hashed: bytes, by: str, now: str, expires: str, uses: int | None
) -> None:
    """A new one; `uses` None is any number."""
    connection.execute("INSERT INTO join_token VALUES (?, ?, ?, ?, ?, ?)", (token_id, hashed, now, by, expires, uses))


def usable(connection: sqlite3.Connection, hashed: bytes, now: str) -> str | None:
    """The token's id where `spend` would use it now."""
    row = connection.execute(
        "SELECT id FROM join_token WHERE token_hash = ? AND expires_at > ? AND (uses IS NULL OR uses > 0)",
        (hashed, now),
    ).fetchone()
    return None if row is None else str(row[0])


def spend(connection: sqlite3.Connection, hashed: bytes, now: str) -> str | None:
    """Use the token once and return its id; None when there is no such token, or it is used up or too old."""
    row = connection.execute(
        "UPDATE join_token SET uses = uses - 1 WHERE token_hash = ? AND expires_at > ? AND (uses IS NULL OR uses > 0)"
        " RETURNING id",
        (hashed, now),
    ).fetchone()
    return None if row is None else str(row[0])


def prune(connection: sqlite3.Connection, now: str) -> None:
    """Forget those that can no longer be used."""
    connection.execute("DELETE FROM join_token WHERE expires_at <= ? OR uses <= 0", (now,))
