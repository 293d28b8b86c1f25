"""A control plane is copied while it works, and comes back from the copy, or says what is in the way."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fledx.control_plane import backups
from fledx.control_plane.backups import DailyBackups
from fledx.control_plane.home import lock, settle
from fledx.control_plane.store import migrate
from fledx.control_plane.store.database import Database
from fledx.control_plane.trust.operator_tokens import NewToken
from fledx.errors import Conflict, NotFound, Unavailable
from fledx.models.deployment import DeploymentSpec
from fledx.models.token import JoinString
from fledx.settings.control_plane import ControlPlaneSettings
from tests.unit.control_plane.conftest import ME, Stage
from tests.unit.control_plane.test_pki import NOW as MOMENT

pytestmark = pytest.mark.anyio
WEB = DeploymentSpec(name="web", image="nginx", replicas=2)
DAY = 86400.0


def home(path: Path) -> Path:
    """A directory with the keys of a control plane."""
    settle(ControlPlaneSettings(data_dir=str(path)), {}, MOMENT)
    return path


async def test_a_backup_is_taken_while_it_is_written_to(stage: Stage, tmp_path: Path) -> None:
    await stage.node("edge-1")
    await stage.deployments.create(WEB, by=ME)
    with closing(sqlite3.connect(stage.store.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        made = backups.take(tmp_path, stage.store.path, tmp_path / "copy.db", with_keys=False)
        writer.execute("ROLLBACK")

    assert (made.keys, made.size) == ((), (tmp_path / "copy.db").stat().st_size)
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    backups.restore(tmp_path / "new", tmp_path / "new/fledx.db", made.path, force=False)
    with closing(Database(tmp_path / "new/fledx.db")) as store:
        assert store.read(lambda sql: sql.execute("SELECT name FROM deployment").fetchone()[0]) == "web"
    assert sorted(path.name for path in tmp_path.glob(".copy*")) == []


async def test_keys_are_in_it_only_when_they_are_asked_for(stage: Stage, tmp_path: Path) -> None:
    directory = home(tmp_path / "cp")
    (directory / "secrets.key").write_text("00" * 32)
    keys = {name: (directory / name).read_bytes() for name in backups.KEYS}
    bare = backups.take(directory, stage.store.path, tmp_path / "bare.db", with_keys=False)
    whole = backups.take(directory, stage.store.path, tmp_path / "whole.db", with_keys=True)

    assert all(content.strip() not in bare.path.read_bytes() for content in keys.values())
    without = backups.restore(tmp_path / "a", tmp_path / "a/fledx.db", bare.path, force=False)
    done = backups.restore(tmp_path / "b", tmp_path / "b/fledx.db", whole.path, force=False)

    assert without.missing == ("ca.pem", "ca.key", "pepper", "secrets.key")
    assert (done.missing, set(done.keys)) == ((), set(keys))
    assert {name: (tmp_path / "b" / name).read_bytes() for name in keys} == keys
    assert {stat.S_IMODE((tmp_path / "b" / name).stat().st_mode) for name in keys} == {0o600}
    with closing(sqlite3.connect(tmp_path / "b/fledx.db")) as database:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master")]
    assert not any(name.startswith("backup_") for name in names)


async def test_a_restored_control_plane_outranks_what_agents_saw_after_the_backup(stage: Stage, tmp_path: Path) -> None:
    node_id = await stage.node("edge-1")
    await stage.deployments.create(WEB, by=ME)
    copy = backups.take(tmp_path, stage.store.path, tmp_path / "copy.db", with_keys=False)
    before = stage.desired(node_id)
    stage.now += 1000
    await stage.deployments.patch("web", {"image": "nginx:2"}, by=ME)
    later = stage.desired(node_id)

    backups.restore(tmp_path / "new", tmp_path / "new/fledx.db", copy.path, force=False)
    with closing(Database(tmp_path / "new/fledx.db")) as store:
        stage.store, kept = store, stage.store
        after = stage.desired(node_id)
        stage.store = kept

    assert after.revision > later.revision > before.revision
    assert replace(after, revision=0) == replace(before, revision=0), "the same replicas: nothing is restarted"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_what_root_restores_belongs_to_the_directorys_owner(stage: Stage, tmp_path: Path) -> None:
    copy = backups.take(home(tmp_path / "cp"), stage.store.path, tmp_path / "copy.db", with_keys=True)
    directory = tmp_path / "new"
    directory.mkdir()
    os.chown(directory, 12345, 12346)

    backups.restore(directory, directory / "fledx.db", copy.path, force=False)

    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in directory.iterdir()}
    assert set(owners.values()) == {(12345, 12346)}, owners


async def test_a_restore_is_written_into_the_history_and_the_audit_log(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "pepper").write_text("pepper\n")
    await stage.operator_tokens.create(NewToken(name="ci"), by=ME)
    copy = backups.take(tmp_path, stage.store.path, tmp_path / "copy.db", with_keys=True)

    backups.restore(tmp_path / "new", tmp_path / "new/fledx.db", copy.path, force=False)

    with closing(sqlite3.connect(tmp_path / "new/fledx.db")) as database:
        assert database.execute("SELECT kind FROM event ORDER BY id DESC").fetchone()[0] == "control_plane.restored"
        body = database.execute("SELECT body FROM audit ORDER BY number DESC").fetchone()[0]
    assert '"action":"database.restore"' in body


async def test_what_is_there_is_not_overwritten_but_put_aside_when_forced(stage: Stage, tmp_path: Path) -> None:
    copy = backups.take(tmp_path, stage.store.path, tmp_path / "copy.db", with_keys=False)
    there = tmp_path / "new" / "fledx.db"
    there.parent.mkdir()
    there.write_bytes(b"precious")

    with pytest.raises(Conflict, match="is there already"):
        backups.restore(there.parent, there, copy.path, force=False)
    assert there.read_bytes() == b"precious"
    done = backups.restore(there.parent, there, copy.path, force=True)

    assert done.aside is not None
    assert done.aside.read_bytes() == b"precious"
    assert migrate.what_is_pending(there) == []


async def test_nothing_is_restored_under_a_running_control_plane(stage: Stage, tmp_path: Path) -> None:
    copy = backups.take(tmp_path, stage.store.path, tmp_path / "copy.db", with_keys=False)
    directory = tmp_path / "new"
    directory.mkdir()
    held = lock(directory)

    with pytest.raises(Conflict, match="another control plane runs"):
        backups.restore(directory, directory / "fledx.db", copy.path, force=True)

    assert held > 0


async def test_other_keys_are_not_replaced_unless_forced(stage: Stage, tmp_path: Path) -> None:
    copy = backups.take(home(tmp_path / "cp"), stage.store.path, tmp_path / "copy.db", with_keys=True)
    other = home(tmp_path / "other")

    with pytest.raises(Conflict, match="keys of its own: ca"):
        backups.restore(other, other / "fledx.db", copy.path, force=False)
    backups.restore(other, other / "fledx.db", copy.path, force=True)

    assert (other / "pepper").read_bytes() == (tmp_path / "cp/pepper").read_bytes()


@pytest.mark.parametrize("content", [b"", b"garbage", b"SQLite format 3\x00" + b"\x00" * 4080])
async def test_what_is_no_backup_is_not_restored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "copy.db").write_bytes(content)

    with pytest.raises(Unavailable, match="cannot be restored"):
        backups.restore(tmp_path / "new", tmp_path / "new/fledx.db", tmp_path / "copy.db", force=False)

    assert not (tmp_path / "new/fledx.db").exists()


async def test_a_backup_with_one_page_torn_is_found_out(stage: Stage, tmp_path: Path) -> None:
    for number in range(40):
        await stage.deployments.create(DeploymentSpec(name=f"web-{number}", image="nginx"), by=ME)
    copy = backups.take(tmp_path, stage.store.path, tmp_path / "copy.db", with_keys=False).path
    whole = copy.read_bytes()
    copy.write_bytes(
        whole[: len(whole) // 2 // 4096 * 4096] + b"\xff" * 4096 + whole[len(whole) // 2 // 4096 * 4096 + 4096 :]
    )

    with pytest.raises(Unavailable, match="cannot be restored"):
        backups.restore(tmp_path / "new", tmp_path / "new/fledx.db", copy, force=False)


async def test_a_backup_of_a_newer_fledx_is_refused_by_name(stage: Stage, tmp_path: Path) -> None:
    await stage.act(lambda tx: tx.sql.execute("INSERT INTO migration VALUES (9999, 'future', '', '')"))
    copy = backups.take(tmp_path, stage.store.path, tmp_path / "copy.db", with_keys=False)

    with pytest.raises(Conflict, match="migration 9999"):
        backups.restore(tmp_path / "new", tmp_path / "new/fledx.db", copy.path, force=False)


async def test_a_backup_needs_a_database_a_directory_and_a_new_name(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no database") as missing:
        backups.take(tmp_path, tmp_path / "none.db", tmp_path / "copy.db", with_keys=False)
    assert "--data-dir" in str(missing.value.hint)
    with pytest.raises(NotFound, match="no directory"):
        backups.take(tmp_path, stage.store.path, tmp_path / "none/copy.db", with_keys=False)
    with pytest.raises(Conflict, match="already"):
        backups.take(tmp_path, stage.store.path, stage.store.path, with_keys=False)


async def test_a_backup_is_taken_daily_and_kept_by_age_the_newest_always(stage: Stage, tmp_path: Path) -> None:
    daily = DailyBackups(tmp_path, stage.store.path, interval_seconds=DAY, keep_seconds=3 * DAY)
    now = stage.now
    for _ in range(6):
        assert daily.due(now)
        daily.make(now)
        assert not daily.due(now + DAY - 1)
        now += DAY
    assert [round((now - made) / DAY) for made, _ in daily.known()] == [1, 2, 3, 4]

    later = now + 100 * DAY
    daily.make(later)

    assert [made for made, _ in daily.known()] == [float(int(later))]
    assert not DailyBackups(tmp_path, stage.store.path, interval_seconds=0, keep_seconds=0).due(later * 2)


async def test_a_damaged_database_is_named_with_the_newest_good_backup_and_the_command(
    stage: Stage, tmp_path: Path
) -> None:
    daily = DailyBackups(tmp_path, stage.store.path, interval_seconds=DAY, keep_seconds=9 * DAY)
    good = daily.make(stage.now)
    daily.make(stage.now + DAY).write_bytes(b"bad")
    backups.inspected(stage.store.path, daily)
    stage.store.path.write_bytes(b"garbage")

    with pytest.raises(Unavailable, match=r"fledx\.db is damaged: it is not an SQLite database") as refused:
        backups.inspected(stage.store.path, daily)

    command = f"`fledx cp restore {good} --force --data-dir {tmp_path}`"
    assert str(refused.value.hint) == f"{command} puts the newest good backup in its place"
    with pytest.raises(Unavailable) as elsewhere:
        backups.inspected(tmp_path / "gone.db", daily)
    assert f"--data-dir {tmp_path} --database-url sqlite://{tmp_path}/gone.db`" in str(elsewhere.value.hint)
    assert stage.store.path.read_bytes() == b"garbage"


async def test_a_database_that_is_gone_is_not_replaced_by_an_empty_one(stage: Stage, tmp_path: Path) -> None:
    gone = tmp_path / "gone.db"
    daily = DailyBackups(tmp_path, stage.store.path, interval_seconds=DAY, keep_seconds=9 * DAY)
    backups.inspected(gone, daily)
    daily.make(stage.now)

    with pytest.raises(Unavailable, match="is gone, though there are backups"):
        backups.inspected(gone, daily)


async def test_join_strings_still_let_in_after_a_restore(stage: Stage, tmp_path: Path) -> None:
    made = await stage.tokens.create_join(ttl_seconds=60, uses=1, by=ME)
    copy = backups.take(tmp_path, stage.store.path, tmp_path / "copy.db", with_keys=False)
    backups.restore(tmp_path / "new", tmp_path / "new/fledx.db", copy.path, force=False)

    hashed = stage.tokens.hashed(JoinString.parse(made.join).token)

    def found(sql: Any) -> int:
        return int(sql.execute("SELECT count(*) FROM join_token WHERE token_hash = ?", (hashed,)).fetchone()[0])

    with closing(Database(tmp_path / "new/fledx.db")) as store:
        assert store.read(found) == 1
