"""
Placements a second, plan and booking together, on one core: the four workloads and the corners.

    python tests/benchmarks/bench_scheduler.py [--nodes 100,500,1000,5000] [--runs 3] [--seconds 2]

Prints a table and writes build/bench/scheduler.json. Ends with 1 if a workload falls below the floor. Seconds are those
of the processor, so that what else runs on the machine counts as little as it can.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from fledx.control_plane.scheduler.board import Board  # noqa: E402
from fledx.control_plane.scheduler.fits import fits  # noqa: E402
from fledx.control_plane.scheduler.place import NodeView  # noqa: E402
from fledx.control_plane.scheduler.ports import Want  # noqa: E402
from fledx.control_plane.scheduler.schedule import schedule  # noqa: E402
from fledx.control_plane.scheduler.spec import Peer, Preference, Shape, Spec, Spread  # noqa: E402
from fledx.models.placement import PACK  # noqa: E402
from fledx.models.rule import Rule  # noqa: E402
from tests.benchmarks import placing_on_disk as disk  # noqa: E402

FLOOR = 20_000
CORNER_FLOOR = 1_500
CREATES = 1_000
DEAD_NODE_MS = 25
GIB = 1024**3
MIB = 1024**2
Work = Iterator[tuple[Spec, int]]


def fleet(count: int) -> list[NodeView]:
    """Nodes of three sizes in 8 zones; half with a fast disk, all with a label of their own."""
    dice = random.Random(1)
    return [
        NodeView(
            id=f"id-{i}",
            name=f"edge-{i:05}",
            arch="amd64" if i % 4 else "arm64",
            os="linux",
            labels={"zone": f"z{i % 8}", "disk": "ssd" if i % 2 else "hdd", "site": f"s{i}", "tier": "edge"},
            cpu=dice.choice((16_000, 32_000, 64_000)),
            memory=dice.choice((32, 64, 128)) * GIB,
        )
        for i in range(count)
    ]


def spec(number: int, **changes: Any) -> Spec:
    """A deployment with small requests, of four sizes in turn."""
    size = 1 + number % 4
    given: dict[str, Any] = {
        "deployment": f"d{number}",
        "name": f"app-{number}",
        "cpu": 20 * size,
        "memory": 16 * MIB * size,
    }
    return Spec(**given | changes)


def many_replicas(nodes: int) -> Work:
    return ((spec(i), 100) for i in range(100))


def many_deployments(nodes: int) -> Work:
    return ((spec(i), 1) for i in range(10_000))


def rules_and_preferences(nodes: int) -> Work:
    shape = Shape(
        rules=(Rule.parse("tier=edge"), Rule.parse("zone in (z0,z1,z2,z3,z4,z5,z6,z7)"), Rule.parse("!gpu")),
        preferences=(Preference(weight=1, labels=(("disk", "ssd"),)),),
        domain="zone",
    )
    return ((spec(i, shape=shape, spread=Spread("zone"), favours=((f"d{i - 1}", 1),)), 10) for i in range(1_000))


def fixed_ports(nodes: int) -> Work:
    return ((spec(i, wants=(Want(80, "tcp", 10_000 + i, ""),)), 10) for i in range(1_000))


def site_pins(nodes: int) -> Work:
    """Each deployment on the one node of a site: every spec has a shape of its own."""
    return ((spec(i, shape=Shape(rules=(Rule(key="site", values=(f"s{i % nodes}",)),))), 1) for i in range(5_000))


def one_port_everywhere(nodes: int) -> Work:
    return ((spec(i, wants=(Want(80, "tcp", 8080, ""),)), 1) for i in range(nodes))


def apart_from_itself(nodes: int) -> Work:
    return ((spec(i, apart=(Peer(f"d{i}", f"app-{i}"),)), nodes) for i in range(20_000 // nodes or 1))


def packed_full(nodes: int) -> Work:
    """Bin-packing until 97 % of the fleet is full: the order begins with places that have no room."""
    shape = Shape(strategy=PACK)
    whole = sum(node.memory for node in fleet(nodes)) // (4 * GIB)
    yield spec(0, shape=shape, spread=None, cpu=0, memory=4 * GIB), int(whole * 0.97)
    yield from ((spec(i, shape=shape, spread=None, cpu=0, memory=64 * MIB), 1) for i in range(1, 2_000))


def shapes_in_turn(count: int) -> Callable[[int], Work]:
    def work(nodes: int) -> Work:
        shapes = [Shape(rules=(Rule.parse(f"never-{i}!=x"),)) for i in range(count)]
        return ((spec(i, shape=shapes[i % count]), 1) for i in range(5_000))

    return work


def a_value_a_node(nodes: int) -> Work:
    return ((spec(i, shape=Shape(domain="site"), spread=Spread("site")), 10) for i in range(500))


def bin_pack(nodes: int) -> Work:
    return ((spec(i, shape=Shape(strategy=PACK), spread=None), 1) for i in range(10_000))


def automatic_ports(nodes: int) -> Work:
    return ((spec(i, wants=(Want(80, "tcp", None, ""),)), 10) for i in range(1_000))


WORKLOADS = {
    "w1 100 x 100": many_replicas,
    "w2 10,000 x 1": many_deployments,
    "w3 1,000 x 10, rules, zones": rules_and_preferences,
    "w4 1,000 x 10, a fixed port": fixed_ports,
}
CORNERS = {
    "automatic port, 1,000 x 10": automatic_ports,
    "bin-pack, 10,000 x 1": bin_pack,
    "site pins": site_pins,
    "one fixed port on every node": one_port_everywhere,
    "apart from itself": apart_from_itself,
    "97 % full, bin-pack": packed_full,
    "60 broad shapes in turn": shapes_in_turn(60),
    "200 broad shapes in turn": shapes_in_turn(200),
    "spread over a value a node": a_value_a_node,
}


def rate(nodes: list[NodeView], work: Iterable[tuple[Spec, int]], seconds: float) -> float:
    """Placements a second, every plan applied; cut after so many seconds."""
    board = Board(nodes)
    work = list(work)
    if work[0][1] > 1_000 and len(work) > 1_000:  # the first one only fills the fleet
        first, count = work.pop(0)
        board.apply(first, schedule(board, first, range(count)).placed)
    gc.collect()
    placed, begin = 0, time.process_time()
    for one, count in work:
        plan = schedule(board, one, range(count))
        board.apply(one, plan.placed)
        placed += len(plan.placed)
        if time.process_time() - begin > seconds:
            break
    return placed / (time.process_time() - begin)


def reasons(count: int) -> dict[str, float]:
    """Milliseconds for a refused plan, by what refuses."""
    nodes = fleet(count)
    refused = {
        "label": spec(1, shape=Shape(rules=(Rule.parse("gpu=yes"),))),
        "arch, label, CPU": spec(2, shape=Shape(arch="amd64", rules=(Rule.parse("disk=ssd"),)), cpu=100_000),
        "port": spec(3, wants=(Want(80, "tcp", 8080, ""),)),
        "port, each node another holder": spec(4, wants=(Want(80, "tcp", 9090, ""),)),
    }
    board = Board(nodes)
    holder = spec(5, wants=(Want(80, "tcp", 8080, ""),))
    board.apply(holder, schedule(board, holder, range(count)).placed)
    for i in range(count):
        one = spec(10 + i, wants=(Want(80, "tcp", 9090, ""),))
        board.apply(one, schedule(board, one, range(1)).placed)
    return {name: _milliseconds(partial(schedule, board, one, range(3))) for name, one in refused.items()}


def _milliseconds(work: Callable[[], object]) -> float:
    took = []
    for _ in range(5):
        begin = time.process_time()
        work()
        took.append((time.process_time() - begin) * 1000)
    return statistics.median(took)


def dead_node(count: int) -> float:
    """Milliseconds until the 200 replicas (150 deployments) of one node are placed elsewhere, in memory."""
    took = []
    for run in range(5):
        nodes = fleet(count)
        board = Board(nodes)
        specs = {f"d{i}": spec(i) for i in range(2_000)}
        for i, one in enumerate(specs.values()):
            board.apply(one, schedule(board, one, range(5)).placed)
            if i < 150:
                pinned = spec(i, shape=Shape(rules=(Rule(key="site", values=(f"s{run}",)),)))
                board.apply(one, schedule(board, pinned, range(5, 7 if i < 50 else 6)).placed)
        begin = time.process_time()
        view = nodes[run]
        board.update(NodeView(**{**vars(view), "status": "unreachable"}))
        lost: dict[str, list[int]] = {}
        for placed in board.on(view.id):
            lost.setdefault(placed.deployment, []).append(placed.number)
        for deployment, numbers in lost.items():
            board.remove(deployment, numbers)
        for deployment, numbers in lost.items():
            board.apply(specs[deployment], schedule(board, specs[deployment], numbers).placed)
        took.append((time.process_time() - begin) * 1000)
    return statistics.median(took)


def stays(count: int) -> float:
    """Questions a second whether a replica may stay where it is."""
    board = Board(fleet(count))
    one = spec(0, wants=(Want(80, "tcp", None, ""),))
    board.apply(one, schedule(board, one, range(1_000)).placed)
    held = board.of(one.deployment).values()
    begin = time.process_time()
    assert not any(fits(board, one, placed) for placed in held)
    return len(held) / (time.process_time() - begin)


def on_disk(folder: Path) -> dict[str, Any]:
    """The same with all that stands around it: use case, events, audit, and the transaction with its fsync."""
    found: dict[str, Any] = {"flush_ms": disk.flush_floor(folder)}
    print(f"a page and its fsync on this disk: {found['flush_ms']:.2f} ms")
    for nodes in (500, 1_000, 5_000):
        found[f"placements_with_transaction_{nodes}"] = rate = anyio.run(disk.placements, folder, nodes)
        print(f"100 creates of 100 replicas, {nodes:,} nodes: {rate:,.0f} placements/s with their transactions")
    found["creates"] = made = anyio.run(disk.creates, folder, 1_000)
    print(
        f"creates of 3 replicas, 1,000 nodes, 10,000 replicas: {made['transactions_per_second']:,.0f} transactions/s"
        f" (goal {CREATES:,}/s)\n  with all around them, one after the other: {made['per_second']:,.0f}/s, p50"
        f" {made['p50_ms']:.2f} ms, p99 {made['p99_ms']:.2f} ms; {made['per_second_of_processor']:,.0f} a second of"
        " processor"
    )
    found["dead_node_with_transaction"] = dead = anyio.run(disk.dead_node, folder, 1_000)
    print(
        f"a dead node with {dead['replicas']:.0f} replicas, 1,000 nodes, with its transaction:"
        f" {dead['processor_ms']:.0f} ms of processor, {dead['wall_ms']:.0f} ms by the clock (goal {DEAD_NODE_MS} ms)"
    )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="placements a second")
    parser.add_argument("--nodes", default="100,500,1000,5000")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="cut a run after so many")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "scheduler.json")
    given = parser.parse_args()
    sizes = [int(size) for size in given.nodes.split(",")]
    found: dict[str, dict[str, float]] = {}
    print(f"placements/s, CPython {platform.python_version()}, medians of {given.runs}\n")
    print(f"{'nodes':32}" + "".join(f"{size:>10,}" for size in sizes))
    for name, workload in {**WORKLOADS, **CORNERS}.items():
        if given.only in name:
            found[name] = {}
            for size in sizes:
                nodes = fleet(size)
                rates = [rate(nodes, workload(size), given.seconds) for _ in range(given.runs)]
                found[name][str(size)] = statistics.median(rates)
            print(f"{name:32}" + "".join(f"{value:>10,.0f}" for value in found[name].values()), flush=True)
    more: dict[str, Any] = {}
    if not given.only:
        more = {
            "reasons_ms": reasons(max(sizes)),
            "dead_node_ms": dead_node(1_000),
            "stays_per_second": stays(1_000),
        }
        more |= on_disk(given.out.parent / "disk")
        for what, value in more["reasons_ms"].items():
            print(f"reasons at {max(sizes):,} nodes, {what}: {value:.1f} ms")
        print(f"a dead node with 200 replicas, 1,000 nodes: {more['dead_node_ms']:.1f} ms")
        print(f"'may it stay?' with a port, 1,000 nodes: {more['stays_per_second']:,.0f}/s")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(
        json.dumps({"python": platform.python_version(), "placements_per_second": found, **more}, indent=1)
    )
    slow = [(name, size) for name in WORKLOADS for size, value in found.get(name, {}).items() if value < FLOOR]
    slow += [(name, "1000") for name in found if name in CORNERS and found[name].get("1000", FLOOR) < CORNER_FLOOR]
    for name, where in slow:
        print(f"below the floor: {name} at {where} nodes")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
