"""Configs, their versions, and what they are attached to."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from fledx.control_plane.store import counters
from fledx.models.codec import decode_lenient, encode
from fledx.models.config import ConfigMetadata, ConfigSpec

CONTENT = "content"
TARGETS = ("deployment", "node")
VALID = "since <= :at AND (until IS NULL OR until > :at)"


def metadata_of(row: sqlite3.Row) -> ConfigMetadata:
    """A row as the model."""
    return ConfigMetadata(
        config_id=row["id"],
        name=row["name"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def insert(connection: sqlite3.Connection, config_id: str, spec: ConfigSpec, now: str) -> None:
    """A new config."""
    values = (config_id, spec.name, spec.version or 1, now, now)
    connection.execute("INSERT INTO config VALUES (?, ?, ?, ?, ?)", values)
    _add_version(connection, config_id, spec, spec.version or 1)


def replace(connection: sqlite3.Connection, config_id: str, spec: ConfigSpec, version: int, now: str) -> None:
    """A further version; the one before stays for those who still run it."""
    sql = "UPDATE config SET name = ?, version = ?, updated_at = ? WHERE id = ?"
    connection.execute(sql, (spec.name, version, now, config_id))
    _add_version(connection, config_id, spec, version)


def _add_version(connection: sqlite3.Connection, config_id: str, spec: ConfigSpec, version: int) -> None:
    at = counters.following(connection, CONTENT)
    _end(connection, "config_version", "config_id = ?", (config_id,), at)
    body = json.dumps({"entries": encode(spec.entries), "files": encode(spec.files)}, separators=(",", ":"))
    connection.execute(
        "INSERT INTO config_version VALUES (?, ?, NULL, ?, ?, ?)", (config_id, at, spec.name, version, body)
    )


def _end(connection: sqlite3.Connection, table: str, where: str, values: tuple[Any, ...], at: int) -> int:
    sql = f"UPDATE {table} SET until = ? WHERE {where} AND until IS NULL"
    return connection.execute(sql, (at, *values)).rowcount


def by_id(connection: sqlite3.Connection, config_id: str) -> sqlite3.Row | None:
    """The row of one config with the body of its present version."""
    sql = (
        "SELECT config.*, body FROM config JOIN config_version ON config_id = id AND until IS NULL WHERE config.id = ?"
    )
    row: sqlite3.Row | None = connection.execute(sql, (config_id,)).fetchone()
    return row


def id_of_name(connection: sqlite3.Connection, name: str) -> str | None:
    """The id of the config called so."""
    row = connection.execute("SELECT id FROM config WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def spec_of(name: str, version: int, body: str) -> ConfigSpec:
    """What a stored body says."""
    return decode_lenient(ConfigSpec, {"name": name, "version": version, **json.loads(body)})


def page(connection: sqlite3.Connection, *, name: str | None, limit: int, offset: int) -> tuple[list[sqlite3.Row], int]:
    """A page of configs with their bodies, the last changed first, and how many there are in all."""
    where, values = ("config.name = ?", [name]) if name is not None else ("1", [])
    total = connection.execute(f"SELECT count(*) FROM config WHERE {where}", values).fetchone()[0]
    rows = connection.execute(
        "SELECT config.*, body FROM config JOIN config_version ON config_id = id AND until IS NULL"
        f" WHERE {where} ORDER BY updated_at DESC, config.name LIMIT ? OFFSET ?",
        (*values, limit, offset),
    )
    return rows.fetchall(), total


def delete(connection: sqlite3.Connection, config_id: str) -> None:
    """Remove a config and detach it everywhere; who still runs it keeps it until its rollout has got there."""
    at = counters.following(connection, CONTENT)
    _end(connection, "config_version", "config_id = ?", (config_id,), at)
    _end(connection, "config_use", "config_id = ?", (config_id,), at)
    connection.execute("DELETE FROM config WHERE id = ?", (config_id,))


def attach(connection: sqlite3.Connection, config_id: str, kind: str, target_id: str, now: str) -> tuple[str, bool]:
    """Attach it; since when it is attached, and whether that is new."""
    row = connection.execute(
        "SELECT attached_at FROM config_use WHERE config_id = ? AND kind = ? AND target_id = ? AND until IS NULL",
        (config_id, kind, target_id),
    ).fetchone()
    if row is not None:
        return str(row[0]), False
    at = counters.following(connection, CONTENT)
    connection.execute("INSERT INTO config_use VALUES (?, ?, ?, ?, NULL, ?)", (kind, target_id, config_id, at, now))
    return now, True


def detach(connection: sqlite3.Connection, config_id: str, kind: str, target_id: str) -> bool:
    """Detach it; whether it was attached."""
    at = counters.following(connection, CONTENT)
    where = "config_id = ? AND kind = ? AND target_id = ?"
    return _end(connection, "config_use", where, (config_id, kind, target_id), at) > 0


def users(connection: sqlite3.Connection, config_id: str) -> dict[str, list[tuple[str, str]]]:
    """What a config is attached to now: ids and names by kind, sorted by name."""
    found = {}
    for kind in TARGETS:
        sql = (
            f"SELECT target_id, name FROM config_use JOIN {kind} ON {kind}.id = target_id"
            " WHERE config_id = ? AND kind = ? AND until IS NULL ORDER BY name"
        )
        found[kind] = [(row[0], row[1]) for row in connection.execute(sql, (config_id, kind))]
    return found


def attached(connection: sqlite3.Connection, kind: str, target_id: str, at: int) -> dict[str, ConfigSpec]:
    """The configs a deployment or a node had attached when the counter stood at `at`, by id, sorted by name."""
    rows = connection.execute(
        "SELECT version.config_id, version.name, version.version, version.body FROM config_use AS used"
        " JOIN config_version AS version ON version.config_id = used.config_id"
        " AND version.since <= :at AND (version.until IS NULL OR version.until > :at)"
        " WHERE used.kind = :kind AND used.target_id = :target"
        " AND used.since <= :at AND (used.until IS NULL OR used.until > :at)"
        " ORDER BY lower(version.name)",
        {"at": at, "kind": kind, "target": target_id},
    )
    return {row["config_id"]: spec_of(row["name"], row["version"], row["body"]) for row in rows}


def deployments_with(connection: sqlite3.Connection, config_id: str) -> set[str]:
    """Deployments that have a config attached, or have a replica on a node that has."""
    rows = connection.execute(
        "SELECT target_id FROM config_use WHERE config_id = :id AND kind = 'deployment' AND until IS NULL"
        " UNION SELECT deployment_id FROM assignment JOIN config_use ON target_id = node_id"
        " WHERE config_id = :id AND kind = 'node' AND until IS NULL",
        {"id": config_id},
    )
    return {row[0] for row in rows}


def names_on(connection: sqlite3.Connection, kind: str, target_id: str) -> list[str]:
    """The names of the configs that a deployment or a node has attached now."""
    rows = connection.execute(
        "SELECT name FROM config JOIN config_use ON config_id = config.id"
        " WHERE kind = ? AND target_id = ? AND until IS NULL ORDER BY name",
        (kind, target_id),
    )
    return [row[0] for row in rows]
