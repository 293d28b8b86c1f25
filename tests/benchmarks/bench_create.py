"""
From create to a running container: fledx at its API and its CLI, `docker run -d`, and Swarm, on one engine.

    python tests/benchmarks/bench_create.py [--rounds 15]

Each round does all of them one after another; the table shows medians, and medians of the ratios within a round. "runs"
is the moment the engine itself gives as the container's start, counted from the command; "told" is when the command
returned or the API said running. Prints a table, writes build/bench/create.json, and ends with 1 if a goal is missed.
An engine that is in a swarm already keeps it: that row is left out then, and says so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from fledx.sample.image import NAME, PORT, ensure_image  # noqa: E402
from tests.acceptance.system import ENGINE, System  # noqa: E402
from tests.waiting import eventually  # noqa: E402

OUTPUT = ROOT / "build" / "bench" / "create.json"
LIMIT_API = 1.25
Figures = dict[str, float]


def docker(*words: str) -> str:
    """What a docker command prints."""
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.strip()


def started(container: str) -> float:
    """When the engine started a container, in unix seconds."""
    text = docker("inspect", "--format", "{{.State.StartedAt}}", container)
    return datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00").timestamp()


class Round:
    """One measurement of each way; every container is removed again before the next."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.number = 0

    def docker_run(self) -> Figures:
        """`docker run -d` with the same image and a published port."""
        begin = time.time()
        container = docker("run", "-d", "-p", f"0:{PORT}", NAME)
        told = time.time()
        found = {"docker run, told": told - begin, "docker run, runs": started(container) - begin}
        docker("rm", "-f", container)
        return found

    def api(self) -> Figures:
        """POST, then the watch stream until it says running."""
        self.number += 1
        name = f"bench-{self.number}"
        with contextlib.closing(self.system.api()) as api:
            api.health()
            begin = time.time()
            api.create_deployment({"name": name, "image": NAME, "ports": [{"container_port": PORT}]})
            acknowledged = time.time()
            with contextlib.closing(api.watch_deployment(name)) as watch:
                for event in watch:
                    if event.data["status"] == "running":
                        break
            told = time.time()
        (container,) = self.system.containers(name)
        found = {"API, told": told - begin, "API, runs": started(container["Id"]) - begin}
        self._delete(name)
        return {**found, "API, acknowledged": acknowledged - begin}

    def cli(self) -> Figures:
        """`fledx deployments create`, which returns when it runs."""
        self.number += 1
        name = f"bench-{self.number}"
        begin = time.time()
        done = self.system.cli("deployments", "create", "--name", name, "--image", NAME, "--port", str(PORT))
        told = time.time()
        assert done.returncode == 0, done.stderr
        (container,) = self.system.containers(name)
        found = {"CLI, told": told - begin, "CLI, runs": started(container["Id"]) - begin}
        self._delete(name)
        return found

    def _delete(self, name: str) -> None:
        with contextlib.closing(self.system.api()) as api:
            api.delete_deployment(name)
        eventually(lambda: not self.system.containers(name))

    def swarm(self) -> Figures:
        """`docker service create`, detached: waiting would add the five seconds it watches for stability."""
        begin = time.time()
        service = docker("service", "create", "--detach", "--quiet", "--no-resolve-image", NAME)

        def container() -> str:
            return docker("ps", "-q", "--filter", f"label=com.docker.swarm.service.id={service}")

        found = {"Swarm, runs": started(eventually(container, within=60, every=0.02)) - begin}
        docker("service", "rm", service)
        eventually(lambda: not container(), within=60)
        return found


@contextlib.contextmanager
def swarm() -> Iterator[bool]:
    """A swarm of this engine alone, on loopback; false where there is one already, which is left as it is."""
    if docker("info", "--format", "{{.Swarm.LocalNodeState}}") != "inactive":
        yield False
        return
    docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:2377")
    try:
        yield True
    finally:
        docker("swarm", "leave", "--force")


def measured(rounds: int) -> list[Figures]:
    """The figures of each round, in seconds."""
    ensure_image(NAME, docker_host=ENGINE)
    with tempfile.TemporaryDirectory() as folder, System(Path(os.environ["FLEDX_PYZ"]), Path(folder)) as system:
        system.start("bench")
        one = Round(system)
        with swarm() as has_swarm:
            ways: list[Callable[[], Figures]] = [one.docker_run, one.api, one.cli]
            ways += [one.swarm] if has_swarm else []
            for way in ways:
                way()
            return [{name: seconds for way in ways for name, seconds in way().items()} for _ in range(rounds)]


def ratio(found: list[Figures], one: str, other: str) -> float | None:
    """The median, over the rounds, of one figure divided by another."""
    if one not in found[0] or other not in found[0]:
        return None
    return statistics.median(each[one] / each[other] for each in found)


def main() -> int:
    """Measure, print, write; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    found = measured(parser.parse_args().rounds)
    summary: dict[str, Any] = {name: round(statistics.median(each[name] for each in found), 4) for name in found[0]}
    for name, seconds in summary.items():
        print(f"{name:20} {seconds * 1000:8.0f} ms")
    if "Swarm, runs" not in summary:
        print("Swarm: left out, the engine is in a swarm already")
    goals = [
        ("API create to running : docker run -d", ratio(found, "API, told", "docker run, told"), LIMIT_API),
        ("API create to started : Swarm's", ratio(found, "API, runs", "Swarm, runs"), 1.0),
    ]
    missed = 0
    for text, value, limit in goals:
        if value is not None:
            missed += value > limit
            print(f"{text:40} {value:.2f} (at most {limit:g})")
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps({"medians": summary, "goals": goals, "rounds": found}, indent=2))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
