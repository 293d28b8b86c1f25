"""
The tunnel beside `ssh -R` between the same two points, in the same rounds.

    python tests/benchmarks/bench_tunnel.py [--rounds 7] [--megabytes 300] [--seconds 2] [--wan 3]

Two processes are the ends of the tunnel, TLS on, two of ssh are those of ssh; one more is the target of both. Ratios
are medians of those of each round; absolute figures wander with the machine, processor time (of both ends, for a GB or
a thousand requests) does so least. The last rows are small HTTP beside eight bulk streams over a relay that makes a
slow uplink of loopback. Prints a table, writes build/bench/tunnel.json, and ends with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import platform
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import trustme  # noqa: E402

from tests.benchmarks import sshd, traffic  # noqa: E402
from tests.benchmarks.beside_ssh import Figures, Measure, report  # noqa: E402
from tests.benchmarks.wan import Line, Wan  # noqa: E402

OUTPUT = ROOT / "build" / "bench" / "tunnel.json"
ENDS = Path(__file__).with_name("tunnel_ends.py")
GOALS = {"up MB/s": 1.2, "down MB/s": 1.2, "http 16 req/s": 1.8}
"""Multiples of ssh that must be reached; the others are printed only."""

SLOW_UPLINK = Line(delay_secs=0.01, rate=12_500_000, queue=256_000)
"""100 Mbit/s, 10 ms each way."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A way to the target: the port it begins at, and the processes of its two ends."""

    port: int
    processes: Sequence[int]

    def run(self, measure: Measure) -> dict[str, float]:
        """The figures of `measure`; ``_work`` among them is how much was done, and becomes processor time for each."""
        before = traffic.cpu_seconds(self.processes)
        figures = measure(self.port)
        used = traffic.cpu_seconds(self.processes) - before
        for name in [name for name in figures if name.endswith("_work")]:
            figures[name.removesuffix("_work")] = used / figures.pop(name)
        return figures


def measures(megabytes: int, seconds: float) -> list[Measure]:
    """What is measured at a port; up is from the dialling side to the listening one."""
    count = megabytes * 1_000_000

    def http(connections: int) -> Measure:
        def measure(port: int) -> dict[str, float]:
            got = traffic.requests(port, connections, seconds)
            name = f"http {connections}"
            return {
                f"{name} req/s": got.per_second,
                f"{name} p50 ms": got.median * 1000,
                f"{name} p99 ms": got.p99 * 1000,
                f"{name} cpu ms_work": got.per_second * seconds / 1000,
            }

        return measure

    return [
        lambda port: {"up MB/s": traffic.download(port, count), "up cpu s/GB_work": count / 1e9},
        lambda port: {"down MB/s": traffic.upload(port, count), "down cpu s/GB_work": count / 1e9},
        http(1),
        http(16),
    ]


@contextmanager
def process(*words: str) -> Iterator[tuple[int, list[str]]]:
    """A Python process of ours: its number and the words of the first line it prints; stopped at the end."""
    child = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield child.pid, child.stdout.readline().split()
    finally:
        child.terminate()
        child.wait(10)


def certificates(folder: Path) -> None:
    """A CA and a certificate for 127.0.0.1."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    certificate = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(str(folder / "cert.pem"), append=True)


@contextmanager
def contenders(line: Line | None = None) -> Iterator[dict[str, Contender]]:
    """Both ways to one target, over a line of that kind if there is one."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def via(port: int) -> int:
            return stack.enter_context(Wan(port, up=line)).port if line else port

        certificates(folder)
        _, (target,) = stack.enter_context(process(str(Path(traffic.__file__))))
        listener, (tunnel, front) = stack.enter_context(process(str(ENDS), "listener", str(folder)))
        words = str(ENDS), "dialler", str(folder), str(via(int(tunnel))), target
        dialler, _ = stack.enter_context(process(*words))
        ssh_port, ssh_processes = stack.enter_context(sshd.reverse_forward(folder, int(target), via))
        yield {
            "fledx": Contender(port=int(front), processes=[listener, dialler]),
            "ssh": Contender(port=ssh_port, processes=ssh_processes),
        }


def run(rounds: int, what: list[Measure], line: Line | None = None) -> Figures:
    """Every figure of every round, by name and contender; who goes first changes from round to round."""
    figures: Figures = {}
    with contenders(line) as ways:
        for number in range(rounds):
            for measure in what:
                for name in sorted(ways, reverse=bool(number % 2)):
                    for figure, value in ways[name].run(measure).items():
                        figures.setdefault(figure, {}).setdefault(name, []).append(value)
    return figures


def beside_bulk(port: int) -> dict[str, float]:
    """Small HTTP while eight streams send up as fast as they can."""
    with traffic.downloading(port, 8):
        got = traffic.requests(port, 1, 4.0)
    return {"wan http req/s": got.per_second, "wan http p50 ms": got.median * 1000}


def main() -> int:
    """Measure, print, write; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--wan", type=int, default=3, help="rounds over a slow uplink, 0 for none")
    options = parser.parse_args()
    figures = run(options.rounds, measures(options.megabytes, options.seconds))
    if options.wan:
        figures |= run(options.wan, [beside_bulk], SLOW_UPLINK)
    facts = {"python": platform.python_version(), "openssl": ssl.OPENSSL_VERSION, "rounds": options.rounds}
    return report(figures, GOALS, rival="ssh -R", output=OUTPUT, facts=facts)


if __name__ == "__main__":
    sys.exit(main())
