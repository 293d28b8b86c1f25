"""The stored reasons: what happened, in order."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from typing import Any, NamedTuple

from fledx.models.event import Event

MAX_REASON = 2000


class Happening(NamedTuple):
    """What is yet to be stored: a kind (`replica.moved`), whom it is about by name, why, and what it belongs to."""

    kind: str
    subject: str
    reason: str
    deployment_id: str | None = None
    replica_number: int | None = None
    node_id: str | None = None


def add(connection: sqlite3.Connection, at: str, *happened: Happening) -> None:
    """Append them in this order."""
    connection.executemany(
        "INSERT INTO event (at, kind, subject, reason, deployment_id, replica_number, node_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(at, kind, subject, reason[:MAX_REASON], *whose) for kind, subject, reason, *whose in happened],
    )


def page(
    connection: sqlite3.Connection,
    *,
    after: int = 0,
    above: int = 0,
    limit: int = 50,
    deployment_id: str | None = None,
    node_id: str | None = None,
    kind: str | None = None,
) -> list[Event]:
    """
    Events after number `after`, oldest first; without `after` the newest `limit` of them, oldest first too.

    None but those above the number `above`. `kind` is a kind, or the beginning of one up to a dot (`replica` means
    `replica.*`).
    """
    sql = "SELECT * FROM event WHERE id > ?"
    values: list[Any] = [max(after, above)]
    for column, value in (("deployment_id", deployment_id), ("node_id", node_id)):
        if value is not None:
            sql, values = f"{sql} AND {column} = ?", [*values, value]
    if kind is not None:
        sql, values = sql + " AND (kind = ? OR substr(kind, 1, ?) = ?)", [*values, kind, len(kind) + 1, kind + "."]
    order = "ASC" if after else "DESC"
    rows = connection.execute(f"{sql} ORDER BY id {order} LIMIT ?", (*values, limit)).fetchall()
    found = [Event(**dict(row)) for row in rows]
    return found if after else found[::-1]


def repeats(
    connection: sqlite3.Connection, deployment_id: str, replica_number: int | None, kind: str, reason: str
) -> bool:
    """Whether the last thing that happened to a replica is this very thing: a retry that fails as before is no news."""
    row = connection.execute(
        "SELECT kind, reason FROM event WHERE deployment_id = ? AND replica_number IS ? ORDER BY id DESC LIMIT 1",
        (deployment_id, replica_number),
    ).fetchone()
    return row is not None and row["kind"] == f"replica.{kind}" and row["reason"] == reason[:MAX_REASON]


def last_of(connection: sqlite3.Connection, deployment_id: str, kinds: tuple[str, ...]) -> Event | None:
    """The newest event of these kinds about a deployment."""
    marks = ",".join("?" * len(kinds))
    sql = f"SELECT * FROM event WHERE deployment_id = ? AND kind IN ({marks}) ORDER BY id DESC LIMIT 1"
    row = connection.execute(sql, (deployment_id, *kinds)).fetchone()
    return None if row is None else Event(**dict(row))


def newest(connection: sqlite3.Connection) -> int:
    """The number of the last event, 0 before the first."""
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM event").fetchone()[0])


def last_before(connection: sqlite3.Connection, at: str) -> int:
    """
    A number above which all events are of this time or later, and no other is.

    Found by halves, as numbers rise with time and `at` has no index; exact as far as the clock never went back.
    """
    first, last = connection.execute("SELECT (SELECT min(id) FROM event), (SELECT max(id) FROM event)").fetchone()
    if first is None:
        return 0
    return int(first) - 1 + bisect_left(range(first, last + 1), at, key=lambda number: _at(connection, number))


def _at(connection: sqlite3.Connection, number: int) -> str:
    """When the first event from a number on happened."""
    row = connection.execute("SELECT at FROM event WHERE id >= ? ORDER BY id LIMIT 1", (number,)).fetchone()
    return str(row["at"])


def prune(connection: sqlite3.Connection, before: str) -> int:
    """Forget events older than a time; how many there were."""
    return connection.execute("DELETE FROM event WHERE at < ?", (before,)).rowcount


def happened(connection: sqlite3.Connection, kind: str, deployment_id: str, number: int, *, since: str) -> bool:
    """Whether there is such an event of a replica since then."""
    sql = "SELECT 1 FROM event WHERE deployment_id = ? AND replica_number = ? AND kind = ? AND at >= ? LIMIT 1"
    return connection.execute(sql, (deployment_id, number, kind, since)).fetchone() is not None
