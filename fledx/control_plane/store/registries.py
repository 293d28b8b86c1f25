"""Logins of registries, the password sealed; who needs one follows from the images of those who run them."""

from __future__ import annotations

import sqlite3

from fledx.control_plane.store.parts import GATEWAYS
from fledx.models.image import registry_of


def context(host: str, version: int) -> str:
    """What a password is sealed as, so that none can be put in the place of another."""
    return f"registry {host} {version}"


def by_host(connection: sqlite3.Connection, host: str) -> sqlite3.Row | None:
    """The row of one registry."""
    row: sqlite3.Row | None = connection.execute("SELECT * FROM registry WHERE host = ?", (host,)).fetchone()
    return row


def everyone(connection: sqlite3.Connection) -> list[sqlite3.Row]:
    """All of them by host."""
    return connection.execute("SELECT * FROM registry ORDER BY host").fetchall()


def page(connection: sqlite3.Connection, *, limit: int, offset: int) -> tuple[list[sqlite3.Row], int]:
    """A page of registries by host, and how many there are in all."""
    total = connection.execute("SELECT count(*) FROM registry").fetchone()[0]
    rows = connection.execute("SELECT * FROM registry ORDER BY host LIMIT ? OFFSET ?", (limit, offset))
    return rows.fetchall(), total


def put(connection: sqlite3.Connection, host: str, username: str, version: int, sealed: bytes, now: str) -> None:
    """A new login, or another one in its place."""
    connection.execute(
        "INSERT INTO registry VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET username = excluded.username,"
        " version = excluded.version, sealed = excluded.sealed, updated_at = excluded.updated_at",
        (host, username, version, sealed, now, now),
    )


def delete(connection: sqlite3.Connection, host: str) -> None:
    """Forget a login."""
    connection.execute("DELETE FROM registry WHERE host = ?", (host,))


def users(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """By registry: the names of the deployments whose image is from there, sorted."""
    found: dict[str, list[str]] = {}
    for name, image in connection.execute("SELECT name, json_extract(spec, '$.image') FROM deployment ORDER BY name"):
        found.setdefault(registry_of(image), []).append(name)
    return found


def nodes_using(connection: sqlite3.Connection, host: str) -> set[str]:
    """The nodes that are to run an image of this registry, a gateway's Envoy included."""
    rows = connection.execute(
        "SELECT DISTINCT node_id, json_extract(template, '$.image') FROM assignment"
        " JOIN revision USING (deployment_id, revision)"
        f" UNION SELECT id, json_extract(facts, '$.gateway.image') FROM {GATEWAYS}"
        " AND json_extract(facts, '$.gateway.image') IS NOT NULL"
    )
    return {row[0] for row in rows if registry_of(row[1]) == host}
