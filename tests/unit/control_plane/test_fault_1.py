"""Fault 1 at every kind of write: killed before, within or after its transaction, all of it is there or nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fledx.control_plane.store.audit import Chain
from fledx.control_plane.store.database import connect, inspect
from tests.unit.control_plane.conftest import ME, Stage
from tests.unit.control_plane.failpoints import API, POINTS, WRITES
from tests.unit.control_plane.test_faults import PROJECT, opens_in_time

pytestmark = pytest.mark.slow
Rows = dict[str, list[tuple[Any, ...]]]
#: Tables whose rows say the same in two runs, but for ids and moments.
TELLING = {
    "deployment": ("name", "generation", "revision", "status"),
    "node": ("name", "status", "availability"),
    "assignment": ("replica_number", "fence"),
    "pending": ("replica_number", "reason"),
    "config": ("name", "version"),
    "secret": ("name",),
    "registry": ("host", "username", "version"),
    "certificate": ("name", "version"),
    "volume": ("name", "volume", "replica_number", "state"),
    "operator_token": ("name", "revoked_at IS NULL"),
    "join_token": ("uses",),
    "event": ("kind", "subject"),
}


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what the kills left."""
    folder = tmp_path_factory.mktemp("killed")
    prepared = folder / "prepared.db"
    (folder / "left").mkdir()
    for words in (("prepare", prepared), (prepared, folder / "left")):
        command = [sys.executable, "-m", "tests.unit.control_plane.failpoints", *map(str, words)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
    return folder


def rows(path: Path) -> Rows:
    """Everything that is in a sound database."""
    with closing(connect(path)) as sql:
        names = [row[0] for row in sql.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")]
        return {name: sorted((tuple(row) for row in sql.execute(f"SELECT * FROM {name}")), key=repr) for name in names}


def told(path: Path) -> dict[str, Any]:
    """What two runs of the same write have in common: how much there is of everything, and what it is called."""
    counted = {name: len(found) for name, found in rows(path).items()}
    with closing(connect(path)) as sql:
        said = {
            table: sorted(tuple(row) for row in sql.execute(f"SELECT {', '.join(columns)} FROM {table}"))
            for table, columns in TELLING.items()
        }
        actions = [json.loads(row["body"])["action"] for row in sql.execute("SELECT body FROM audit ORDER BY number")]
    return {**counted, **{f"{table}.": found for table, found in said.items()}, "actions": actions}


def opened(path: Path) -> None:
    """As a control plane does it."""
    inspect(path)
    Stage(path).store.close()


def sound(path: Path) -> None:
    """It opens within two seconds, and holds what always holds."""
    opens_in_time(path, opened)
    with closing(connect(path)) as sql:
        assert sql.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert sql.execute("PRAGMA foreign_key_check").fetchall() == []
        assert Chain(bytes(32)).verify(sql).intact
        highest = sql.execute("SELECT value FROM counter WHERE name = 'fence'").fetchone()[0]
        taken: list[tuple[Any, ...]] = []
        for row in sql.execute("SELECT node_id, fence, ports FROM assignment"):
            assert row["fence"] <= highest
            taken += [(row["node_id"], port["host_port"], port["protocol"]) for port in json.loads(row["ports"])]
        assert len(set(taken)) == len(taken), "no host port is given twice"


@pytest.mark.parametrize("name", WRITES)
def test_fault_1_a_write_that_is_killed_is_whole_or_absent(left: Path, name: str) -> None:
    before = rows(left / "prepared.db")
    undisturbed = told(left / f"left/{name}.undisturbed.db")
    assert before != rows(left / f"left/{name}.undisturbed.db"), "it is acknowledged and there"
    for point in POINTS[1:]:
        path = left / f"left/{name}.{point}.db"
        sound(path)
        if point == "after commit":
            assert undisturbed == told(path)
        else:
            assert before == rows(path), point


@pytest.mark.anyio
async def test_fault_1_a_create_that_nobody_heard_of_is_repeated_with_its_key_and_has_one_effect(left: Path) -> None:
    for point in ("before commit", "after commit"):
        stage = Stage(left / f"left/create.{point}.db")
        made = await stage.deployments.create(API, by=ME, idempotency_key="once")
        assert (made.name, made.generation) == ("api", 1)
        assert [each.subject for each in stage.happened("deployment.created")] == ["web", "db", "old", "api"]
        stage.store.close()


def test_the_table_of_writes_names_every_table_that_operators_change(left: Path) -> None:
    changed = set()
    before = rows(left / "prepared.db")
    for name in WRITES:
        after = rows(left / f"left/{name}.undisturbed.db")
        changed |= {table for table in before if before[table] != after[table]}
    operators = {"deployment", "revision", "assignment", "pending", "config", "secret", "operator_token", "node"}
    operators |= {"registry", "certificate", "volume"}
    assert operators | {"join_token", "instance", "idempotency", "config_use", "audit", "event"} <= changed
