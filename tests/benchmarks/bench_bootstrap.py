"""
How long `bootstrap agent` takes on a host with Docker, from its start to `ready`, step by step.

    python tests/benchmarks/bench_bootstrap.py [--rounds 5] [--archive $FLEDX_PYZ, else dist/fledx.pyz]

Real hosts of the bed: a control plane once, then a bare host each round, reached over SSH. Writes
build/bench/bootstrap.json, and ends with 1 where the median of whole runs is over 15 seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.acceptance.desk import Desk  # noqa: E402
from tests.bed.hosts import Hosts  # noqa: E402

OUTPUT = ROOT / "build" / "bench" / "bootstrap.json"
LIMIT_SECS = 15.0
WHOLE = "start to ready, as the operator waits"


def main() -> int:
    """Measure, print, write, judge."""
    parser = argparse.ArgumentParser(description="how long it takes to make a host a node")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--archive", type=Path, default=os.environ.get("FLEDX_PYZ", ROOT / "dist" / "fledx.pyz"))
    given = parser.parse_args()
    with Hosts.claimed() as bed, tempfile.TemporaryDirectory(prefix="fledx-bench-") as folder:
        bed.up(1)
        desk = Desk(Path(given.archive), Path(folder) / "home", bed)
        desk.does("bootstrap", "cp", "--cp-hostname", bed["cp"].address, "--ssh-host", "cp")
        rounds = [one_round(desk, bed, f"edge-{number}") for number in range(given.rounds)]
    medians = {part: round(statistics.median(each.get(part, 0.0) for each in rounds), 3) for part in rounds[0]}
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps({"rounds": given.rounds, "seconds": medians}, indent=1) + "\n")
    for part, seconds in medians.items():
        print(f"{seconds:8.3f} s  {part}")
    print(f"{'within' if medians[WHOLE] <= LIMIT_SECS else 'OVER'} the limit of {LIMIT_SECS:g} s")
    return int(medians[WHOLE] > LIMIT_SECS)


def one_round(desk: Desk, bed: Hosts, name: str) -> dict[str, float]:
    """A bare host made a node; seconds by part."""
    bed.renew("n1")
    desk.known_hosts.unlink(missing_ok=True)
    began = time.monotonic()
    told = desk.does("bootstrap", "agent", "--ssh-host", "n1", "--name", name, "--json").facts()[0]
    whole = time.monotonic() - began
    assert "ready" == desk.nodes()[name]["status"]
    build = str(told["build"])
    parts = {part.replace(f"-{build}", ""): float(seconds) for part, seconds in told["seconds"].items()}
    return {WHOLE: whole, **parts}


if __name__ == "__main__":
    sys.exit(main())
