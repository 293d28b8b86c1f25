"""Faults 8, 14, 15 and 17 and a cold boot on real agents, each beside a real engine of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from fledx.sample.image import NAME, PORT
from tests.acceptance.edge import Edge
from tests.acceptance.fleet import started
from tests.bed.engine import Engine
from tests.bed.engines import Engines
from tests.waiting import eventually, in_time

pytestmark = [pytest.mark.docker, pytest.mark.slow]

FROZEN_SECS = 60.0 if os.environ.get("FLEDX_TEST_SOAK") == "1" else 18.0
BOOT_SECS = 10.0
APPS = 5


@pytest.fixture(scope="module")
def edge(pyz: Path, tmp_path_factory: pytest.TempPathFactory, engines_of_session: Engines) -> Iterator[Edge]:
    """A control plane and the agents e1 and e2; each test cleans up what it deployed."""
    with Edge(pyz, tmp_path_factory.mktemp("edge"), engines_of_session) as made:
        made.start()
        for name in ("e1", "e2"):
            made.start_agent(name, FLEDX_AGENT_RESOURCE_SAMPLE_INTERVAL_SECS="1")
        eventually(lambda: made.ready_nodes() == 2, within=120)
        yield made


@pytest.fixture(autouse=True)
def deployed_no_more(edge: Edge) -> Iterator[None]:
    """Each test begins with two nodes that are ready and run nothing."""
    yield
    with contextlib.closing(edge.api()) as api:
        for item in api.deployments({}).items:
            api.delete_deployment(item["deployment_id"])
    eventually(lambda: edge.ready_nodes() == 2 and not edge.containers(), within=120)


def lives(edge: Edge, name: str) -> dict[str, tuple[int, str | None]]:
    """Process and its start time of each running container of a deployment."""
    return {container: (pid, started(pid)) for container, pid in edge.processes(name).items()}


def test_faults_8_and_14_an_agent_that_is_killed_frozen_or_cut_off_leaves_its_containers_alone(edge: Edge) -> None:
    """
    One agent is frozen for longer than it takes to be missed; meanwhile the other is killed three times, and its link
    cut for a second and for as long as that. SIGKILL is also what the kernel's OOM killer sends; systemd starts a
    service again, here the test does.
    """
    edge.deploy("web", "--spread", replicas=2)
    before = lives(edge, "web")
    os.kill(edge.agents["e2"].pid, signal.SIGSTOP)
    until = time.monotonic() + FROZEN_SECS
    for _ in range(3):
        edge.agents["e1"].kill()
        edge.agents["e1"].start()
        eventually(lambda: _status(edge, "e1") == "ready")
    for end in (time.monotonic() + 1, until):
        edge.engines["e1"].net.cut(edge.engines.gateway)
        time.sleep(max(0.0, end - time.monotonic()))
        edge.engines["e1"].net.heal()
        eventually(lambda: _status(edge, "e1") == "ready", within=120)
    eventually(lambda: _status(edge, "e2") == "unreachable")
    os.kill(edge.agents["e2"].pid, signal.SIGCONT)

    eventually(lambda: edge.ready_nodes() == 2, within=120)
    eventually(lambda: edge.deployment("web")["status"] == "running")
    assert lives(edge, "web") == before
    assert len(edge.containers("web")) == 2
    assert [each["restart_count"] for each in edge.deployment("web")["instances"]] == [0, 0]
    eventually(lambda: _sampled(edge, "web") == {0, 1}, within=120)


def _sampled(edge: Edge, name: str) -> set[int]:
    """The replicas whose usage is known, which agents are asked for: by themselves they tell it in ten minutes."""
    with contextlib.closing(edge.api()) as api:
        return {each["replica_number"] for each in api.usage({"deployment": name}).items if each["samples"]}


def _status(edge: Edge, name: str) -> str:
    with contextlib.closing(edge.api()) as api:
        return str(api.node(name)["status"])


def test_fault_17_what_is_not_ours_is_never_touched_whatever_it_is_called(edge: Edge) -> None:
    """Foreign containers with our name, our port and some of our labels; the conflict names who has the port."""
    engine = edge.engines["e1"]
    node_id = json.loads((edge.folder / "e1" / "identity.json").read_text())["node_id"]
    name = f"fledx-web-0-{node_id[:8]}"
    strangers = [
        engine.docker("run", "-d", "--name", name, "--label", "fledx.deployment=web", "-p", f"18080:{PORT}", NAME),
        engine.docker("run", "-d", "--label", f"fledx.node_id={node_id}", NAME),
    ]
    pids = [engine.docker("inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}}", each) for each in strangers]
    with contextlib.closing(edge.api()) as api:
        api.cordon("e2")
    try:
        edge.deploy("web")
        done = edge.cli(
            *("deployments", "create", "--name", "taken", "--image", NAME, "--port", f"18080:{PORT}"),
            *("--wait-timeout", "6s"),
        )
        assert done.returncode != 0
        eventually(lambda: "18080" in edge.cli("deployments", "show", "taken").stdout)
        (ours,) = edge.processes("web")
        assert engine.docker("inspect", "-f", "{{.Name}}", ours) != f"/{name}"
    finally:
        with contextlib.closing(edge.api()) as api:
            api.uncordon("e2")
    assert pids == [engine.docker("inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}}", each) for each in strangers]
    engine.docker("rm", "-f", *strangers)


def test_a_cold_boot_without_a_link_answers_within_ten_seconds_with_its_configs_and_secrets(
    edge: Edge, tmp_path: Path
) -> None:
    """Fault 7: engine and agent end, memory is lost, the control plane is gone; then the machine comes up."""
    with contextlib.closing(edge.api()) as api:
        api.cordon("e2")
        api.put_secret("db", b"hunter2")
    (tmp_path / "app.conf").write_text("colour = blue\n")
    made = edge.cli(
        "configs", "create", "--name", "app", "--var", "COLOUR=blue", "--file", f"/etc/app.conf=@{tmp_path}/app.conf"
    )
    assert made.returncode == 0, made.stderr
    for number in range(APPS):
        edge.deploy(f"app-{number}", "--config", "app", "--secret-file", "/run/db=db", "--secret-env", "PASSWORD=db")
    ports = [_port(edge, f"app-{number}") for number in range(APPS)]
    engine = edge.engines["e1"]
    edge.control_plane.kill()

    def boot() -> float:
        edge.agents["e1"].kill()
        engine.stop()
        _lose_memory(edge, "e1")

        edge.agents["e1"].start()
        engine.start()
        up = time.monotonic()
        answers = [eventually(partial(_answer, engine, port), within=120, every=0.02) for port in ports]
        took = time.monotonic() - up
        print(f"{APPS} apps answer {took:.1f} s after the engine")
        assert {("blue", "hunter2")} == {(each["COLOUR"], each["PASSWORD"]) for each in answers}
        return took

    assert in_time(boot, BOOT_SECS) <= BOOT_SECS
    for number in range(APPS):
        (pid,) = edge.processes(f"app-{number}").values()
        assert Path(f"/proc/{pid}/root/run/db").read_bytes() == b"hunter2"
        assert Path(f"/proc/{pid}/root/etc/app.conf").read_text() == "colour = blue\n"
    edge.start_control_plane()
    eventually(lambda: edge.ready_nodes() == 2, within=120)
    with contextlib.closing(edge.api()) as api:
        api.uncordon("e2")


def _port(edge: Edge, name: str) -> int:
    return int(edge.deployment(name)["assignments"][0]["ports"][0]["host_port"])


def _answer(engine: Engine, port: int) -> dict[str, str]:
    try:
        with urllib.request.urlopen(f"http://{engine.address}:{port}/env", timeout=2) as answer:
            found: dict[str, str] = json.loads(answer.read())
    except OSError:
        return {}
    return found


def _lose_memory(edge: Edge, name: str) -> None:
    """What is in memory only is gone when the power is."""
    node_id = json.loads((edge.folder / name / "identity.json").read_text())["node_id"]
    for place in Path("/run"), Path("/dev/shm"):
        for left in place.glob(f"fledx-*-{node_id[:8]}"):
            shutil.rmtree(left)


def test_fault_15_containers_that_outlive_their_engine_are_taken_up_as_they_are(edge: Edge) -> None:
    """dockerd with live-restore is killed and started again, as an upgrade does it."""
    engine = edge.engines["e1"]
    with contextlib.closing(edge.api()) as api:
        api.cordon("e2")
    edge.deploy("web", replicas=2)
    before = lives(edge, "web")
    try:
        engine.configure(live_restore=True)
        engine.kill()
        engine.start()
        eventually(lambda: _running(edge) == 2, within=120)
        assert lives(edge, "web") == before
    finally:
        engine.configure(live_restore=False)
        engine.restart()
        with contextlib.closing(edge.api()) as api:
            api.uncordon("e2")


def _running(edge: Edge) -> int:
    return sum(each["state"] == "running" for each in edge.deployment("web")["instances"])
