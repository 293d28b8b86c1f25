"""An operator's word for a thing: a name, an id, or the beginning of an id."""

from __future__ import annotations

import difflib
import sqlite3

from fledx.errors import Conflict, NotFound
from fledx.models.check import shown

MIN_PREFIX = 4


def resolve(connection: sqlite3.Connection, table: str, ref: str) -> str:
    """
    The id that `ref` means in `table` (node or deployment); a name wins over an id.

    NotFound with the nearest name; Conflict that lists the candidates of an ambiguous prefix.
    """
    row = connection.execute(f"SELECT id FROM {table} WHERE name = ?", (ref,)).fetchone()
    if row is None and len(ref) >= MIN_PREFIX:
        low, high = ref.lower(), ref.lower() + "\x7f"
        sql = f"SELECT id, name FROM {table} WHERE id >= ? AND id < ? LIMIT 6"
        rows = connection.execute(sql, (low, high)).fetchall()
        if len(rows) > 1:
            found = ", ".join(f"{each['name']} ({each['id'][:8]})" for each in rows)
            raise Conflict(
                f"{shown(ref)} is the beginning of several: {found}", hint="give more of the id, or the name"
            )
        row = rows[0] if rows else None
    if row is None:
        raise _missing(connection, table, ref)
    return str(row["id"])


def _missing(connection: sqlite3.Connection, table: str, ref: str) -> NotFound:
    names = [row["name"] for row in connection.execute(f"SELECT name FROM {table} LIMIT 5000")]
    near = difflib.get_close_matches(ref[:100], names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"`fledx {table}s list` shows what there is"
    return NotFound(f"no {table} {shown(ref)}", hint=hint)
