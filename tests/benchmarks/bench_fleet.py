"""
What a fleet costs its control plane, and how soon all are back after it was killed (fault 13).

    python tests/benchmarks/bench_fleet.py [--nodes 1000] [--archive $FLEDX_PYZ, else dist/fledx.pyz]

One real control plane and nodes that are real but for their engines (`fleet_agents.py`), which all run on this machine
and share its processors, so that times are pessimistic. 30 deployments have a replica on every tenth node each. While
an operator asks for the status all the time the control plane is killed and started again; at the end the whole fleet
is killed. Prints a table, writes build/bench/fleet.json, and ends with 1 where not all are back within 30 s or the API
takes longer than a second meanwhile.
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
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from fledx.errors import FledxError  # noqa: E402
from tests.acceptance.system import System  # noqa: E402
from tests.benchmarks.bench_agent import Reading, reading  # noqa: E402
from tests.waiting import eventually  # noqa: E402

OUTPUT = ROOT / "build" / "bench" / "fleet.json"
NODES = Path(__file__).with_name("fleet_agents.py")
DEPLOYMENTS = 30
REST_SECS, IDLE_SECS, QUIET_SECS = 15.0, 60.0, 10.0
ASK_SECS = 0.02
LONGEST_SECS = 240.0
GOALS = {"all back, s": 30.0, "API p99 meanwhile, ms": 1000.0}
"""At most."""

Figures = dict[str, float]


class Fleet:
    """The process with all nodes."""

    def __init__(self, child: subprocess.Popen[str], count: int) -> None:
        self.count = count
        self._child = child

    def seen(self) -> dict[str, Any]:
        """How it stands, as `fleet_agents.Seen`."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write("\n")
        self._child.stdin.flush()
        found: dict[str, Any] = json.loads(self._child.stdout.readline())
        return found

    def linked(self) -> bool:
        """Whether all are."""
        return bool(self.seen()["linked"] == self.count)

    def kill(self) -> None:
        """All nodes lose their power."""
        self._child.kill()
        self._child.wait()


@contextmanager
def nodes(count: int, joining: str) -> Iterator[Fleet]:
    """So many nodes; the block begins while they join."""
    child = subprocess.Popen(
        [sys.executable, str(NODES), str(count), joining],
        env={**os.environ, "MSGPACK_PUREPYTHON": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    fleet = Fleet(child, count)
    try:
        yield fleet
    finally:
        fleet.kill()


class Asker:
    """An operator who asks for the status all the time; ``took`` are seconds by the moment of asking."""

    def __init__(self, system: System) -> None:
        self.took: dict[float, float] = {}
        self._system = system
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Asker:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(FledxError, OSError), contextlib.closing(self._system.api()) as api:
                while not self._over.wait(ASK_SECS):
                    begin = time.monotonic()
                    api.status()
                    self.took[begin] = time.monotonic() - begin

    def p99(self, since: float) -> float:
        """Milliseconds of the slowest answers but one of a hundred, of those asked for since then."""
        took = sorted(took for begin, took in list(self.took.items()) if begin >= since)
        return took[int(len(took) * 0.99)] * 1000


class Contest:
    """One control plane and its fleet, from the first node to the last."""

    def __init__(self, system: System, fleet: Fleet) -> None:
        self.figures: Figures = {}
        self._system = system
        self._fleet = fleet

    def run(self) -> None:
        """All of it, in the order in which it happens to a fleet."""
        empty = self._resident()
        self._join()
        self._deploy()
        self._rest(empty)
        with Asker(self._system) as asker:
            self._be_killed(asker)
            self._lose_all(asker)

    def _join(self) -> None:
        begin, before = time.monotonic(), self._cpu()
        eventually(self._fleet.linked, within=LONGEST_SECS, every=0.2)
        self.figures["join and connect, s"] = time.monotonic() - begin
        self.figures["join and connect, CPU ms each"] = self._each(self._cpu() - before)

    def _deploy(self) -> None:
        begin, before = time.monotonic(), self._cpu()
        with contextlib.closing(self._system.api()) as api:
            for number in range(DEPLOYMENTS):
                replicas = max(1, self._fleet.count // 10)
                body = {"name": f"app-{number}", "image": "app:1", "replicas": replicas}
                api.create_deployment({**body, "ports": [{"container_port": 80}]})
        eventually(lambda: self._counted("deployments").get("running") == DEPLOYMENTS, within=LONGEST_SECS)
        self.figures["deploy to all, s"] = time.monotonic() - begin
        self.figures["deploy to all, CPU ms each"] = self._each(self._cpu() - before)

    def _rest(self, empty: float) -> None:
        time.sleep(REST_SECS)
        before = self._cpu()
        time.sleep(IDLE_SECS)
        self.figures["idle, % of a core"] = (self._cpu() - before) / IDLE_SECS * 100
        self.figures["memory, kB each"] = (self._resident() - empty) / self._fleet.count / 1000

    def _be_killed(self, asker: Asker) -> None:
        begin = time.monotonic()
        time.sleep(QUIET_SECS)
        self.figures["API p99 in quiet, ms"] = asker.p99(begin)
        before, killed = self._fleet.seen(), time.monotonic()
        self._system.control_plane.kill()
        self._system.start_control_plane()
        answers = time.monotonic()
        eventually(self._fleet.linked, within=LONGEST_SECS, every=0.2)
        after = self._fleet.seen()
        back = sorted(moment - killed for moment in after["back"].values())
        self.figures["API back, s"] = answers - killed
        self.figures["half of all back, s"] = statistics.median(back)
        self.figures["all back, s"] = back[-1]
        self.figures["API p99 meanwhile, ms"] = asker.p99(answers)
        self.figures["back, CPU ms each"] = self._each(self._cpu())
        time.sleep(REST_SECS)
        self.figures["told everything again"] = self._fleet.seen()["resyncs"] - before["resyncs"]

    def _lose_all(self, asker: Asker) -> None:
        begin, before = time.monotonic(), self._cpu()
        self._fleet.kill()
        eventually(
            lambda: self._counted("nodes").get("unreachable") == self._fleet.count, within=LONGEST_SECS, every=0.2
        )
        self.figures["all away known, s"] = time.monotonic() - begin
        self.figures["all away, CPU ms each"] = self._each(self._cpu() - before)
        self.figures["API p99 all away, ms"] = asker.p99(begin)

    def _each(self, seconds: float) -> float:
        return seconds * 1000 / self._fleet.count

    def _counted(self, what: str) -> dict[str, int]:
        with contextlib.closing(self._system.api()) as api:
            found: dict[str, int] = api.status()["summary"][what]
        return found

    def _cpu(self) -> float:
        return self._read().cpu

    def _resident(self) -> float:
        return self._read().resident

    def _read(self) -> Reading:
        return reading([self._system.control_plane.pid])


def measured(archive: Path, count: int) -> Figures:
    """The figures of a fleet of so many."""
    with tempfile.TemporaryDirectory() as folder, System(archive, Path(folder)) as system:
        system.start_control_plane()
        with contextlib.closing(system.api()) as api:
            joining = api.join_token({"ttl_seconds": 3600, "uses": None})["join"]
        with nodes(count, joining) as fleet:
            contest = Contest(system, fleet)
            contest.run()
    return contest.figures


def missed(figures: Figures) -> Sequence[str]:
    """Which goals were."""
    return [name for name, most in GOALS.items() if figures[name] > most]


def main() -> int:
    """Measure, print, write; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--archive", type=Path, default=os.environ.get("FLEDX_PYZ", ROOT / "dist" / "fledx.pyz"))
    options = parser.parse_args()
    figures = measured(options.archive.resolve(), options.nodes)
    for name, value in figures.items():
        print(f"{name:30} {value:9.2f}" + (f"   <= {GOALS[name]:g}" if name in GOALS else ""))
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps({"nodes": options.nodes, "goals": GOALS, "figures": figures}, indent=2))
    if late := missed(figures):
        print("beyond the goal:", ", ".join(late))
    return int(bool(late))


if __name__ == "__main__":
    sys.exit(main())
