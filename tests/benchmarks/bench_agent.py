"""
What an idle agent with ten healthy containers costs: memory, CPU, bytes on the wire, bytes written to disk.

    python tests/benchmarks/bench_agent.py [--minutes 10] [--archive $FLEDX_PYZ, else dist/fledx.pyz]

Two real agents, one with the usual settings and one metered, each beside an engine of its own in a network namespace of
its own, with ten containers of the sample app that have an HTTP probe; beside them what their dockerd costs. After two
minutes of rest the counters of the kernel are read twice: VmRSS and utime+stime of the process, write_bytes of its
/proc/PID/io, and the bytes of the packets to and from the control plane as iptables counts them. Where usage goes less
often than the watch is long it is asked for at the end. Writes build/bench/agent.json, and ends with 1 where a goal
is missed; what importing costs in memory is then shown as well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from fledx.agent.report import METERED, USUAL  # noqa: E402
from tests.acceptance.edge import Edge  # noqa: E402
from tests.bed.engine import Engine  # noqa: E402
from tests.bed.engines import Engines  # noqa: E402
from tests.waiting import eventually  # noqa: E402

OUTPUT = ROOT / "build" / "bench" / "agent.json"
REST_SECS = 120.0
CONTAINERS = 10
ASKING = 2 * (52 + 22 + 26) + 2 * 52
"""Bytes of a question and its answer without what is told: headers of TCP, TLS and the message, acknowledgements."""

HOUR, DAY, MONTH = 3600.0, 86400.0, 30 * 86400.0
GOALS = {"resident_mb": 45.0, "core_percent": 0.5, "written_mb_day": 3.0}
WIRE_GOALS = {"e1": 75.0, "e2": 15.0}
KINDS = {"e1": "agent", "e2": "agent, metered"}
MODULES = (
    "asyncio",
    "anyio",
    "ssl",
    "msgpack",
    "cattrs",
    "fledx.agent.runtime.docker",
    "prometheus_client",
    "h11",
    "cryptography.hazmat.primitives.ciphers.aead",
    "fledx.agent.run",
)
IMPORTING = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
from fledx import _boot
_boot.install()
before = 0
for name in ("sys", *sys.argv[2:]):
    importlib.import_module(name)
    with open("/proc/self/status") as file:
        now = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    print(name, (now - before) / 1000)
    before = now
"""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Counters of one process, or of a process and its children, at one moment."""

    at: float
    resident: int
    cpu: float
    written: int


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured, reckoned up to the goals' units; the wire only where there is one of its own."""

    resident_mb: float
    core_percent: float
    cpu_secs_hour: float
    written_mb_day: float
    wire_mb_month: float | None = None


def reading(pids: Sequence[int]) -> Reading:
    """Counters of these processes together."""
    resident, ticks, written = 0, 0, 0
    for pid in pids:
        folder = Path("/proc", str(pid))
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
        resident += int(status["VmRSS"].split()[0]) * 1024
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
        io = dict(line.split(": ") for line in (folder / "io").read_text().splitlines())
        written += int(io["write_bytes"])
    return Reading(at=time.monotonic(), resident=resident, cpu=ticks / os.sysconf("SC_CLK_TCK"), written=written)


def counting(engine: Engine, peer: str) -> None:
    """Have the kernel count what travels between the engine's machine and this address, by rules without a target."""
    engine.shell(f"iptables -w -t raw -I OUTPUT -p tcp -d {peer}\niptables -w -t raw -I PREROUTING -p tcp -s {peer}")


def wire(engine: Engine) -> int:
    """Bytes both ways so far, with the headers of IP and TCP."""
    shown = engine.shell("for chain in OUTPUT PREROUTING; do iptables -w -t raw -nvxL $chain 1; done")
    return sum(int(line.split()[1]) for line in shown.splitlines())


def engine_pids(engine: Engine) -> list[int]:
    """dockerd and its containerd, without the shims of containers."""
    assert engine.pid is not None
    children = Path(f"/proc/{engine.pid}/task/{engine.pid}/children").read_text().split()
    return [engine.pid, *map(int, children)]


def between(first: Reading, last: Reading, carried: int | None) -> Figures:
    """What lay between two readings."""
    seconds = last.at - first.at
    cpu, written = last.cpu - first.cpu, last.written - first.written
    return Figures(
        resident_mb=round(last.resident / 1e6, 1),
        core_percent=round(cpu / seconds * 100, 3),
        cpu_secs_hour=round(cpu / seconds * HOUR, 1),
        written_mb_day=round(written / seconds * DAY / 1e6, 2),
        wire_mb_month=None if carried is None else round(carried / seconds * MONTH / 1e6, 1),
    )


def prepared(edge: Edge) -> None:
    """Two agents with ten healthy replicas each."""
    edge.start_control_plane()
    edge.start_agent("e1")
    edge.start_agent("e2", FLEDX_AGENT_METERED="true")
    eventually(lambda: edge.ready_nodes() == 2, within=30)
    for number in range(CONTAINERS):
        edge.deploy(f"app-{number}", "--spread", "--readiness-http", "/healthz", replicas=2)


def measured(edge: Edge, minutes: float) -> dict[str, Figures]:
    """Watch for so long; figures by what they are of."""
    for name in KINDS:
        counting(edge.engines[name], edge.engines.gateway)
    time.sleep(REST_SECS)
    pids = {KINDS[name]: [edge.agents[name].pid] for name in KINDS}
    pids |= {f"its dockerd ({name})": engine_pids(edge.engines[name]) for name in KINDS}
    before = {what: reading(each) for what, each in pids.items()}
    carried = {KINDS[name]: wire(edge.engines[name]) for name in KINDS}
    time.sleep(minutes * 60)
    after = {what: reading(each) for what, each in pids.items()}
    for name, kind in KINDS.items():
        carried[kind] = wire(edge.engines[name]) - carried[kind] + untold(edge, name, minutes * 60)
    return {what: between(before[what], after[what], carried.get(what)) for what in pids}


def untold(edge: Edge, name: str, seconds: float) -> int:
    """What samples cost that are told later: they are asked for now, with a fair share of that packet's own cost."""
    quiet = (METERED if "metered" in KINDS[name] else USUAL).usage
    if seconds >= quiet:
        return 0
    before = wire(edge.engines[name])
    edge.cli_json("usage", "list", "--node", name)
    eventually(lambda: wire(edge.engines[name]) > before + ASKING)
    return int(wire(edge.engines[name]) - before - ASKING + ASKING * seconds / quiet)


def missed(figures: Mapping[str, Figures]) -> list[str]:
    """The goals that were not reached, in words."""
    found = []
    for name, kind in KINDS.items():
        each = asdict(figures[kind]) | {}
        goals = GOALS | {"wire_mb_month": WIRE_GOALS[name]}
        found += [f"{kind}: {what} is {each[what]}, goal {goal}" for what, goal in goals.items() if each[what] > goal]
    return found


def imports(archive: Path) -> dict[str, float]:
    """MB of memory that importing each of these adds, one after the other, in a process that runs the archive."""
    command = [sys.executable, "-IS", "-c", IMPORTING, str(archive), *MODULES]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    lines = (line.split() for line in done.stdout.splitlines())
    return {name: round(float(value), 1) for name, value in lines}


def show(figures: Mapping[str, Figures]) -> None:
    print(f"{'':18}{'RSS MB':>8}{'% core':>8}{'CPU s/h':>9}{'disk MB/day':>13}{'wire MB/month':>15}")
    for what, each in figures.items():
        wired = "" if each.wire_mb_month is None else f"{each.wire_mb_month:15.1f}"
        print(
            f"{what:18}{each.resident_mb:8.1f}{each.core_percent:8.3f}{each.cpu_secs_hour:9.1f}"
            f"{each.written_mb_day:13.2f}{wired}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--archive", type=Path, default=os.environ.get("FLEDX_PYZ", ROOT / "dist" / "fledx.pyz"))
    args = parser.parse_args()
    archive = args.archive.resolve()
    with tempfile.TemporaryDirectory() as folder, Engines.up(2) as engines:
        engines.load_sample()
        with Edge(archive, Path(folder), engines) as edge:
            prepared(edge)
            figures = measured(edge, args.minutes)
    show(figures)
    problems, cost = missed(figures), imports(archive)
    for line in problems:
        print(f"missed: {line}")
    print("MB of memory by import: " + ", ".join(f"{name} {value}" for name, value in cost.items()))
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    found = {what: asdict(each) for what, each in figures.items()}
    OUTPUT.write_text(json.dumps({"minutes": args.minutes, "figures": found, "imports_mb": cost}, indent=2))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
