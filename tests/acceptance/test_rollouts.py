"""Updates and the life of nodes on the built file: what is no good goes back by itself, what is lost is replaced."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fledx.sample.image import PORT
from tests.acceptance.system import System
from tests.acceptance.test_main_job import page, running
from tests.waiting import eventually, in_time

pytestmark = [pytest.mark.docker, pytest.mark.slow]
READY = ("--readiness-http", "/healthz", "--readiness-port", str(PORT), "--readiness-interval", "1s")
AGENTS = ("edge-1", "edge-2", "edge-3")
#: By name: what the update sets, what its reason says, and what a container wrote last.
BROKEN = {
    "crashes": (("EXIT_AFTER=0.2", "READY_AFTER=3600"), "crashed 3 times", "exit"),
    "never": (("READY_AFTER=3600",), "has not been ready for 25 s", "503"),
    "dies": (("EXIT_AFTER=20",), "died after it had been ready", "exit"),
}


def test_fault_32_what_is_no_good_goes_back_by_itself_and_says_why(system: System) -> None:
    """An image that crashes, one that never gets ready and one that dies after 20 s, each of two replicas."""
    system.start(*AGENTS)
    flags = (*READY, "--progress-deadline", "25s", "--env", "VERSION=good")
    for name in BROKEN:
        system.deploy(name, *flags, replicas=2)
    kept = {name: system.processes(name) for name in BROKEN}

    def update(name: str) -> subprocess.CompletedProcess[str]:
        settings = [word for setting in BROKEN[name][0] for word in ("--env", setting)]
        return system.cli("deployments", "update", name, "--env", "VERSION=bad", *settings, seconds=300)

    with ThreadPoolExecutor() as threads:
        done = dict(zip(BROKEN, threads.map(update, BROKEN), strict=True))

    for name, (_, reason, last) in BROKEN.items():
        assert done[name].returncode == 1, (name, done[name])
        assert reason in done[name].stderr, (name, done[name].stderr)
        assert last in done[name].stderr, (name, done[name].stderr)
        now = eventually(lambda name=name: rolled_back(system, name), within=120)  # type: ignore[misc]
        assert now["env"]["VERSION"] == "good"
        assert [page(now, replica).count("version: good") for replica in range(2)] == [1, 1]
        untouched = kept[name].items() & system.processes(name).items()
        assert name == "dies" or len(untouched) == 1, "what never comes up touches no more than one replica"
    states = {each["revision"]: each["state"] for each in system.cli_json("deployments", "history", "dies")["items"]}
    assert states == {1: "complete", 2: "rolled_back"}


def test_fault_34_an_update_whose_cli_is_killed_is_finished_by_the_server_and_nothing_stays_locked(
    system: System,
) -> None:
    system.start("edge-1")
    system.deploy("web", *READY, "--env", "VERSION=1", replicas=2)

    with system.begin("deployments", "update", "web", "--env", "VERSION=2") as operator:
        eventually(lambda: (now := system.deployment("web"))["generation"] > 1 and now["rollout"]["updated"])
        operator.kill()

    late = system.cli("deployments", "update", "web", "--env", "VERSION=3", "--if-generation", "1")
    assert late.returncode == 1
    assert "env changed by" in late.stderr
    now = eventually(lambda: all_updated(system, "web"), within=120)
    assert [page(now, replica).count("version: 2") for replica in range(2)] == [1, 1]
    assert system.cli("scale", "web=1", "--detach").returncode == 0


def all_updated(system: System, name: str) -> dict[str, Any]:
    """The deployment, once every replica has the newest template and is ready."""
    found = system.deployment(name)
    assert (found["rollout"]["updated"], found["ready_replicas"]) == (found["replicas"], found["replicas"])
    return found


def rolled_back(system: System, name: str) -> dict[str, Any]:
    """The deployment, once it has gone back and runs."""
    found = system.deployment(name)
    told = found["rollout"], found["status"], found.get("reason")
    assert (found["rollout"]["state"], found["status"]) == ("rolled_back", "running"), told
    assert found["ready_replicas"] == found["replicas"]
    return found


def test_a_control_plane_that_was_away_for_longer_than_its_patience_restarts_nothing(system: System) -> None:
    system.control_plane.environ |= {
        "FLEDX_CP_TUNNEL_HEARTBEAT_INTERVAL_SECS": "1",
        "FLEDX_CP_REACHABILITY_HEARTBEAT_STALE_SECS": "8",
    }
    system.start(*AGENTS)
    system.deploy("web", replicas=6)
    before, owners = system.processes("web"), owners_of(system)

    system.control_plane.stop()
    until = time.monotonic() + 12
    eventually(lambda: time.monotonic() > until)
    system.start_control_plane()

    eventually(lambda: system.ready_nodes() == 3)
    running(system, "web", 6)
    assert (system.processes("web"), owners_of(system)) == (before, owners)
    assert system.events("replica.moved") == []


def owners_of(system: System) -> list[tuple[str, int]]:
    """Node and fence of each replica."""
    return [(each["node"], each["fence"]) for each in system.deployment("web")["assignments"]]


@pytest.mark.parametrize("policy", ["keep-new", "keep-original"])
def test_fault_9_a_frozen_agent_is_shown_replaced_and_fenced_in_that_order(system: System, policy: str) -> None:
    """Stale after 10 s: the replacement runs within 15 s of the freeze; healed, one copy is left."""
    system.control_plane.environ["FLEDX_CP_REACHABILITY_HEARTBEAT_STALE_SECS"] = "10"
    system.start("edge-1", "edge-2")
    system.deploy("web", "--on-return", policy)
    owner = original = ""

    def replaced() -> float:
        nonlocal owner, original
        (owner,) = [each["node"] for each in system.deployment("web")["assignments"]]
        (original,) = system.processes("web")
        frozen = system.agents[owner]
        os.kill(frozen.pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            eventually(lambda: len(system.processes("web")) == 2)
            took = time.monotonic() - began
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
        eventually(lambda: len(system.processes("web")) == 1)
        eventually(lambda: system.ready_nodes() == 2)
        running(system, "web", 1)
        return took

    assert in_time(replaced, 15.5) <= 15.5
    now = running(system, "web", 1)
    assert (now["assignments"][0]["node"] == owner) is (policy == "keep-original")
    assert (set(system.processes("web")) == {original}) is (policy == "keep-original")
    order = ["node.unreachable", "replica.moved", "node.ready"]
    told = [system.events(kind)[-1]["id"] for kind in order]
    assert told == sorted(told)
    assert all(system.events(kind)[-1]["reason"] for kind in order)


def test_fault_37_a_drain_empties_a_node_and_one_that_cannot_be_is_refused(system: System) -> None:
    """And a token that is rotated interrupts nothing."""
    system.start("edge-1", "edge-2")
    system.deploy("web", *READY, replicas=4)

    assert system.cli("nodes", "rotate-token", "edge-1").returncode == 0
    eventually(lambda: "another token" in system.agents["edge-1"].said())
    before = system.processes("web")
    system.agents["edge-1"].kill()
    system.start_agent("edge-1")
    eventually(
        lambda: "connected to the control plane" in system.agents["edge-1"].said().rsplit("agent is ready", 1)[-1]
    )
    assert system.processes("web") == before

    drained = system.cli("nodes", "drain", "edge-1", seconds=120)
    assert drained.returncode == 0, drained.stderr
    now = running(system, "web", 4)
    assert {each["node"] for each in now["assignments"]} == {"edge-2"}

    refused = system.cli("nodes", "drain", "edge-2")
    assert refused.returncode == 1
    assert "no other place" in refused.stderr
    assert system.cli("nodes", "delete", "edge-1", "--yes").returncode == 0
    assert system.cli("nodes", "delete", "edge-2", "--yes").returncode == 1


class Traffic:
    """
    A client that watches the deployment and sends 50 requests a second to the instances that are ready.

    It hears what there is to hear before each request, so that one that was held up itself does not act on old news.
    """

    def __init__(self, system: System, name: str) -> None:
        self.sent = 0
        self.failed: list[str] = []
        self._name = name
        self._system = system
        self._over = threading.Event()
        self._targets: list[str] = ready_instances(system.deployment(name))
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        began = time.monotonic()
        with (
            contextlib.closing(self._system.api()) as api,
            contextlib.closing(api.watch_deployment(self._name)) as stream,
            ThreadPoolExecutor(20) as threads,
        ):
            while not self._over.is_set():
                due = began + self.sent / RATE
                for event in stream.take(max(0.001, due - time.monotonic())):
                    self._targets = ready_instances(event.data)
                if time.monotonic() >= due:
                    threads.submit(self._request, self.sent)
                    self.sent += 1

    def _request(self, number: int) -> None:
        targets = self._targets
        target = targets[number % len(targets)]
        try:
            with urllib.request.urlopen(f"http://{target}/", timeout=60) as answer:
                assert b"version" in answer.read()
        except Exception as problem:
            self.failed.append(f"{time.monotonic():.2f} {target}: {problem!r}")


RATE = 50


def ready_instances(deployment: dict[str, Any]) -> list[str]:
    """Addresses of the instances that are ready."""
    return [each["endpoints"][0] for each in deployment["instances"] if each["ready"] and each["endpoints"]]


def test_a_start_first_update_of_six_replicas_loses_no_request(system: System) -> None:
    system.start(*AGENTS)
    system.deploy(
        "web",
        *READY,
        "--env",
        "VERSION=one",
        "--max-surge",
        "1",
        "--max-unavailable",
        "0",
        "--watch-time",
        "3s",
        replicas=6,
    )

    with Traffic(system, "web") as traffic:
        updated = system.cli("deployments", "update", "web", "--env", "VERSION=two", seconds=200)

    assert updated.returncode == 0, updated.stderr
    assert traffic.failed == []
    assert traffic.sent > 500
    now = running(system, "web", 6)
    assert [page(now, replica).count("version: two") for replica in range(6)] == [1] * 6
    assert len(system.processes("web")) == 6
