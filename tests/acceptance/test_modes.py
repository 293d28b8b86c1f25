"""Jobs, schedules and deployments that are everywhere, on the built file and a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fledx.sample.image import NAME
from tests.acceptance.system import System
from tests.acceptance.test_main_job import running
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module")
def site(pyz: Path, sample: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A control plane and two agents for all of these."""
    with System(pyz, tmp_path_factory.mktemp("modes")) as made:
        made.start("edge-1", "edge-2")
        yield made


def create(site: System, name: str, *flags: str) -> Any:
    return site.cli("deployments", "create", "--name", name, "--image", NAME, "--mode", "job", *flags)


def containers(site: System, name: str) -> set[str]:
    return {each["Id"] for each in site.containers(name)}


def test_a_job_is_waited_for_and_what_has_ended_runs_never_again(site: System) -> None:
    done = create(site, "once", "--env", "EXIT_AFTER=0.5", "--env", "EXIT_CODE=0")
    assert done.returncode == 0, done.stderr
    shown = site.deployment("once")
    assert (shown["status"], shown["outcome"], shown["ready_replicas"]) == ("stopped", "succeeded", 1)
    assert shown["instance"]["exit_code"] == 0
    assert "outcome" in done.stdout
    kept, starts = containers(site, "once"), len(site.events("replica.start"))
    assert len(kept) == 1, "it is kept for its logs"
    assert site.cli("logs", "once").stdout

    owner = site.agents[shown["assignments"][0]["node"]]
    owner.kill()
    site.engine.remove_container(kept.pop())
    site.control_plane.stop()
    site.start_control_plane()
    owner.start()
    eventually(lambda: site.ready_nodes() == 2)
    eventually(lambda: site.deployment("once").get("instance"))
    assert containers(site, "once") == set()
    assert site.deployment("once")["outcome"] == "succeeded"
    assert len(site.events("replica.start")) == starts


def test_a_job_that_fails_all_its_attempts_says_how_and_what_it_wrote_last(site: System) -> None:
    flags = ("--retries", "1", "--env", "EXIT_AFTER=0.2", "--env", "EXIT_CODE=7", "--env", "LOG_EVERY=0.05")
    done = create(site, "broken", *flags)
    assert done.returncode == 1, done.stdout
    assert "2 attempts failed, the last: exited with code 7" in done.stderr
    assert "tick" in done.stderr
    shown = site.deployment("broken")
    assert (shown["status"], shown["outcome"]) == ("failed", "failed")
    assert "exited with code 7" in shown["reason"]
    assert "tick" in shown["reason"]
    assert shown["instance"]["job"]["run"]["failures"] == 2
    assert [each["subject"] for each in site.events("job.failed")] == ["broken"]


def test_a_global_deployment_is_on_every_node_and_on_one_that_joins_later(site: System) -> None:
    flags = ("--mode", "global", "--watch-time", "0s", "--min-healthy", "0s")
    done = site.cli("deployments", "create", "--name", "all", "--image", NAME, *flags)
    assert done.returncode == 0, done.stderr
    assert {each["node"] for each in running(site, "all", 2)["assignments"]} == {"edge-1", "edge-2"}
    before = site.processes("all")
    site.start_agent("edge-3")
    now = running(site, "all", 3)
    assert (now["replicas"], {each["node"] for each in now["assignments"]}) == (3, {"edge-1", "edge-2", "edge-3"})
    assert before.items() <= site.processes("all").items(), "those that ran run on"
    assert site.cli("nodes", "label", "edge-3", "gpu=old").returncode == 0
    done = site.cli("deployments", "update", "all", "--detach", "--env", "A=1")
    assert done.returncode == 0, done.stderr
    assert site.cli("scale", "all=2").returncode != 0


def test_a_schedule_fires_with_the_control_plane_stopped_and_is_told_when_it_is_back(site: System) -> None:
    every = ("--schedule", "* * * * *", "--retries", "0", "--env", "EXIT_AFTER=0.2", "--env", "EXIT_CODE=0")
    done = create(site, "tick", *every)
    assert done.returncode == 0, done.stderr
    due = site.deployment("tick")["next_run"]
    site.control_plane.stop()

    def ended() -> bool:
        states = [
            (each["Config"]["Labels"].get("fledx.run", ""), each["State"]["Status"]) for each in site.containers("tick")
        ]
        return any(run >= due and state == "exited" for run, state in states)

    eventually(ended, within=120)
    site.start_control_plane()
    shown = eventually(lambda: told(site, due), within=120)
    assert (shown["status"], shown["outcome"]) == ("running", "succeeded")
    assert shown["next_run"] > shown["last_run"] >= due
    listed = site.cli("deployments", "list").stdout
    assert "OUTCOME" in listed
    assert "in " in next(line for line in listed.splitlines() if line.startswith("tick"))
    assert "last run" in site.cli("deployments", "show", "tick").stdout

    bad = create(site, "bad", "--schedule", "61 * * * *")
    assert bad.returncode != 0
    assert "schedule" in bad.stderr


def told(site: System, due: str) -> dict[str, Any]:
    """The schedule's deployment, once its run is known."""
    shown = site.deployment("tick")
    assert shown.get("last_run", "") >= due
    assert shown["outcome"]
    return shown


def test_fault_38_what_fits_nowhere_waits_with_each_nodes_reason_and_is_placed_by_itself(site: System) -> None:
    flags = ("--require-label", "rack=7", "--wait-timeout", "2s")
    done = site.cli("deployments", "create", "--name", "picky", "--image", NAME, *flags)
    assert done.returncode == 3, done.stderr
    assert "label rack=7 missing" in done.stderr
    assert "edge-1" in done.stderr
    assert site.deployment("picky")["status"] == "pending"
    assert site.cli("nodes", "label", "edge-1", "rack=7").returncode == 0
    assert running(site, "picky", 1)["assignments"][0]["node"] == "edge-1"
