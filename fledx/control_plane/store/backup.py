"""Whole copies of the database: taken while it is written to, checked, and put in its place again."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path

from fledx.control_plane.store import migrate
from fledx.control_plane.store.database import HEADER, connect, damaged, translated

#: Rides in a backup only: what it is, and the files that were put in.
NOTES = """CREATE TABLE backup_note (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE backup_file (name TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;"""


def take(source: Path, target: Path, notes: Mapping[str, str], files: Mapping[str, bytes]) -> None:
    """
    Copy `source` as it is at this moment to the file `target`, which is there whole and checked, or not at all.

    SQLite's own online copy: a writer goes on meanwhile. Unavailable when either file is damaged or cannot be used.
    """
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        with translated(source), contextlib.closing(connect(source, read_only=True)) as from_this:
            _copy(from_this, draft)
        with translated(draft), contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as made:
            _note(made, notes, files)
            _check(made, draft)
        _settle(draft, target)
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def _copy(source: sqlite3.Connection, draft: Path) -> None:
    with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")


def _note(made: sqlite3.Connection, notes: Mapping[str, str], files: Mapping[str, bytes]) -> None:
    for statement in migrate.statements(NOTES):
        made.execute(statement)
    made.executemany("INSERT INTO backup_note VALUES (?, ?)", list(notes.items()))
    made.executemany("INSERT INTO backup_file VALUES (?, ?)", list(files.items()))


def _check(made: sqlite3.Connection, path: Path) -> None:
    found = made.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, str(found))


def _settle(draft: Path, target: Path) -> None:
    """On the disk first, then under its name, then the name on the disk."""
    for path in (draft, target.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if path == draft:
            draft.replace(target)


def fault_of(path: Path) -> str | None:
    """Why this is no backup that could be restored; None when it is one. Reads all of it."""
    try:
        with path.open("rb") as file:
            if file.read(len(HEADER)) != HEADER:
                return "it is not an SQLite database"
        with _opened(path) as backup:
            found = backup.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                return str(found)
            if not migrate.applied(backup):
                return "it is not a control plane's"
    except (OSError, sqlite3.DatabaseError) as problem:
        return str(problem)
    return None


def contents(path: Path) -> tuple[dict[str, str], dict[str, bytes]]:
    """The notes and the files in a backup; both empty in a database that was copied by hand."""
    with translated(path), _opened(path) as backup:
        there = backup.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('backup_note', 'backup_file')")
        if there.fetchone()[0] != 2:
            return {}, {}
        notes = {row[0]: row[1] for row in backup.execute("SELECT name, text FROM backup_note")}
        return notes, {row[0]: row[1] for row in backup.execute("SELECT name, content FROM backup_file")}


def known_to_us(path: Path) -> None:
    """Conflict when the backup was written by a newer fledx than this."""
    with translated(path), _opened(path) as backup:
        migrate.pending(backup, migrate.known())


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Read it without making any file beside it, so that it may lie where nothing can be written."""
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as backup:
        backup.row_factory = sqlite3.Row
        yield backup


def put_back(backup: Path, database: Path, note: Callable[[sqlite3.Connection], None]) -> None:
    """
    Make `backup` the database, ready to be started.

    What agents saw since the backup was taken must not outrank what the restored control plane will tell them, so every
    desired revision and the fence go up to the present time. `note` writes the restore into the history.
    """
    draft = database.with_name(f".{database.name}.{os.getpid()}")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        with translated(backup), _opened(backup) as source:
            _copy(source, draft)
        with translated(draft), contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as made:
            made.row_factory = sqlite3.Row
            bring_up(made)
            _make_present(made, time.time(), note)
            _check(made, draft)
        for suffix in ("-wal", "-shm"):
            database.with_name(database.name + suffix).unlink(missing_ok=True)
        _settle(draft, database)
    finally:
        draft.unlink(missing_ok=True)


def bring_up(made: sqlite3.Connection) -> None:
    """Give a copy this program's schema."""
    migrate.migrate(made, migrate.known(), datetime.now(timezone.utc))


def _make_present(made: sqlite3.Connection, now: float, note: Callable[[sqlite3.Connection], None]) -> None:
    made.execute("BEGIN IMMEDIATE")
    made.execute("DROP TABLE IF EXISTS backup_note")
    made.execute("DROP TABLE IF EXISTS backup_file")
    made.execute("UPDATE node SET desired_revision = max(desired_revision + 1, ?)", (int(now * 1000),))
    made.execute("UPDATE counter SET value = max(value, ?) WHERE name = 'fence'", (int(now),))
    note(made)
    made.execute("COMMIT")
