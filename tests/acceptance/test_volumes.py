"""Data in volumes by name on the built file and a real engine: it outlives containers, and comes back from a file."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.acceptance.system import System
from tests.contracts.shell_image import ensure_shell_image
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.slow]

SCRIPT = "[ -s /data/log ] || echo begun > /data/log; echo started >> /data/log; while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def system(pyz: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A control plane and two nodes that allow nothing beyond containers."""
    with System(pyz, tmp_path_factory.mktemp("volumes")) as made:
        made.start("edge-1", "edge-2")
        yield made
    for name in volumes(made):
        subprocess.run(["docker", "volume", "rm", name], check=True, capture_output=True)


def ok(system: System, *words: str) -> str:
    done = system.cli(*words)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout + done.stderr


def volumes(system: System) -> list[str]:
    """The engine's volumes of this system's nodes."""
    found = []
    for file in system.folder.glob("*/identity.json"):
        label = f"label=fledx.node_id={json.loads(file.read_text())['node_id']}"
        done = subprocess.run(
            ["docker", "volume", "ls", "-q", "--filter", label], check=True, capture_output=True, text=True
        )
        found += done.stdout.split()
    return found


def data(system: System, name: str) -> Path:
    """The directory /data as the one running container of a deployment sees it."""
    (pid,) = system.processes(name).values()
    return Path(f"/proc/{pid}/root/data")


def log(system: System, name: str) -> list[str]:
    """What the script has written; nothing while its container is being replaced."""
    with contextlib.suppress(ValueError, OSError):
        return (data(system, name) / "log").read_text().split()
    return []


def create(system: System, name: str, *flags: str) -> None:
    image = ensure_shell_image()
    line = ["deployments", "create", "--name", name, "--image", image, "--volume", "data:/data", "--stop-grace", "0s"]
    line += ["--min-healthy", "0s", "--watch-time", "0s"]
    ok(system, *line, *flags, "--command", SCRIPT, "ignored")
    eventually(lambda: log(system, name), within=120)


def test_an_apps_data_outlives_its_container_and_comes_back_from_a_backup(system: System, tmp_path: Path) -> None:
    create(system, "db", "--read-only", "--cap-drop", "ALL")
    (first,) = system.processes("db")
    ok(system, "deployments", "update", "db", "--env", "A=1")
    eventually(lambda: first not in system.processes("db") and log(system, "db") == ["begun", "started", "started"])
    (data(system, "db") / "large").write_bytes(bytes(3_000_000))

    before = system.processes("db")
    told = ok(system, "volumes", "backup", "db", "data", str(tmp_path / "db.tar"))
    assert "is in" in told
    assert before == system.processes("db")
    with tarfile.open(tmp_path / "db.tar") as archive:
        assert {"log", "large"} <= {Path(each.name).name for each in archive}
    assert ["db.tar"] == [each.name for each in tmp_path.iterdir()]

    ok(system, "deployments", "delete", "db", "--volumes", "--yes")
    eventually(lambda: volumes(system) == [], within=120)
    create(system, "db")
    eventually(lambda: log(system, "db") == ["begun", "started"])
    assert not (data(system, "db") / "large").exists()

    told = ok(system, "volumes", "restore", "db", "data", str(tmp_path / "db.tar"), "--yes")
    assert "restored" in told
    restored = ["begun", "started", "started", "started"]
    eventually(lambda: log(system, "db") == restored, within=120)
    assert (data(system, "db") / "large").stat().st_size == 3_000_000
    listed = {each["state"]: each for each in system.cli_json("volumes", "list", "db")["items"]}
    assert {"current", "former"} == set(listed)
    assert len(volumes(system)) == 2
    assert all(any(found.startswith(each["name"]) for found in volumes(system)) for each in listed.values())
    actions = {each["action"] for each in system.cli_json("audit")["items"]}
    assert {"volume.backup", "volume.restore", "deployment.delete_volumes"} <= actions


def test_a_backup_that_is_cut_or_false_changes_nothing(system: System, tmp_path: Path) -> None:
    create(system, "kv")
    (data(system, "kv") / "large").write_bytes(bytes(2_000_000))
    ok(system, "volumes", "backup", "kv", "data", str(tmp_path / "kv.tar"), "--stop")
    whole = (tmp_path / "kv.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:1_000_000])
    (tmp_path / "false.tar").write_bytes(whole[:700] + b"?" + whole[701:])
    running = system.processes("kv")
    told = [each["kind"] for each in system.cli_json("events")["items"] if each["subject"] == "kv"]
    assert not {"replica.drift", "replica.crash", "replica.restart"} & set(told), told

    refused = system.cli("volumes", "restore", "kv", "data", str(tmp_path / "false.tar"), "--yes")
    assert (2, True) == (refused.returncode, "digest differs" in refused.stderr)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", system.api_port, timeout=60)) as connection:
        connection.request(
            "POST",
            "/api/v1/deployments/kv/volumes/data/restore",
            body=whole[:1_000_000],
            headers={"authorization": f"Bearer {system.token}", "content-type": "application/x-tar"},
        )
        answer = connection.getresponse()
        assert answer.status >= 400
        assert b"not whole" in answer.read()
    assert running == system.processes("kv")
    assert [each["state"] for each in system.cli_json("volumes", "list", "kv")["items"]] == ["current"]
    eventually(lambda: len([name for name in volumes(system) if "-kv-" in name]) == 1, within=120)

    there = system.cli("volumes", "backup", "kv", "data", str(tmp_path / "kv.tar"))
    assert (1, True) == (there.returncode, "--force" in there.stderr)
    assert whole == (tmp_path / "kv.tar").read_bytes()
    token = system.cli_json("tokens", "create", "viewer", "--role", "read_only")["token"]
    viewer = system.cli("volumes", "backup", "kv", "data", str(tmp_path / "v.tar"), FLEDX_CLI_OPERATOR_TOKEN=token)
    assert (1, True) == (viewer.returncode, "may only read" in viewer.stderr)
    assert {"cut.tar", "false.tar", "kv.tar"} == {each.name for each in tmp_path.iterdir()}


def test_fault_42_nothing_that_leads_out_of_a_container_runs_on_nodes_that_do_not_allow_it(system: System) -> None:
    wishes: tuple[Mapping[str, object], ...] = (
        {"privileged": True},
        {"network_mode": "host"},
        {"cap_add": ["SYS_ADMIN"]},
        {"devices": [{"host_path": "/dev/kmsg"}]},
        *({"volumes": [{"host_path": path, "container_path": "/x"}]} for path in ("/", "/etc", "/var/run/docker.sock")),
    )
    with contextlib.closing(system.api()) as api:
        for number, wish in enumerate(wishes):
            made = api.create_deployment({"name": f"out-{number}", "image": ensure_shell_image(), **wish})
            reasons = [each["reason"] for each in made["pending"]]
            assert len(reasons) == 1
            assert reasons[0].startswith(
                ("2 nodes: its FLEDX_AGENT_ALLOW has no ", "2 nodes: volume /etc lies outside its FLEDX_AGENT_ALLOWED")
            )
            assert system.containers(f"out-{number}") == []
            api.delete_deployment(f"out-{number}")
