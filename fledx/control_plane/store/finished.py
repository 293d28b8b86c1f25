"""Replicas of jobs that have run to their end."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable

from fledx.models.codec import decode_lenient, encode
from fledx.models.job import JobRun


def add(
    connection: sqlite3.Connection, deployment_id: str, number: int, *, template: str, node: str | None, run: JobRun
) -> None:
    """Keep how a replica has ended; the first end counts."""
    values = (deployment_id, number, template, node, json.dumps(encode(run), separators=(",", ":")))
    connection.execute("INSERT INTO finished VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", values)


def of_deployment(connection: sqlite3.Connection, deployment_id: str) -> dict[int, JobRun]:
    """How replicas of a deployment have ended, by number."""
    sql = "SELECT replica_number, run FROM finished WHERE deployment_id = ? ORDER BY replica_number"
    rows = connection.execute(sql, (deployment_id,))
    return {row[0]: decode_lenient(JobRun, json.loads(row[1])) for row in rows}


def outcome_of(connection: sqlite3.Connection, deployment_id: str, number: int) -> str | None:
    """How one replica has ended; None where it has not."""
    sql = "SELECT json_extract(run, '$.outcome') FROM finished WHERE deployment_id = ? AND replica_number = ?"
    row = connection.execute(sql, (deployment_id, number)).fetchone()
    return None if row is None else str(row[0])


def everything(connection: sqlite3.Connection) -> set[tuple[str, int]]:
    """All that have ended, as deployment and number."""
    return {(row[0], row[1]) for row in connection.execute("SELECT deployment_id, replica_number FROM finished")}


def among(connection: sqlite3.Connection, ids: Collection[str]) -> set[tuple[str, int]]:
    """The same of some deployments."""
    marks = ",".join("?" * len(ids))
    sql = f"SELECT deployment_id, replica_number FROM finished WHERE deployment_id IN ({marks})"
    return {(row[0], row[1]) for row in connection.execute(sql, sorted(ids))}


def forget(connection: sqlite3.Connection, deployment_id: str, numbers: Iterable[int] | None = None) -> None:
    """Let these run anew, or all of the deployment."""
    if numbers is None:
        connection.execute("DELETE FROM finished WHERE deployment_id = ?", (deployment_id,))
        return
    rows = [(deployment_id, number) for number in numbers]
    connection.executemany("DELETE FROM finished WHERE deployment_id = ? AND replica_number = ?", rows)
