"""The main job on the built file: real processes, real containers, and what must not be lost when one of them dies."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from fledx.errors import FledxError
from tests.acceptance.system import Process, System
from tests.waiting import eventually, in_time

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def page(deployment: dict[str, Any], replica: int = 0) -> str:
    """What a replica of the sample app answers."""
    port = deployment["assignments"][replica]["ports"][0]["host_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
        return str(answer.read().decode())


def running(system: System, name: str, replicas: int) -> dict[str, Any]:
    """The deployment, once that many replicas are ready and it is called running."""

    def look() -> dict[str, Any] | None:
        found = system.deployment(name)
        return found if found["status"] == "running" and found["ready_replicas"] == replicas else None

    found = eventually(look, within=120)
    assert found is not None
    return found


def test_the_file_alone_is_control_plane_agent_and_command_line(system: System, tmp_path: Path, pyz: Path) -> None:
    """Copied alone into an empty directory of a host without site-packages."""
    alone = tmp_path / "empty"
    alone.mkdir()
    system.pyz = alone / "fledx.pyz"
    shutil.copy(pyz, system.pyz)
    system.control_plane.command = [sys.executable, "-I", str(system.pyz), "cp", "--json-logs"]
    system.start("edge-1")

    made = system.deploy("web")

    assert made["status"] == "running"
    assert "version: 1" in page(made)
    nodes = system.cli_json("nodes", "list")
    assert [node["name"] for node in nodes["items"]] == ["edge-1"]


def test_an_acknowledged_deployment_survives_kill_9_during_and_after_the_create(system: System) -> None:
    """Containers keep their processes, nothing is doubled, and what was acknowledged is there."""
    system.start("edge-1", "edge-2")
    acknowledged: list[str] = []

    def create_until_refused() -> None:
        with contextlib.closing(system.api()) as api, contextlib.suppress(FledxError, OSError):
            for number in range(20):
                body = {"name": f"app-{number}", "image": "fledx-sample:1", "replicas": 2}
                acknowledged.append(api.create_deployment(body)["name"])

    creating = threading.Thread(target=create_until_refused)
    creating.start()
    eventually(lambda: len(acknowledged) >= 3, every=0.005)
    system.control_plane.kill()
    creating.join(30)
    system.start_control_plane()

    for name in acknowledged:
        running(system, name, 2)
    before = {name: system.processes(name) for name in acknowledged}
    assert {len(found) for found in before.values()} == {2}

    system.control_plane.kill()
    system.start_control_plane()
    eventually(lambda: system.ready_nodes() == 2)

    for name in acknowledged:
        running(system, name, 2)
    assert {name: system.processes(name) for name in acknowledged} == before


def test_a_killed_agents_containers_go_on_and_are_adopted(system: System) -> None:
    system.start("edge-1")
    made = system.deploy("web", replicas=2)
    before = system.processes("web")

    system.agents["edge-1"].kill()
    assert "version" in page(made)
    system.agents["edge-1"].start()

    eventually(lambda: system.ready_nodes() == 1)
    running(system, "web", 2)
    assert system.processes("web") == before


def test_an_agent_that_is_stopped_leaves_its_containers_running_and_ends_in_time(system: System) -> None:
    system.start("edge-1")
    system.deploy("web")
    before = system.processes("web")

    def ended(role: Process) -> float:
        if role.running is None or role.running.poll() is not None:
            role.start()
            eventually(lambda: system.ready_nodes() == 1)
        began = time.monotonic()
        assert role.stop() == 0
        return time.monotonic() - began

    assert in_time(lambda: ended(system.agents["edge-1"]), 5) <= 5
    assert in_time(lambda: ended(system.control_plane), 5) <= 5

    assert system.processes("web") == before


def test_a_container_removed_by_hand_is_back_with_the_reason(system: System) -> None:
    system.start("edge-1")
    system.deploy("web")

    def back() -> float:
        (container,) = system.containers("web")
        system.engine.remove_container(container["Id"])
        began = time.monotonic()
        eventually(lambda: len(system.processes("web")) == 1 and container["Id"] not in system.processes("web"))
        return time.monotonic() - began

    assert in_time(back, 5) <= 5
    drift = eventually(lambda: system.events("replica.drift"))[0]
    assert drift["subject"] == "web"
    assert drift["reason"]


def test_foreign_containers_are_never_touched(system: System) -> None:
    """A container made by hand under our name and with most of our labels, and one of another agent."""
    system.start("edge-1", "edge-2")
    system.deploy("web", replicas=2)
    labels = [
        f"fledx.deployment_id={system.deployment('web')['deployment_id']}",
        "fledx.replica=0",
        "fledx.node_id=other",
    ]
    line = ["docker", "run", "-d", "--name", "fledx-web-7", *(f"--label={label}" for label in labels), "fledx-sample:1"]
    foreign = subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    try:
        assert system.cli("deployments", "delete", "web", "--yes").returncode == 0
        eventually(lambda: not system.containers("web"))
        state = subprocess.run(["docker", "inspect", foreign], capture_output=True, text=True, check=True).stdout
        assert json.loads(state)[0]["State"]["Running"]
    finally:
        system.engine.remove_container(foreign)


def test_the_life_of_a_deployment_at_the_command_line(system: System) -> None:
    """Create, look, read its logs, update, scale, stop, start and delete, each seen where a user sees it."""
    system.start("edge-1", "edge-2", "edge-3")
    made = system.deploy("web", "--env", "VERSION=one", replicas=3)
    assert {given["node"] for given in made["assignments"]} == {"edge-1", "edge-2", "edge-3"}
    assert "version: one" in page(made)

    def logged() -> bool:
        logs = system.cli("deployments", "logs", "web")
        assert logs.returncode == 0
        assert {line.split(" | ")[0].strip() for line in logs.stdout.splitlines()} == {"web/0", "web/1", "web/2"}
        return "GET /" in logs.stdout

    eventually(logged)  # the engine writes down what a container says when it comes to it

    update = system.cli("deployments", "update", "web", "--env", "VERSION=two")
    assert update.returncode == 0, update.stderr
    now = system.deployment("web")
    assert [("version: two" in page(now, replica)) for replica in range(3)] == [True] * 3

    kept = system.processes("web")
    assert system.cli("deployments", "update", "--id", now["deployment_id"], "--replicas", "5").returncode == 0
    assert kept.items() <= system.processes("web").items()

    assert system.cli("deployments", "stop", "web").returncode == 0
    assert system.processes("web") == {}
    assert system.deployment("web")["status"] == "stopped"
    assert system.cli("deployments", "start", "web").returncode == 0
    assert len(system.processes("web")) == 5
    assert system.cli("deployments", "delete", now["deployment_id"][:8], "--yes").returncode == 0
    eventually(lambda: not system.containers())


def test_a_missing_image_does_not_hold_up_another_replica(system: System) -> None:
    system.start("edge-1")
    missing = system.cli("deployments", "create", "--name", "missing", "--image", "nowhere.invalid/app:1", "--detach")
    assert missing.returncode == 0

    made = system.deploy("web")

    assert made["status"] == "running"


def test_a_replica_that_finds_no_place_says_why_and_is_placed_when_it_can_be(system: System) -> None:
    system.start("edge-1")
    line = ["deployments", "create", "--name", "web", "--image", "fledx-sample:1", "--require-label", "zone=b"]

    waited = system.cli(*line, "--wait-timeout", "1")

    assert waited.returncode == 3
    assert "zone=b" in waited.stderr
    system.start_agent("edge-2", FLEDX_AGENT_LABELS="zone=b")
    running(system, "web", 1)


def test_a_dry_run_of_the_migrations_lists_them_and_changes_nothing(system: System) -> None:
    line = [sys.executable, "-IS", str(system.pyz), "cp", "--migrations-dry-run"]

    done = subprocess.run(line, env=system.control_plane.environ, capture_output=True, text=True, check=True)

    assert "0001 first" in done.stdout
    assert "nothing was changed" in done.stdout
    assert not (system.folder / "state").exists()


def test_health_and_metrics_answer_on_the_apis_port(system: System) -> None:
    system.start("edge-1")

    with urllib.request.urlopen(f"{system.url}/health", timeout=60) as answer:
        health = json.loads(answer.read())
    with urllib.request.urlopen(f"{system.url}/metrics", timeout=60) as answer:
        metrics = answer.read().decode()

    assert (health["status"], health["pending_migrations"], health["tunnel_sessions_active"]) == ("ok", 0, 1)
    assert "control_plane_http_requests_total" in metrics
    assert "control_plane_info{" in metrics


def test_the_mission_readmes_four_agent_variables_suffice(system: System) -> None:
    """URL, id and token of a node that was registered by hand; the token carries what must be trusted."""
    system.start_control_plane()
    made = system.cli_json("nodes", "register", "--name", "edge-1", "--label", "zone=west")
    agent = system.agent(
        "edge-1",
        FLEDX_AGENT_CONTROL_PLANE_URL=system.url,
        FLEDX_AGENT_TUNNEL_ENDPOINT_HOST="127.0.0.1",
        FLEDX_AGENT_TUNNEL_ENDPOINT_PORT=str(system.tunnel_port),
        FLEDX_AGENT_NODE_ID=made["node_id"],
        FLEDX_AGENT_NODE_TOKEN=made["node_token"],
    )
    system.agents["edge-1"] = agent

    agent.start()

    eventually(lambda: system.ready_nodes() == 1)


def test_the_control_plane_gives_out_the_very_file_it_runs(system: System) -> None:
    """Even when another has been put in its place since."""
    running = system.folder / "fledx.pyz"
    shutil.copy(system.pyz, running)
    system.pyz = running
    system.control_plane.command = [sys.executable, "-IS", str(running), "cp", "--json-logs"]
    system.start_control_plane()
    content = running.read_bytes()
    running.unlink()

    with urllib.request.urlopen(f"{system.url}/artifact/fledx.pyz", timeout=120) as answer:
        assert answer.read() == content
