"""`fledx cp backup` and `fledx cp restore` on a machine's own files."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from fledx.control_plane.home import settle
from fledx.control_plane.store import migrate
from fledx.settings.control_plane import ControlPlaneSettings
from tests.unit.cli.harness import Cli

NOW = datetime(2026, 11, 25, tzinfo=timezone.utc)


def control_plane(path: Path) -> Path:
    """The directory of one that is not running."""
    settle(ControlPlaneSettings(data_dir=str(path)), {}, NOW)
    migrate.bring_up(path / "fledx.db", NOW)
    return path


def test_a_backup_and_its_way_back(tmp_path: Path) -> None:
    directory, copy = control_plane(tmp_path / "cp"), tmp_path / "copy.db"
    cli = Cli()

    assert 0 == cli.run("cp", "backup", str(copy), "--with-keys", "--data-dir", str(directory))
    assert cli.said.startswith(f"backup taken and checked: {copy}, ")
    assert "it holds keys and tokens" in cli.said

    assert 0 == cli.run("cp", "restore", str(copy), "--data-dir", str(tmp_path / "new"))
    assert f"restored to {tmp_path}/new/fledx.db, as it was at 20" in cli.said
    assert "not there: secrets.key" in cli.said
    assert f"start it with `fledx cp --data-dir {tmp_path}/new`" in cli.said


def test_what_is_in_the_way_is_one_line_with_what_to_try(tmp_path: Path) -> None:
    directory, copy = control_plane(tmp_path / "cp"), tmp_path / "copy.db"
    cli = Cli(FLEDX_CP_DATA_DIR=str(directory))
    assert 0 == cli.run("cp", "backup", str(copy))

    assert 1 == cli.run("cp", "restore", str(copy))
    assert cli.said.endswith("is there already (--force puts it aside, and the backup in its place)\n")
    assert 1 == cli.run("cp", "backup", str(copy))
    assert "copy.db is there already" in cli.said
    assert 1 == cli.run("cp", "backup", str(tmp_path / "b.db"), "--data-dir", str(tmp_path / "none"))
    assert "bootstrap's is /var/lib/fledx/cp" in cli.said


def test_the_verbs_of_cp_do_not_stand_in_the_way_of_running_it(tmp_path: Path) -> None:
    directory = control_plane(tmp_path / "backup")
    cli = Cli()

    assert 0 == cli.run("cp", "--data-dir", str(directory), "--migrations-dry-run")
    assert 2 == cli.run("cp", "bakup")
    assert "backup" in cli.said
