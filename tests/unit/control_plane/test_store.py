"""The file: brought up step by step, refused when it is not sound, and never half written."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timezone
from pathlib import Path

import pytest

from fledx.control_plane.store import migrate
from fledx.control_plane.store.database import Database, connect, inspect, path_of, prepare_directory
from fledx.control_plane.store.migrate import Migration
from fledx.errors import Conflict, Unavailable

NOW = datetime(2026, 11, 25, tzinfo=timezone.utc)
FIRST = Migration(version=1, name="first", sql="CREATE TABLE a (x INTEGER);\nCREATE TABLE b (y INTEGER);\n")
SECOND = Migration(version=2, name="second", sql="ALTER TABLE a ADD COLUMN z TEXT;\n")


def test_pending_migrations_are_applied_once_and_recorded(tmp_path: Path) -> None:
    with connect(tmp_path / "db") as connection:
        assert migrate.migrate(connection, [FIRST], NOW) == [FIRST]
        assert migrate.migrate(connection, [FIRST, SECOND], NOW) == [SECOND]
        assert migrate.migrate(connection, [FIRST, SECOND], NOW) == []
        assert sorted(migrate.applied(connection)) == [1, 2]
    connection.close()


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = Migration(version=1, name="broken", sql="CREATE TABLE a (x INTEGER);\nNONSENSE;\n")
    connection = connect(tmp_path / "db")

    with pytest.raises(sqlite3.OperationalError):
        migrate.migrate(connection, [broken], NOW)

    assert migrate.applied(connection) == {}
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'a'").fetchone()[0] == 0
    connection.close()


def test_fault_26_the_database_of_a_newer_version_is_refused_as_is_an_edited_migration(tmp_path: Path) -> None:
    connection = connect(tmp_path / "db")
    migrate.migrate(connection, [FIRST, SECOND], NOW)

    with pytest.raises(Conflict, match="migration 2, which this version of fledx does not know"):
        migrate.pending(connection, [FIRST])
    with pytest.raises(Conflict, match="migration 2 differs"):
        migrate.pending(connection, [FIRST, Migration(version=2, name="second", sql="SELECT 1;")])
    connection.close()


def test_the_dry_run_lists_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "db"

    assert migrate.what_is_pending(path) == migrate.known()
    assert not path.exists()

    migrate.bring_up(path, NOW)
    assert migrate.what_is_pending(path) == []


@pytest.mark.parametrize("content", [b"", b"garbage that is no database" * 50])
def test_fault_4_a_damaged_file_is_named_and_never_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fledx.db"
    path.write_bytes(content)

    with pytest.raises(Unavailable, match=r"fledx\.db is damaged"):
        inspect(path)

    assert path.read_bytes() == content


def test_fault_4_a_truncated_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fledx.db"
    migrate.bring_up(path, NOW)
    path.write_bytes(path.read_bytes()[:8192])

    with pytest.raises(Unavailable, match=r"fledx\.db is damaged"):
        inspect(path)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")

    with pytest.raises(Unavailable, match="cannot be written"):
        prepare_directory(file / "below")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///var/lib/fledx/fledx.db", "/var/lib/fledx/fledx.db"),
        ("sqlite:////var/lib/fledx/fledx.db", "/var/lib/fledx/fledx.db"),
        ("sqlite://data/fledx.db", "data/fledx.db"),
    ],
)
def test_a_database_url_names_a_path(url: str, path: str) -> None:
    assert path_of(url) == Path(path)


@pytest.mark.anyio
async def test_a_transaction_that_raises_is_undone(tmp_path: Path) -> None:
    path = tmp_path / "db"
    migrate.bring_up(path, NOW)
    store = Database(path)

    def fail(sql: sqlite3.Connection) -> None:
        sql.execute("UPDATE counter SET value = 99")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await store.write(fail)
    with pytest.raises(Conflict):
        await store.write(lambda sql: sql.execute("INSERT INTO counter VALUES ('fence', 1)"))

    assert store.read(lambda sql: sql.execute("SELECT max(value) FROM counter").fetchone()[0]) == 0
    store.close()
