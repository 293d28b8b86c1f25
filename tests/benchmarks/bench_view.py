"""
The full-screen view with a large fleet beside one with a small: what a key costs, and what a change costs.

    python tests/benchmarks/bench_view.py

Writes build/bench/view.json, and ends with 1 where a hundred times as many rows cost more than `MOST` times as much.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from tests.unit.cli.test_live import WHOLE, Seat, deployment, node

SMALL, LARGE = 10, 1000
REPLICAS = 5
ROUNDS = 20
OUTPUT = Path(__file__).resolve().parents[2] / "build" / "bench" / "view.json"
MOST = 4.0


async def costs(many: int) -> tuple[float, float]:
    """Median seconds from a key to the finished frame, and from a change's arrival to its row."""
    seat = Seat(columns=150, rows=50)
    async with seat.sit() as pilot:
        fleet: list[Any] = [deployment(f"d-{i:04}", replicas=REPLICAS) for i in range(many)]
        fleet += [node(f"n-{i:04}") for i in range(many)]
        seat.api.everything.items.put([*fleet, WHOLE])
        while len(seat.rows()) < many:
            await pilot.pause(0.05)
        keys, changes = [], []
        for i in range(ROUNDS):
            began = time.perf_counter()
            await pilot.press("down")
            await pilot.pause()
            keys.append(time.perf_counter() - began)
            news = deployment(f"d-{i % many:04}", replicas=REPLICAS, ready_replicas=i % 2)
            began = time.perf_counter()
            seat.view._came([news])
            seat.view._draw()
            await pilot.pause()
            changes.append(time.perf_counter() - began)
        return statistics.median(keys), statistics.median(changes)


def main() -> int:
    """Print both, and how many times as much the large fleet costs; 1 where that is too much."""
    small, large = asyncio.run(costs(SMALL)), asyncio.run(costs(LARGE))
    ratios = {}
    print(f"{'':<8}  {SMALL:>5} rows  {LARGE:>5} rows  ratio")
    for what, few, many in zip(("a key", "a change"), small, large, strict=True):
        ratios[what] = many / few
        print(f"{what:<8}  {few * 1e3:7.1f} ms  {many * 1e3:7.1f} ms  {ratios[what]:5.2f}   <= {MOST:g}")
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps({"most": MOST, "ratios": ratios, "rows": {SMALL: small, LARGE: large}}, indent=2))
    return int(max(ratios.values()) > MOST)


if __name__ == "__main__":
    sys.exit(main())
