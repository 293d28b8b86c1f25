"""
A request through Envoy and both tunnels beside one through Envoy and a chain of `ssh -L` and `ssh -R`.

    python tests/benchmarks/bench_ingress.py [--rounds 3] [--seconds 2] [--megabytes 500]

Both Envoys have the files that a gateway writes, with one worker each; the hops are the same: a unix socket, an
encrypted link to the middle, another one to the backend's node. There an nginx is asked for 200 bytes, set up as Debian
ships it; "apart" is the same with head and body in two segments, as many a server sends them: each ssh then waits for
an acknowledgement whenever it sees the first one alone. Ratios are medians of those of each round; absolute figures
wander with the machine. Prints a table, writes build/bench/ingress.json, and ends with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from fledx.agent.ingress.envoy_config.bootstrap import bootstrap  # noqa: E402
from fledx.agent.ingress.envoy_config.clusters import cluster_of  # noqa: E402
from fledx.agent.ingress.envoy_config.files import flattened  # noqa: E402
from fledx.agent.ingress.envoy_config.shapes import SOCKETS, Cluster, Front, Served, Target  # noqa: E402
from fledx.models.ingress import Route  # noqa: E402
from tests.bed import envoy  # noqa: E402
from tests.benchmarks import nginx, sshd, traffic  # noqa: E402
from tests.benchmarks.bench_tunnel import certificates, process  # noqa: E402
from tests.benchmarks.beside_ssh import Figures, Measure, report  # noqa: E402

OUTPUT = ROOT / "build" / "bench" / "ingress.json"
ENDS = Path(__file__).with_name("ingress_ends.py")
CONNECTIONS = (1, 16, 128)
GOALS = {"apart 1 req/s": 5.0, "http 16 req/s": 1.5, "http 128 req/s": 1.1, "download MB/s": 1.2}
"""
Multiples of the chain of ssh that must be reached; the others are printed only.

The 5 at one connection was set beside an ssh that answered 164 times a second, p99 45 ms, which it does here with
answers in two segments (168, 44 ms). With those in one it waits for nothing and does 1,900: Envoy right in front of
that nginx, with nothing between, does four times as many.
"""


def measures(count: int, seconds: float) -> list[Measure]:
    """What is measured at a port; the download is of `count` bytes."""

    def http(name: str, connections: int, path: str = "/") -> Measure:
        def measure(port: int) -> dict[str, float]:
            got = traffic.requests(port, connections, seconds, path)
            figures = {"req/s": got.per_second, "p50 ms": got.median * 1000, "p99 ms": got.p99 * 1000}
            return {f"{name} {connections} {figure}": value for figure, value in figures.items()}

        return measure

    small = [http("http", connections) for connections in CONNECTIONS]
    return [*small, http("apart", 1, nginx.APART), lambda port: {"download MB/s": _download(port, count)}]


def _download(port: int, count: int) -> float:
    """Megabytes a second of one answer."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        room, left = bytearray(256 * 1024), count
        begin = time.perf_counter()
        sock.sendall(b"GET /%d HTTP/1.1\r\nHost: bench.example.com\r\nConnection: close\r\n\r\n" % count)
        while left > 0:
            size = sock.recv_into(room)
            if not size:
                raise ConnectionError(f"{left} of {count} bytes are missing")
            left -= size
        return count / 1e6 / (time.perf_counter() - begin)


@contextmanager
def contenders(count: int) -> Iterator[dict[str, int]]:
    """Both ways to one nginx, which has a file of so many bytes: the ports of their Envoys."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        certificates(folder)
        target = stack.enter_context(nginx.serving(folder, count))
        yield {
            "fledx": stack.enter_context(_envoy(folder, "fledx", stack.enter_context(_tunnels(folder, str(target))))),
            "ssh": stack.enter_context(_envoy(folder, "ssh", stack.enter_context(_ssh(folder, target)))),
        }


@contextmanager
def _tunnels(folder: Path, target: str) -> Iterator[str]:
    """The socket of a gateway's agent."""
    name = f"fledx-bench-{os.getpid()}"
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, f"/dev/shm/{name}", ignore_errors=True)
        _, (port,) = stack.enter_context(process(str(ENDS), "relay", str(folder)))
        stack.enter_context(process(str(ENDS), "owner", str(folder), port, target))
        _, (path,) = stack.enter_context(process(str(ENDS), "gateway", str(folder), port, name))
        yield path


@contextmanager
def _ssh(folder: Path, target: int) -> Iterator[str]:
    """The socket of `ssh -L`, which leads to the port of an `ssh -R` at the same server."""
    doors: list[int] = []

    def via(port: int) -> int:
        doors.append(port)
        return port

    path = folder / "ssh.sock"
    with sshd.reverse_forward(folder, target, via) as (front, _), sshd.forward(folder, doors[0], path, front):
        yield str(path)


@contextmanager
def _envoy(folder: Path, name: str, path: str) -> Iterator[int]:
    """A gateway's Envoy with one backend at this socket; its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    file = folder / f"{name}.json"
    file.write_text(json.dumps(_config(port, path)))
    words: list[str | Path] = [
        envoy.binary(),
        "-c",
        file,
        "--concurrency",
        "1",
        "--use-dynamic-base-id",
        "--log-level",
        "error",
    ]
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        sshd.wait_for(port)
        yield port
    finally:
        child.terminate()
        child.wait(10)


def _config(port: int, path: str) -> dict[str, Any]:
    front = Front(address="127.0.0.1", http_port=port, https_port=None)
    cluster = Cluster(name="b-80", targets=(Target(address="bench"),))
    routes = tuple(
        Route(host=host, path="/", path_type="prefix", backend="b-80") for host in ("bench.example.com", "127.0.0.1")
    )
    served = Served(routes=routes, clusters=(cluster,))
    config: dict[str, Any] = json.loads(flattened(bootstrap(front, "bench"), served, front))
    told = cluster_of(cluster, front, inline=True)
    told.pop("@type")
    config["static_resources"]["clusters"] = [told]
    found: dict[str, Any] = json.loads(json.dumps(config).replace(f"{SOCKETS}/bench", path))
    return found


def run(rounds: int, count: int, seconds: float) -> Figures:
    """Every figure of every round, by name and contender; who goes first changes from round to round."""
    figures: Figures = {}
    with contenders(count) as ways:
        for number in range(rounds):
            for measure in measures(count, seconds):
                for name in sorted(ways, reverse=bool(number % 2)):
                    for figure, value in measure(ways[name]).items():
                        figures.setdefault(figure, {}).setdefault(name, []).append(value)
    return figures


def main() -> int:
    """Measure, print, write; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    figures = run(options.rounds, options.megabytes * 1_000_000, options.seconds)
    facts = {"python": platform.python_version(), "rounds": options.rounds}
    return report(figures, GOALS, rival="ssh pair", output=OUTPUT, facts=facts)


if __name__ == "__main__":
    sys.exit(main())
