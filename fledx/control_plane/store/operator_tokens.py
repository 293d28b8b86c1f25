"""Operators' tokens, by their hashes."""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Mapping

from fledx.control_plane.store.refs import MIN_PREFIX
from fledx.errors import Conflict, NotFound
from fledx.models.check import shown
from fledx.models.token import OperatorToken

COLUMNS = "id, name, role, created_at, created_by, expires_at, last_used_at, revoked_at"


def token_of(row: sqlite3.Row) -> OperatorToken:
    """A row as the model."""
    named = {key: row[key] for key in COLUMNS.split(", ")[1:]}
    return OperatorToken(token_id=row["id"], **named)


def insert(connection: sqlite3.Connection, token: OperatorToken, hashed: bytes) -> None:
    """A new one; Conflict when a token that is not revoked has the name."""
    taken = connection.execute("SELECT 1 FROM operator_token WHERE name = ? AND revoked_at IS NULL", (token.name,))
    if taken.fetchone() is not None:
        raise Conflict(
            f"there is a token {token.name} already",
            hint=f"choose another name, or revoke that one with `fledx tokens revoke {token.name}`",
        )
    connection.execute(
        f"INSERT INTO operator_token ({COLUMNS}, token_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(token.token_id, token.name, token.role, token.created_at, token.created_by, token.expires_at),
            *(token.last_used_at, token.revoked_at, hashed),
        ),
    )


def by_hash(connection: sqlite3.Connection, hashed: bytes) -> tuple[bytes, OperatorToken] | None:
    """The token of a hash, with the hash as it is stored."""
    row = connection.execute("SELECT * FROM operator_token WHERE token_hash = ?", (hashed,)).fetchone()
    return None if row is None else (row["token_hash"], token_of(row))


def page(connection: sqlite3.Connection, *, limit: int, offset: int) -> tuple[list[OperatorToken], int]:
    """A page by name, revoked ones last, and how many there are in all."""
    total = connection.execute("SELECT count(*) FROM operator_token").fetchone()[0]
    sql = f"SELECT {COLUMNS} FROM operator_token ORDER BY revoked_at IS NOT NULL, name, created_at LIMIT ? OFFSET ?"
    return [token_of(row) for row in connection.execute(sql, (limit, offset))], total


def find(connection: sqlite3.Connection, ref: str) -> OperatorToken:
    """The one that `ref` means: a name of one that is not revoked, an id or its beginning; NotFound, Conflict."""
    sql = f"SELECT {COLUMNS} FROM operator_token WHERE "
    rows = connection.execute(sql + "name = ? AND revoked_at IS NULL", (ref,)).fetchall()
    if not rows and len(ref) >= MIN_PREFIX:
        low = ref.lower()
        rows = connection.execute(sql + "id >= ? AND id < ? LIMIT 6", (low, low + "\x7f")).fetchall()
    if len(rows) > 1:
        found = ", ".join(f"{row['name']} ({row['id'][:8]})" for row in rows)
        raise Conflict(f"{shown(ref)} is the beginning of several: {found}", hint="give more of the id, or the name")
    if not rows:
        names = [row["name"] for row in connection.execute(sql + "revoked_at IS NULL LIMIT 5000")]
        near = difflib.get_close_matches(ref[:100], names, n=1)
        hint = f"did you mean {near[0]}?" if near else "`fledx tokens list` shows what there is"
        raise NotFound(f"no token {shown(ref)}", hint=hint)
    return token_of(rows[0])


def revoke(connection: sqlite3.Connection, token_id: str, now: str) -> None:
    """It lets nobody in any more."""
    connection.execute("UPDATE operator_token SET revoked_at = ? WHERE id = ?", (now, token_id))


def set_used(connection: sqlite3.Connection, used: Mapping[str, str]) -> None:
    """Store when tokens were last used, by their ids."""
    connection.executemany(
        "UPDATE operator_token SET last_used_at = ? WHERE id = ?", [(at, token_id) for token_id, at in used.items()]
    )


def prune(connection: sqlite3.Connection, before: str) -> None:
    """Forget those that were revoked, or ran out, before a time."""
    connection.execute("DELETE FROM operator_token WHERE coalesce(revoked_at, expires_at) < ?", (before,))
