"""
Pages of 100 deployments and of 100 nodes at the API, beside a bare Starlette handler that reads the same rows.

    python tests/benchmarks/bench_api.py [--rounds 7] [--seconds 2]

One process serves both by Hypercorn on two ports, from one database of 1,000 deployments (two replicas each) and 500
nodes; this one asks over 16 kept connections, each side in turn within a round. The table shows medians, and the median
of the ratios within a round. Writes build/bench/api.json, and ends with 1 if the API's rate is below 0.6 of the bare
one's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import anyio  # noqa: E402
from hypercorn.asyncio import serve  # noqa: E402
from hypercorn.config import Config  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import JSONResponse, Response  # noqa: E402
from starlette.routing import Route  # noqa: E402

from fledx.control_plane.api.app import app  # noqa: E402
from fledx.control_plane.bell import Bell  # noqa: E402
from fledx.control_plane.changes import Changes  # noqa: E402
from fledx.control_plane.deployments import Deployments  # noqa: E402
from fledx.control_plane.metrics import Metrics  # noqa: E402
from fledx.control_plane.nodes import Nodes  # noqa: E402
from fledx.control_plane.store import assignments, deployments, migrate, nodes  # noqa: E402
from fledx.control_plane.store.database import Database  # noqa: E402
from fledx.control_plane.trust.tokens import Endpoint, Tokens  # noqa: E402
from fledx.models.assignment import Assignment  # noqa: E402
from fledx.models.deployment import DeploymentSpec  # noqa: E402
from fledx.models.node import Capacity, NodeFacts  # noqa: E402
from fledx.models.port import PortMapping  # noqa: E402
from fledx.settings.control_plane import ControlPlaneSettings  # noqa: E402

OUTPUT = ROOT / "build" / "bench" / "api.json"
NOW = "2026-11-25T10:00:00.000Z"
DEPLOYMENTS, NODES, REPLICAS = 1000, 500, 2
CONNECTIONS, LEAST = 16, 0.6
TOKEN = "bench-operator-token"


def fill(path: Path) -> None:
    """The database that both sides read."""
    migrate.bring_up(path, datetime.now(timezone.utc))
    store = Database(path)

    def work(sql: sqlite3.Connection) -> None:
        for i in range(NODES):
            facts = NodeFacts(
                arch="amd64",
                os="linux",
                labels={"site": f"site-{i % 20}", "disk": "ssd"},
                capacity=Capacity(cpu_millis=4000, memory_bytes=8 * 2**30),
                agent_version="0.1.0",
                runtime="docker 27.1",
            )
            nodes.insert(sql, f"node-id-{i:04}", f"edge-{i:04}", facts, os.urandom(32), NOW)
        for i in range(DEPLOYMENTS):
            _deploy(sql, i)

    anyio.run(store.write, work)
    store.close()


def _deploy(sql: sqlite3.Connection, i: int) -> None:
    spec = DeploymentSpec(
        name=f"web-{i:04}",
        image="registry.example.com/team/web:1.27",
        replicas=REPLICAS,
        env={"MODE": "production", "WORKERS": "4"},
        ports=(PortMapping(container_port=80),),
        labels={"tier": "front", "team": f"team-{i % 10}"},
    )
    deployment_id = f"deployment-id-{i:04}"
    deployments.insert(sql, deployment_id, spec, "bench", NOW)
    deployments.set_statuses(sql, [(deployment_id, "running", None, REPLICAS)])
    for number in range(REPLICAS):
        ports = (PortMapping(container_port=80, host_port=30000 + i),)
        node_id = f"node-id-{(i + number) % NODES:04}"
        assignments.put(
            sql, deployment_id, Assignment(replica_number=number, node_id=node_id, fence=i + 1, ports=ports)
        )


def bare(path: Path) -> Starlette:
    """The least that could be done: rows to dicts to JSON, without tokens, checks, limits, counts or a shape."""
    sql = sqlite3.connect(path, check_same_thread=False)
    sql.row_factory = sqlite3.Row

    async def list_deployments(request: Request) -> Response:
        total = sql.execute("SELECT count(*) FROM deployment").fetchone()[0]
        rows = sql.execute("SELECT * FROM deployment ORDER BY name LIMIT 100 OFFSET 200").fetchall()
        marks = ",".join("?" * len(rows))
        owners = sql.execute(
            f"{assignments.JOINED} WHERE deployment_id IN ({marks}) ORDER BY replica_number",
            [row["id"] for row in rows],
        )
        items = {row["id"]: {**dict(row), "assignments": []} for row in rows}
        for owner in owners:
            items[owner["deployment_id"]]["assignments"].append(dict(owner))
        return JSONResponse({"total": total, "items": list(items.values())})

    async def list_nodes(request: Request) -> Response:
        total = sql.execute("SELECT count(*) FROM node").fetchone()[0]
        columns = "id, name, status, availability, since, reason, facts, address, seen, created_at"
        rows = sql.execute(f"SELECT {columns} FROM node ORDER BY name LIMIT 100 OFFSET 200").fetchall()
        return JSONResponse({"total": total, "items": [dict(row) for row in rows]})

    return Starlette(routes=[Route("/api/v1/deployments", list_deployments), Route("/api/v1/nodes", list_nodes)])


def whole(path: Path) -> Starlette:
    """The API on the real use cases."""
    store, bell = Database(path), Bell()
    changes = Changes(store, bell, None)
    endpoint = Endpoint(host="cp", port=7443, tls=True, pins=("pin",))
    operators = [(TOKEN, "bench")]
    tokens = Tokens(store, pepper="pepper", operators=operators, registration=None, endpoint=endpoint, changes=changes)
    absent = cast(Any, None)
    return app(
        deployments=Deployments(store, changes),
        nodes=Nodes(store, changes, tokens),
        tokens=tokens,
        logs=absent,
        events=absent,
        revisions=absent,
        fleet=absent,
        rebalancing=absent,
        configs=absent,
        secrets=absent,
        registries=absent,
        certificates=absent,
        usage=absent,
        volumes=absent,
        operator_tokens=absent,
        audit=absent,
        overview=absent,
        watching=absent,
        settings=ControlPlaneSettings(),
        metrics=Metrics(),
        authority=None,
        stopping=anyio.Event(),
    )


def serving(path: Path, told: Connection) -> None:
    """Serve both on ports of their own until killed."""

    async def run() -> None:
        ports = []
        async with anyio.create_task_group() as tasks:
            for made in (bare(path), whole(path)):
                opened = socket.create_server(("127.0.0.1", 0))
                ports.append(opened.getsockname()[1])
                config = Config()
                config.bind, config.accesslog, config.errorlog = [f"fd://{opened.detach()}"], None, None
                tasks.start_soon(lambda made=made, config=config: serve(made, config))  # type: ignore[misc]
            await anyio.sleep(0.5)
            told.send(ports)

    anyio.run(run)


async def ask(port: int, path: str, seconds: float) -> dict[str, float]:
    """Requests one after another on each connection; the rate, and times in milliseconds."""
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(size)
            took.append((time.perf_counter() - began) * 1000)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    cuts = statistics.quantiles(took, n=100)
    return {"rate": len(took) / seconds, "p50": cuts[49], "p99": cuts[98]}


def measured(ports: list[int], rounds: int, seconds: float) -> dict[str, Any]:
    """For each list: both sides' medians and the median ratio of their rates."""
    found: dict[str, Any] = {}
    for noun in ("deployments", "nodes"):
        path = f"/api/v1/{noun}?limit=100&offset=200"
        pairs = []
        for number in range(rounds + 1):
            order = (0, 1) if number % 2 else (1, 0)
            both = {side: asyncio.run(ask(ports[side], path, seconds if number else 0.5)) for side in order}
            pairs.append((both[0], both[1]))
        pairs = pairs[1:]  # the first warms up
        found[noun] = {
            "bare": _medians([pair[0] for pair in pairs]),
            "fledx": _medians([pair[1] for pair in pairs]),
            "ratio": statistics.median(pair[1]["rate"] / pair[0]["rate"] for pair in pairs),
        }
    return found


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}


def shown(found: Mapping[str, Any]) -> None:
    """The table."""
    print(f"{'page of 100':14}{'side':8}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'ratio':>8}")
    for noun, figures in found.items():
        for side in ("bare", "fledx"):
            each = figures[side]
            ratio = f"{figures['ratio']:8.2f}" if side == "fledx" else ""
            print(f"{noun:14}{side:8}{each['rate']:12.0f}{each['p50']:9.1f}{each['p99']:9.1f}{ratio}")


def main() -> int:
    """Measure, print, keep, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fledx.db"
        fill(path)
        here, there = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serving, args=(path, there), daemon=True)
        server.start()
        try:
            found = measured(here.recv(), asked.rounds, asked.seconds)
        finally:
            server.kill()
            server.join()
    shown(found)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if all(figures["ratio"] >= LEAST for figures in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
