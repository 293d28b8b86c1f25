"""Numbered SQL files bring a database to this version; a migration and the record of it commit together."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path

from fledx.control_plane.store.database import connect, inspect, translated
from fledx.errors import Conflict

PACKAGE = "fledx.control_plane.store.migrations"
LEDGER = """CREATE TABLE IF NOT EXISTS migration (
    version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at TEXT NOT NULL
)"""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One step: `0001_first.sql` is version 1, named first."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Tells an edited file from the one that was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def known() -> list[Migration]:
    """All migrations this program carries, oldest first."""
    files = [entry for entry in resources.files(PACKAGE).iterdir() if entry.name.endswith(".sql")]
    found = []
    for file in sorted(files, key=lambda entry: entry.name):
        version, _, name = file.name.removesuffix(".sql").partition("_")
        found.append(Migration(version=int(version), name=name, sql=file.read_text("utf-8")))
    return found


def applied(connection: sqlite3.Connection) -> dict[int, str]:
    """Version to checksum of what the database has had; empty for a new one. Changes nothing."""
    there = connection.execute("SELECT 1 FROM sqlite_master WHERE name='migration'").fetchone()
    rows = connection.execute("SELECT version, checksum FROM migration").fetchall() if there else []
    return {row["version"]: row["checksum"] for row in rows}


def version(connection: sqlite3.Connection) -> int:
    """The newest migration a database has had, 0 for none."""
    return max(applied(connection), default=0)


def pending(connection: sqlite3.Connection, steps: list[Migration]) -> list[Migration]:
    """What is still to be applied; Conflict when the database is newer than, or differs from, this program."""
    had = applied(connection)
    ours = {step.version: step for step in steps}
    for version, checksum in had.items():
        if version not in ours:
            raise Conflict(
                f"the database has migration {version}, which this version of fledx does not know",
                hint="run the newer fledx that wrote it, or restore a backup made before the upgrade",
            )
        if ours[version].checksum != checksum:
            raise Conflict(f"the database's migration {version} differs from this program's")
    return [step for step in steps if step.version not in had]


def migrate(connection: sqlite3.Connection, steps: list[Migration], now: datetime) -> list[Migration]:
    """Apply what is pending, each in one transaction with its record; the list of those applied."""
    todo = pending(connection, steps)
    connection.execute("PRAGMA synchronous=FULL")
    for step in todo:
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(LEDGER)
            for statement in statements(step.sql):
                connection.execute(statement)
            record = (step.version, step.name, step.checksum, now.isoformat())
            connection.execute("INSERT INTO migration VALUES (?, ?, ?, ?)", record)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    return todo


def statements(sql: str) -> list[str]:
    """The single statements of a script; `executescript` would commit each by itself."""
    found, rest = [], ""
    for line in sql.splitlines(keepends=True):
        rest += line
        if sqlite3.complete_statement(rest):
            found.append(rest)
            rest = ""
    return found


def what_is_pending(path: Path) -> list[Migration]:
    """The dry run: what a start would apply to this file. Creates and changes nothing."""
    if not path.exists():
        return known()
    inspect(path)
    with translated(path), contextlib.closing(connect(path, read_only=True)) as connection:
        return pending(connection, known())


def bring_up(path: Path, now: datetime) -> list[Migration]:
    """Make or migrate the database; what was applied."""
    with translated(path), contextlib.closing(connect(path)) as connection:
        return migrate(connection, known(), now)
