"""Revisions: the history of each deployment's template, and what became of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fledx.models.template import Template

TEMPLATE_FIELDS = tuple(field.name for field in fields(Template))


def template_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The template's part of an encoded spec."""
    return {field: spec[field] for field in TEMPLATE_FIELDS if field in spec}


def add(
    connection: sqlite3.Connection, deployment_id: str, revision: int, spec: Mapping[str, Any], by: str, now: str
) -> None:
    """Keep an encoded spec's template as a revision, and where configs and secrets stand now: it sees them so."""
    text = json.dumps(template_of(spec), separators=(",", ":"))
    connection.execute(
        "INSERT INTO revision (deployment_id, revision, template, created_at, created_by, content)"
        " VALUES (?, ?, ?, ?, ?, (SELECT value FROM counter WHERE name = 'content'))",
        (deployment_id, revision, text, now, by),
    )


def settle(connection: sqlite3.Connection, deployment_id: str, revision: int, outcome: str, reason: str | None) -> None:
    """Keep what became of a revision's rollout."""
    sql = "UPDATE revision SET outcome = ?, reason = ? WHERE deployment_id = ? AND revision = ?"
    connection.execute(sql, (outcome, reason, deployment_id, revision))


def supersede(connection: sqlite3.Connection, deployment_id: str, revision: int) -> None:
    """Revisions that are still on their way will not arrive, but for this one."""
    sql = "UPDATE revision SET outcome = 'superseded' WHERE deployment_id = ? AND revision <> ? AND outcome IS NULL"
    connection.execute(sql, (deployment_id, revision))


def of_deployment(connection: sqlite3.Connection, deployment_id: str) -> list[sqlite3.Row]:
    """All revisions, oldest first."""
    sql = "SELECT * FROM revision WHERE deployment_id = ? ORDER BY revision"
    return connection.execute(sql, (deployment_id,)).fetchall()


def newest(connection: sqlite3.Connection, deployment_id: str) -> int:
    """The highest number that a revision of this deployment has had."""
    sql = "SELECT coalesce(max(revision), 0) FROM revision WHERE deployment_id = ?"
    return int(connection.execute(sql, (deployment_id,)).fetchone()[0])


def content_of(connection: sqlite3.Connection, deployment_id: str, revision: int) -> int:
    """Where the counter of configs and secrets stood when a revision was made."""
    sql = "SELECT content FROM revision WHERE deployment_id = ? AND revision = ?"
    row = connection.execute(sql, (deployment_id, revision)).fetchone()
    return 0 if row is None else int(row[0])


def digest_of(connection: sqlite3.Connection, deployment_id: str, revision: int) -> str | None:
    """What the image's tag stands for in a revision, None while no node has found out."""
    sql = "SELECT digest FROM revision WHERE deployment_id = ? AND revision = ?"
    row = connection.execute(sql, (deployment_id, revision)).fetchone()
    return None if row is None else row[0]


def set_digest(connection: sqlite3.Connection, deployment_id: str, revision: int, digest: str | None) -> None:
    """Keep what the image's tag stands for in a revision."""
    sql = "UPDATE revision SET digest = ? WHERE deployment_id = ? AND revision = ?"
    connection.execute(sql, (digest, deployment_id, revision))


def template(connection: sqlite3.Connection, deployment_id: str, revision: int) -> dict[str, Any] | None:
    """The encoded template of one revision."""
    sql = "SELECT template FROM revision WHERE deployment_id = ? AND revision = ?"
    row = connection.execute(sql, (deployment_id, revision)).fetchone()
    return None if row is None else json.loads(row[0])


def templates(connection: sqlite3.Connection, wanted: set[tuple[str, int]]) -> dict[tuple[str, int], dict[str, Any]]:
    """Those of several that there are, by deployment and revision."""
    found = {key: template(connection, *key) for key in wanted}
    return {key: each for key, each in found.items() if each is not None}
