"""Secrets, sealed; a value that was replaced stays for as long as a replica still runs with it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from fledx.control_plane.store import counters
from fledx.control_plane.store.configs import CONTENT, VALID


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """One version of a secret as it is stored."""

    name: str
    version: int
    sealed: bytes
    digest: str

    @property
    def context(self) -> str:
        """What it was sealed as."""
        return context(self.name, self.version)


def context(name: str, version: int) -> str:
    """What a version is sealed as, so that none can be put in the place of another."""
    return f"secret {name} {version}"


def head(connection: sqlite3.Connection, name: str) -> sqlite3.Row | None:
    """The row of a secret, its name in any case of letters."""
    row: sqlite3.Row | None = connection.execute("SELECT * FROM secret WHERE name = ?", (name,)).fetchone()
    return row


def put(connection: sqlite3.Connection, name: str, version: int, sealed: bytes, digest: str, now: str) -> None:
    """A new secret, or a new value of one."""
    connection.execute(
        "INSERT INTO secret VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET version = excluded.version, updated_at = excluded.updated_at",
        (name, version, now, now),
    )
    at = counters.following(connection, CONTENT)
    _end(connection, name, at)
    connection.execute("INSERT INTO secret_version VALUES (?, ?, NULL, ?, ?, ?)", (name, at, version, sealed, digest))


def _end(connection: sqlite3.Connection, name: str, at: int) -> None:
    connection.execute("UPDATE secret_version SET until = ? WHERE name = ? AND until IS NULL", (at, name))


def delete(connection: sqlite3.Connection, name: str) -> None:
    """Remove a secret; who still runs with it keeps it until its rollout has got there."""
    connection.execute("DELETE FROM secret WHERE name = ?", (name,))
    _end(connection, name, counters.following(connection, CONTENT))


def at(connection: sqlite3.Connection, name: str, moment: int) -> Sealed | None:
    """The version of a secret that was valid when the counter stood there."""
    sql = f"SELECT name, version, sealed, digest FROM secret_version WHERE name = :name AND {VALID}"
    row = connection.execute(sql, {"name": name, "at": moment}).fetchone()
    return None if row is None else Sealed(**dict(row))


def now(connection: sqlite3.Connection, name: str) -> Sealed | None:
    """The present version of a secret."""
    return at(connection, name, counters.current(connection, CONTENT))


def newest(connection: sqlite3.Connection, name: str) -> int:
    """The highest version a secret of this name has had, 0 if there is none; a deleted one may still be in use."""
    sql = "SELECT coalesce(max(version), 0) FROM secret_version WHERE name = ?"
    return int(connection.execute(sql, (name,)).fetchone()[0])


def page(connection: sqlite3.Connection, *, limit: int, offset: int) -> tuple[list[sqlite3.Row], int]:
    """A page of secrets by name, and how many there are in all."""
    total = connection.execute("SELECT count(*) FROM secret").fetchone()[0]
    rows = connection.execute("SELECT * FROM secret ORDER BY name LIMIT ? OFFSET ?", (limit, offset))
    return rows.fetchall(), total


def present(connection: sqlite3.Connection) -> list[str]:
    """The names of all secrets."""
    return [row[0] for row in connection.execute("SELECT name FROM secret ORDER BY name LIMIT 5000")]


def references(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """
    Every name of a secret with the id of a deployment that is given it.

    By its own spec, by a config it has attached, or by a config of a node that one of its replicas has. One pass over
    all specs (10 ms for a thousand).
    """
    rows = connection.execute(
        "WITH named (name, config_id) AS ("
        "SELECT json_extract(value, '$.secret_ref'), config_id FROM config_version, json_each(body, '$.entries')"
        " WHERE until IS NULL UNION"
        " SELECT json_extract(value, '$.file_ref'), config_id FROM config_version, json_each(body, '$.files')"
        " WHERE until IS NULL)"
        " SELECT json_extract(value, '$.secret'), of.id FROM deployment AS of, json_each(spec, '$.secret_env')"
        " UNION SELECT json_extract(value, '$.secret'), of.id FROM deployment AS of, json_each(spec, '$.secret_files')"
        " UNION SELECT name, target_id FROM named JOIN config_use USING (config_id)"
        " WHERE kind = 'deployment' AND until IS NULL"
        " UNION SELECT name, deployment_id FROM named JOIN config_use USING (config_id)"
        " JOIN assignment ON node_id = target_id WHERE kind = 'node' AND until IS NULL"
    )
    return [(row[0], row[1]) for row in rows]


#: What somebody may still run or go back to: moments of the counter, each with the template of its revision.
SEEN = (
    "SELECT revision.content AS content, template FROM revision JOIN deployment ON deployment.id = deployment_id"
    " WHERE revision.revision >= min(deployment.revision,"
    " coalesce(json_extract(deployment.rollout, '$.kept.previous'), deployment.revision),"
    " (SELECT coalesce(min(assignment.revision), deployment.revision) FROM assignment"
    " WHERE assignment.deployment_id = deployment.id)) UNION ALL SELECT content, '' FROM assignment"
)
#: Names of secrets need no escaping in JSON, so a look at the text finds every reference.
NAMED = (
    "(instr(template, '\"secret\":\"' || secret_version.name || '\"') OR EXISTS"
    " (SELECT 1 FROM config_version WHERE instr(body, '\"' || secret_version.name || '\"')))"
)


def prune(connection: sqlite3.Connection) -> int:
    """
    Forget values, versions and attachments that nobody can come back to; how many values.

    What is over stays while it was so for a revision that counts: any from the oldest that a replica of the
    deployment runs or may go back to, or for a replica when it came to its node.
    """
    gone = _prune(connection, "secret_version", NAMED)
    _prune(connection, "config_version", "1")
    _prune(connection, "config_use", "1")
    return gone


def _prune(connection: sqlite3.Connection, table: str, concerned: str) -> int:
    return connection.execute(
        f"DELETE FROM {table} WHERE until IS NOT NULL AND NOT EXISTS"
        f" (SELECT 1 FROM ({SEEN}) WHERE content >= {table}.since AND content < {table}.until AND {concerned})"
    ).rowcount
