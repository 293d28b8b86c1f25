"""What the disk and the power do to a control plane's memory (faults 1, 2 and 3)."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from fledx.control_plane.store import migrate
from fledx.control_plane.store.audit import Chain
from fledx.control_plane.store.database import connect, inspect
from fledx.errors import LimitExceeded
from fledx.models.deployment import DeploymentSpec
from fledx.models.report import Happening, Report
from tests.builders import instance
from tests.unit.control_plane.conftest import ME, Stage
from tests.waiting import in_time

PROJECT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 11, 25, tzinfo=timezone.utc)
ROUNDS = 8
T = TypeVar("T")


def dying(path: Path, word: str) -> subprocess.Popen[str]:
    """The process of `dying.py`."""
    command = [sys.executable, "-m", "tests.unit.control_plane.dying", str(path), word]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def whole(path: Path) -> set[str]:
    """The names of the deployments in a sound database, each whole: with revision, waiting replicas and audit line."""
    inspect(path)
    migrate.bring_up(path, NOW)
    with closing(connect(path)) as sql:
        assert sql.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert sql.execute("PRAGMA foreign_key_check").fetchall() == []
        names = {row["id"]: row["name"] for row in sql.execute("SELECT id, name FROM deployment")}
        for table, count in (("revision", 1), ("pending", 3)):
            rows = sql.execute(f"SELECT deployment_id, count(*) FROM {table} GROUP BY 1").fetchall()
            assert {row[0]: row[1] for row in rows} == dict.fromkeys(names, count)
        lines = [json.loads(row["body"])["resource_name"] for row in sql.execute("SELECT body FROM audit")]
        assert sorted(lines) == sorted(names.values())
        assert Chain(bytes(32)).verify(sql).intact
        return set(names.values())


def opens_in_time(path: Path, opened: Callable[[Path], T]) -> T:
    """
    What opening the database gives, which takes no more than two seconds.

    Where the machine is held up, a copy of what lay there is opened once more: what is slow is slow each time.
    """
    aside = path.with_name("aside")
    aside.mkdir()
    for left in path.parent.glob(f"{path.name}*"):
        shutil.copy(left, aside / left.name)
    found: list[T] = []

    def timed() -> float:
        place = path
        if found:
            place = path.with_name(f"aside-{len(found)}") / path.name
            shutil.copytree(aside, place.parent)
        began = time.monotonic()
        found.append(opened(place))
        return time.monotonic() - began

    assert in_time(timed, 2) <= 2
    for left in path.parent.glob("aside*"):
        shutil.rmtree(left)
    return found[0]


@pytest.mark.slow
def test_fault_1_what_was_acknowledged_outlives_a_kill_at_any_moment(tmp_path: Path) -> None:
    path, seed = tmp_path / "fledx.db", random.randrange(2**32)
    print(f"seed {seed}")
    chance, acknowledged = random.Random(seed), set[str]()
    migrate.bring_up(path, NOW)
    for number in range(ROUNDS):
        process = dying(path, str(number))
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 40)):
            acknowledged.add(process.stdout.readline().strip())
        time.sleep(chance.random() * 0.01)  # the moment is the test's own choice, nothing is waited for
        process.kill()
        acknowledged |= set(process.stdout.read().split("\n")[:-1])
        process.wait()
        process.stdout.close()
        assert process.stderr is not None
        process.stderr.close()

        found = opens_in_time(path, whole)
        assert acknowledged - {""} <= found
        assert len(found - acknowledged) <= number + 1, "at most the one that was under way at each kill"


def test_fault_2_a_log_torn_at_any_byte_opens_with_all_but_its_last_transactions(tmp_path: Path) -> None:
    path, source = tmp_path / "torn" / "fledx.db", tmp_path / "fledx.db"
    migrate.bring_up(source, NOW)
    writer = connect(source)
    writer.execute("PRAGMA wal_autocheckpoint=0")
    for number in range(20):
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO counter VALUES (?, ?)", (f"a{number}", number))
        writer.execute("INSERT INTO counter VALUES (?, ?)", (f"b{number}", number))
        writer.execute("COMMIT")
    log = source.with_name("fledx.db-wal").read_bytes()
    chance = random.Random(2)
    for cut in sorted(chance.randrange(len(log)) for _ in range(40)):
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir()
        shutil.copy(source, path)
        path.with_name("fledx.db-wal").write_bytes(log[:cut] + chance.randbytes(chance.randrange(3) * 2000))

        inspect(path)
        with closing(connect(path)) as sql:
            assert sql.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            names = {row[0] for row in sql.execute("SELECT name FROM counter")}
        numbers = sorted(int(name[1:]) for name in names if name[0] == "a" and name[1:].isdigit())
        assert numbers == list(range(len(numbers))), "none is missing in between"
        assert {f"b{number}" for number in numbers} <= names, "each is whole"
        assert f"b{len(numbers)}" not in names
    writer.close()


def test_fault_3_a_full_disk_refuses_writes_and_reads_go_on_until_there_is_space(tmp_path: Path) -> None:
    path = tmp_path / "fledx.db"
    migrate.bring_up(path, NOW)

    said, problem = dying(path, "full").communicate(timeout=300)

    refused, count, after = said.splitlines()
    assert refused.split()[1] == "storage_full", (said, problem)
    assert "free some space; reads still work" in refused
    assert (int(count), after) == (int(refused.split()[0]), "after")
    with closing(connect(path)) as sql:
        assert sql.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


@pytest.mark.anyio
async def test_fault_3_a_full_database_is_507_in_the_trees_words(stage: Stage) -> None:
    await stage.deployments.create(DeploymentSpec(name="web", image="nginx"), by=ME)
    pages = stage.store.read(lambda sql: sql.execute("PRAGMA page_count").fetchone()[0])
    await stage.store.write(lambda sql: None)
    stage.store._writer.execute(f"PRAGMA max_page_count={pages}")

    async def fill() -> None:
        for number in range(100):
            await stage.deployments.create(DeploymentSpec(name=f"web-{number}", image="nginx" + "x" * 240), by=ME)

    with pytest.raises(LimitExceeded) as refused:
        await fill()
    assert refused.value.code == "storage_full"
    assert stage.deployments.get("web").name == "web"

    stage.store._writer.execute(f"PRAGMA max_page_count={pages + 10_000}")
    await stage.deployments.create(DeploymentSpec(name="after", image="nginx"), by=ME)
    assert (await stage.audit.verify()).intact


@pytest.mark.anyio
async def test_fault_3_what_agents_tell_meanwhile_is_stored_as_soon_as_there_is_space(stage: Stage) -> None:
    node_id = await stage.node("edge-1")
    made = await stage.deployments.create(DeploymentSpec(name="web", image="nginx"), by=ME)
    pages = stage.store.read(lambda sql: sql.execute("PRAGMA page_count").fetchone()[0])
    long = instance(deployment_id=made.deployment_id, node_id=node_id, message="x" * 4000)
    many = tuple(Happening(at=long.last_updated, kind="crash", reason=f"{n}" + "y" * 1900) for n in range(200))
    report = Report(revision=1, full=True, instances=(long,), happenings=many)
    stage.store._writer.execute(f"PRAGMA max_page_count={pages}")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stage.reports.store, [(node_id, report)])
        await anyio.sleep(0.2)
        assert stage.deployments.get("web").instances == ()
        stage.store._writer.execute(f"PRAGMA max_page_count={pages + 10_000}")
    assert [each.message for each in stage.deployments.get("web").instances or ()] == [long.message]


def test_a_database_that_another_process_holds_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "fledx.db"
    migrate.bring_up(path, NOW)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with closing(connect(path, read_only=True)) as reader:
            assert reader.execute("SELECT count(*) FROM counter").fetchone()[0] >= 2
        other.execute("ROLLBACK")
