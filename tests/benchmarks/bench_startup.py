"""
How long a command takes to start: the archive beside `python3 -c pass`, in turn within a round.

    python tests/benchmarks/bench_startup.py [--rounds 31] [--archive $FLEDX_PYZ, else dist/fledx.pyz]

The archive is started as an operator starts it, by its own header, with its code cache warm. A completion is what a
shell's TAB runs; `nodes list` asks a small server in this process, so that it includes a request. Writes
build/bench/startup.json, and ends with 1 where `--help` takes more than 4 times `python3 -c pass` or a completion more
than 100 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "build" / "bench" / "startup.json"
HELP_FACTOR, COMPLETION_MS = 4.0, 100.0
LINE = "fledx deployments li"
NODES = [
    {"node_id": f"{number:08x}-0000-4000-8000-000000000000", "name": f"edge-{number}", "status": "ready"}
    for number in range(20)
]


class Api(BaseHTTPRequestHandler):
    """Twenty nodes, whatever is asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({"limit": 500, "offset": 0, "total": len(NODES), "items": NODES}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@contextmanager
def serving() -> Iterator[str]:
    """The URL of the small server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class Case:
    """One command, its environment, and the milliseconds it took."""

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self.name = name
        self.took: list[float] = []
        self._command = command
        self._environ = environ

    def run(self) -> float:
        """Milliseconds from fork to exit."""
        began = time.perf_counter()
        subprocess.run(self._command, env=self._environ, stdout=subprocess.DEVNULL, check=True)
        return (time.perf_counter() - began) * 1000

    @property
    def median(self) -> float:
        return statistics.median(self.took)


def cases(archive: Path, home: str, url: str) -> list[Case]:
    """What is measured; the first is what the others are compared with."""
    python = os.environ.get("FLEDX_PYTHON") or shutil.which("python3") or sys.executable
    environ = {"PATH": os.environ["PATH"], "HOME": home, "FLEDX_CACHE_DIR": f"{home}/cache", "FLEDX_PYTHON": python}
    completing = {
        "_ARGCOMPLETE": "1",
        "COMP_LINE": LINE,
        "COMP_POINT": str(len(LINE)),
        "_ARGCOMPLETE_STDOUT_FILENAME": os.devnull,
    }
    asking = {"FLEDX_CLI_CONTROL_PLANE_URL": url, "FLEDX_CLI_OPERATOR_TOKEN": "t0ken"}
    return [
        Case("python3 -c pass", [python, "-c", "pass"], environ),
        Case("--version", [str(archive), "--version"], environ),
        Case("--help", [str(archive), "--help"], environ),
        Case("completion", [str(archive)], {**environ, **completing}),
        Case("nodes list", [str(archive), "nodes", "list"], {**environ, **asking}),
    ]


def measure(measured: Sequence[Case], rounds: int) -> None:
    """Two rounds to warm the caches, then each in turn."""
    for number in range(rounds + 2):
        for case in measured:
            took = case.run()
            if number >= 2:
                case.took.append(took)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--archive", type=Path, default=os.environ.get("FLEDX_PYZ", ROOT / "dist" / "fledx.pyz"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, serving() as url:
        os.mkdir(f"{home}/cache", 0o700)
        measured = cases(args.archive.resolve(), home, url)
        measure(measured, args.rounds)
    floor = measured[0]
    figures = {
        case.name: {
            "median_ms": round(case.median, 2),
            "min_ms": round(min(case.took), 2),
            "factor": round(statistics.median(a / b for a, b in zip(case.took, floor.took, strict=True)), 2),
        }
        for case in measured
    }
    for name, each in figures.items():
        print(f"{name:16} {each['median_ms']:7.1f} ms   {each['factor']:5.2f} x python3 -c pass")
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(
        json.dumps({"rounds": args.rounds, "python": sys.version.split()[0], "figures": figures}, indent=2)
    )
    late = figures["--help"]["factor"] > HELP_FACTOR or figures["completion"]["median_ms"] > COMPLETION_MS
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
