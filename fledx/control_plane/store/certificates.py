"""Certificates of gateways; their private keys are sealed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

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


def put(connection: sqlite3.Connection, name: str, version: int, values: Mapping[str, Any], now: str) -> None:
    """A new certificate, or another in the place of one; `values` by column."""
    row = {"name": name, "version": version, **values, "now": now}
    connection.execute(
        "INSERT INTO certificate (name, version, chain, sealed, hosts, issuer, fingerprint, not_before, not_after,"
        " created_at, updated_at) VALUES (:name, :version, :chain, :sealed, :hosts, :issuer, :fingerprint, :not_before,"
        " :not_after, :now, :now) ON CONFLICT DO UPDATE SET version = excluded.version, chain = excluded.chain,"
        " sealed = excluded.sealed, hosts = excluded.hosts, issuer = excluded.issuer,"
        " fingerprint = excluded.fingerprint, not_before = excluded.not_before, not_after = excluded.not_after,"
        " updated_at = excluded.updated_at, warned = NULL",
        row,
    )


def set_shown_for(connection: sqlite3.Connection, name: str, hosts: Iterable[str]) -> None:
    """Keep which hosts a certificate is presented for."""
    connection.execute("UPDATE certificate SET shown_for = ? WHERE name = ?", (json.dumps(list(hosts)), name))


def set_warned(connection: sqlite3.Connection, name: str, stage: int) -> None:
    """Keep what of its end has been told: 1 that it is near, 2 that it is over."""
    connection.execute("UPDATE certificate SET warned = ? WHERE name = ?", (stage, name))


def delete(connection: sqlite3.Connection, name: str) -> None:
    """Forget a certificate and its key."""
    connection.execute("DELETE FROM certificate WHERE name = ?", (name,))


def opened(connection: sqlite3.Connection, seal: Seal) -> tuple[GatewayCertificate, ...]:
    """All that are presented for a host and whose key can be opened, as gateways get them."""
    return tuple(_opened(connection, seal))


def _opened(connection: sqlite3.Connection, seal: Seal) -> Iterator[GatewayCertificate]:
    for row in everyone(connection):
        hosts = tuple(json.loads(row["shown_for"]))
        if not hosts:
            continue
        try:
            key = seal.unseal(row["sealed"], context(row["name"], row["version"])).decode()
        except Unsealable:
            continue
        yield GatewayCertificate(name=row["name"], hosts=hosts, chain=row["chain"], key=key)
