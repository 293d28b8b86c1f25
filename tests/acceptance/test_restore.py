"""A control plane is lost and comes back from a backup on a new machine; a damaged one says how (faults 3, 4)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fledx.client.api import ControlPlane
from fledx.errors import LimitExceeded
from tests.acceptance.system import System
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def data(system: System) -> Path:
    """Where the control plane keeps everything."""
    return system.folder / "state/fledx/cp"


def test_agents_come_back_to_a_restored_control_plane_and_nothing_is_restarted(system: System, tmp_path: Path) -> None:
    system.start("edge-1")
    system.deploy("web", replicas=2)
    before = system.processes("web")
    made = system.cli("cp", "backup", str(tmp_path / "copy.db"), "--with-keys")
    assert made.returncode == 0, made.stderr
    with contextlib.closing(system.api()) as api:
        api.create_deployment({"name": "late", "image": "late:1"})

    system.control_plane.kill()
    system.control_plane.running = None
    shutil.rmtree(data(system))
    done = system.cli("cp", "restore", str(tmp_path / "copy.db"))
    assert done.returncode == 0, done.stderr
    system.start_control_plane()

    eventually(lambda: system.ready_nodes() == 1, within=120)
    eventually(lambda: system.deployment("web")["ready_replicas"] == 2, within=120)
    assert system.processes("web") == before
    assert [each["kind"] for each in system.events("control_plane")] == ["control_plane.restored"]
    assert "the audit log is whole" in system.cli("audit", "verify").stdout
    done = system.cli("scale", "web=3")
    assert done.returncode == 0, done.stderr
    assert before.items() <= system.processes("web").items()


def test_fault_4_a_damaged_database_is_named_at_the_start_and_the_command_it_names_mends_it(system: System) -> None:
    system.start_control_plane()
    assert system.cli("configs", "create", "--name", "kept", "--var", "A=b").returncode == 0
    system.control_plane.stop()
    for path in (data(system) / "backups").glob("*.db"):
        path.unlink()
    system.start_control_plane()  # none is there, so that it takes another at once
    eventually(lambda: list((data(system) / "backups").glob("fledx-*.db")))
    system.control_plane.kill()
    database = data(system) / "fledx.db"
    database.write_bytes(b"garbage" * 1000)

    system.control_plane.start()
    assert system.control_plane.running is not None
    assert system.control_plane.running.wait(120) == 1
    said = system.control_plane.said().splitlines()[-1]
    assert f"{database} is damaged" in said
    assert "Traceback" not in system.control_plane.said()

    command = said.partition("`fledx ")[2].partition("`")[0].split()
    done = system.cli(*command, FLEDX_CLI_OPERATOR_TOKEN="")
    assert done.returncode == 0, done.stderr
    system.start_control_plane()
    assert [each["metadata"]["name"] for each in system.cli_json("configs", "list")["items"]] == ["kept"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_fault_3_a_full_disk_is_507_reads_go_on_and_it_recovers_by_itself(system: System, small_disk: Path) -> None:
    system.control_plane.environ["FLEDX_CP_DATABASE_URL"] = f"sqlite://{small_disk}/fledx.db"
    system.control_plane.environ["FLEDX_CP_BACKUP_INTERVAL_SECS"] = "0"
    system.start("edge-1")
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    with contextlib.closing(system.api()) as api:
        with pytest.raises(LimitExceeded, match="no space to write") as refused:
            create_configs(api, 2000)
        assert "free some space" in str(refused.value.hint)
        assert api.status()["summary"]["nodes"]["ready"] == 1
        kept = {each["metadata"]["name"] for each in api.configs({}).items}
        assert system.cli("configs", "create", "--name", "no", "--var", "A=b").returncode == 1

        ballast.unlink()
        api.create_config(config(5000))

        assert {each["metadata"]["name"] for each in api.configs({}).items} == kept | {"conf-5000"}
        assert api.status()["summary"]["nodes"]["ready"] == 1
    with contextlib.closing(sqlite3.connect(small_disk / "fledx.db")) as sql:
        assert sql.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def create_configs(api: ControlPlane, count: int) -> None:
    """So many of some size."""
    for number in range(count):
        api.create_config(config(number))


def config(number: int) -> dict[str, Any]:
    """One of some size."""
    return {"name": f"conf-{number}", "entries": [{"key": "A", "value": "x" * 2000}]}


def test_fault_1_what_the_api_acknowledged_outlives_kill_9(system: System) -> None:
    system.start_control_plane()
    acknowledged: set[str] = set()
    for number in range(3):
        pid = system.control_plane.pid
        with contextlib.closing(system.api()) as api:
            for each in range(20):
                acknowledged.add(api.create_config({"name": f"c-{number}-{each}"})["metadata"]["name"])
                if each == 15 + number:
                    os.kill(pid, 9)
                    break
        system.control_plane.kill()
        system.start_control_plane()
        found = {each["metadata"]["name"] for each in system.cli_json("configs", "list")["items"]}
        assert acknowledged <= found
    assert json.loads(system.cli("audit", "verify", "--json").stdout)["intact"] is True
