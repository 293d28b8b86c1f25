"""What placing costs with all that stands around it: use case, events, audit lines, and the transaction on disk."""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import cast

from fledx.control_plane.bell import Bell
from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.deployments import Deployments
from fledx.control_plane.desired import desired_state
from fledx.control_plane.dispatch import Dispatch, Session
from fledx.control_plane.loops.reachability import Reachability
from fledx.control_plane.process import settle
from fledx.control_plane.reachability import LONGEST_NAP
from fledx.control_plane.reports import Reports
from fledx.control_plane.store import migrate, nodes
from fledx.control_plane.store.database import Database
from fledx.models.deployment import DeploymentSpec
from fledx.models.node import Capacity, NodeFacts
from fledx.models.placement import Constraints
from fledx.models.port import PortMapping
from fledx.models.report import Report
from fledx.models.token import Operator
from fledx.sealing import Seal
from fledx.settings.control_plane import ControlPlaneSettings
from fledx.tunnel.link import Link
from tests.builders import running

ME = Operator(name="bench")
GIB = 1024**3
PORTS = (30000, 40000)
LOST = 200


class Plane:
    """A control plane's use cases on a database on a disk."""

    def __init__(self, path: Path) -> None:
        migrate.bring_up(path, datetime.now(timezone.utc))
        self.now = 0.0
        self.store = Database(path)
        self.changes = Changes(self.store, Bell(), PORTS)
        self.deployments = Deployments(self.store, self.changes)
        self.seal = Seal(bytes(32))
        self.dispatch = Dispatch(self.store, self.seal)
        self.reachability = Reachability(
            self.store, self.changes, self.dispatch, ControlPlaneSettings(), monotonic=lambda: self.now
        )

    async def join(self, count: int) -> list[str]:
        """So many nodes that are ready, before anything is placed; their ids."""
        dice = random.Random(1)

        def work(tx: Transaction) -> list[str]:
            found = []
            for i in range(count):
                capacity = Capacity(cpu_millis=dice.choice((16_000, 32_000)), memory_bytes=64 * GIB)
                labels = {"zone": f"z{i % 8}", "site": f"s{i}"}
                facts = NodeFacts(name=f"edge-{i:05}", arch="amd64", os="linux", labels=labels, capacity=capacity)
                found.append(str(uuid.uuid4()))
                nodes.insert(tx.sql, found[-1], f"edge-{i:05}", facts, b"", tx.stamp)
                nodes.set_status(tx.sql, found[-1], "ready", None, tx.stamp)
            return found

        return await self.changes.commit(work)

    async def report(self, node_id: str) -> None:
        """A node's agent tells that it runs all that it is to run."""
        state = self.store.read(lambda sql: desired_state(sql, node_id, self.seal))
        found = tuple(running(each) for each in (state.replicas if state else ()))
        report = Report(revision=1, full=True, instances=found)
        await Reports(self.store, self.changes).store([(node_id, report)])

    async def silence(self, node_id: str, others: list[str], seconds: float) -> None:
        """All but one are connected and heard of, for so long."""
        for each in others:
            if each != node_id:
                self.dispatch.enter(Session(each, each, cast(Link, Talking(self))))
        end = self.now + seconds
        while self.now < end:
            self.now += LONGEST_NAP
            await self.reachability.sweep(self.now)


@dataclass(frozen=True)
class Talking:
    """The link of a node that has just been heard of, whenever it is asked."""

    plane: Plane

    def last_heard(self) -> float:
        """By the plane's clock."""
        return self.plane.now


def spec(number: int, replicas: int, site: str | None = None) -> DeploymentSpec:
    """Small requests and a port whose number is chosen; `site` pins it to one node."""
    capacity = Capacity(cpu_millis=20, memory_bytes=16 * 1024 * 1024)
    return DeploymentSpec(
        name=f"app-{number}",
        image="registry.example.com/app:1.2",
        replicas=replicas,
        ports=(PortMapping(container_port=80),),
        constraints=Constraints(capacity=capacity, labels={"site": site} if site else None),
    )


@contextmanager
def plane(folder: Path) -> Iterator[Plane]:
    """One in a folder of its own there."""
    folder.mkdir(parents=True, exist_ok=True)
    settle()  # garbage is collected as in a control plane
    with tempfile.TemporaryDirectory(dir=folder) as place:
        made = Plane(Path(place) / "fledx.db")
        try:
            yield made
        finally:
            made.store.close()


def flush_floor(folder: Path) -> float:
    """Milliseconds, median, of a write of one page and its fsync: no durable transaction can be faster."""
    folder.mkdir(parents=True, exist_ok=True)
    took = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(200):
            begin = time.perf_counter()
            os.pwrite(file.fileno(), bytes(4096), 0)
            os.fsync(file.fileno())
            took.append((time.perf_counter() - begin) * 1000)
    return statistics.median(took)


async def creates(folder: Path, fleet: int, *, before: int = 1_000, count: int = 600) -> dict[str, float]:
    """
    Whole creates of 3 replicas among `fleet` nodes that have 10 replicas of each of `before` deployments.

    Creates a second one after the other (by the wall clock and by the processor's), and milliseconds of one; and how
    many transactions a second the writer alone could do, by what each took it, commit and fsync included.
    """
    with plane(folder) as one:
        await one.join(fleet)
        for i in range(before):
            await one.deployments.create(spec(i, 10), by=ME)
        took, begin, processor = [], time.perf_counter(), time.process_time()
        written: list[float] = []
        one.store.on_transaction = lambda seconds, durable: written.append(seconds)
        for i in range(before, before + count):
            began = time.perf_counter()
            await one.deployments.create(spec(i, 3), by=ME)
            took.append((time.perf_counter() - began) * 1000)
        wall, used = time.perf_counter() - begin, time.process_time() - processor
        ranked = sorted(took)
        return {
            "transactions_per_second": count / sum(written),
            "per_second": count / wall,
            "per_second_of_processor": count / used,
            "p50_ms": ranked[len(ranked) // 2],
            "p99_ms": ranked[len(ranked) * 99 // 100],
        }


async def placements(folder: Path, fleet: int) -> float:
    """Placements a second with the transaction: 100 deployments of 100 replicas."""
    with plane(folder) as one:
        await one.join(fleet)
        begin = time.perf_counter()
        for i in range(100):
            await one.deployments.create(spec(i, 100), by=ME)
        return 10_000 / (time.perf_counter() - begin)


async def dead_node(folder: Path, fleet: int) -> dict[str, float]:
    """Milliseconds in which 200 replicas of 150 deployments get other nodes when theirs has died, commit included."""
    with plane(folder) as one:
        ids = await one.join(fleet)
        for i in range(150):
            replicas = 2 if i < LOST - 150 else 1
            made = await one.deployments.create(spec(i, replicas, "s0"), by=ME)
            body = {"constraints": {"capacity": {"cpu_millis": 20, "memory_bytes": 16 * 1024 * 1024}}}
            await one.deployments.patch(made.deployment_id, body, by=ME)
        for i in range(150, 1_000):
            await one.deployments.create(spec(i, 10), by=ME)
        await one.report(ids[0])
        await one.silence(ids[0], ids, 85)
        had = len(
            one.store.read(lambda sql: sql.execute("SELECT 1 FROM assignment WHERE node_id = ?", ids[:1]).fetchall())
        )
        one.now += LONGEST_NAP
        begin, processor = time.perf_counter(), time.process_time()
        await one.reachability.sweep(one.now)
        found = {
            "wall_ms": (time.perf_counter() - begin) * 1000,
            "processor_ms": (time.process_time() - processor) * 1000,
        }
        left = one.store.read(lambda sql: sql.execute("SELECT 1 FROM assignment WHERE node_id = ?", ids[:1]).fetchall())
        return {**found, "replicas": float(had), "left": float(len(left))}
