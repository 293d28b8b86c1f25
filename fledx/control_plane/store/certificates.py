"""Certificates of gateways; their private keys are sealed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator

from fledx.models.ingress import GatewayCertificate
from fledx.sealing import Seal, Unsealable


def context(name: str, version: int) -> str:
    """What a key is sealed as, so that none can be put in the place of another."""
    return f"certificate {name} {version}"


def head(connection: sqlite3.Connection, name: str) -> sqlite3.Row | None:
    """The row of a certificate, its name in any case of letters."""
    row: sqlite3.Row | None = connection.execute("SELECT * FROM certificate WHERE name = ?", (name,)).fetchone()
    return row


def everyone(connection: sqlite3.Connection) -> list[sqlite3.Row]:
    """All of them by name."""
    return connection.execute("SELECT * FROM certificate ORDER BY name").fetchall()


def page(connection: sqlite3.Connection, *, limit: int, offset: int) -> tuple[list[sqlite3.Row], int]:
    """A page by name, and how many there are in all."""
    total = connection.execute("SELECT count(*) FROM certificate").fetchone()[0]
    rows = connection.execute("SELECT * FROM certificate ORDER BY name LIMIT ? OFFSET ?", (limit, offset))
    return rows.fetchall(), total


def delete(connection: sqlite3.Connection, name: str) -> None:
    """Forget a certificate and its key."""
    connection.execute("DELETE FROM certificate WHERE name = ?", (name,))


def opened(connection: sqlite3.Connection, seal: Seal) -> tuple[GatewayCertificate, ...]:
    """All whose key can be opened, as gateways get them."""
    return tuple(_opened(connection, seal))


def _opened(connection: sqlite3.Connection, seal: Seal) -> Iterator[GatewayCertificate]:
    for row in everyone(connection):
        try:
            key = seal.unseal(row["sealed"], context(row["name"], row["version"])).decode()
        except Unsealable:
            continue
        hosts = tuple(json.loads(row["hosts"]))
        yield GatewayCertificate(name=row["name"], hosts=hosts, chain=row["chain"], key=key)
