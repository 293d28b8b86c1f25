"""What agents tell of their replicas, stored; many reports that arrive together share one transaction."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import anyio

from fledx.control_plane.bell import Ear
from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.jobs import note_ends
from fledx.control_plane.store import deployments, events, instances, nodes, usage
from fledx.control_plane.store.database import STORAGE_FULL, Database
from fledx.errors import FledxError
from fledx.models.codec import decode_lenient
from fledx.models.instance import Instance
from fledx.models.report import Happening, Report, digest_of
from fledx.models.usage import Minute

log = logging.getLogger(__name__)
GROUP_SECONDS = 0.02
FULL_SECONDS = 1.0
MAX_QUEUED = 10_000
MAX_GROUP = 200


class Reports:
    """A bounded queue before the writer; each sender waits until its report is stored."""

    def __init__(self, store: Database, changes: Changes) -> None:
        self._store = store
        self._changes = changes
        self._queue: deque[tuple[str, Report]] = deque()
        self._under_way: Counter[str] = Counter()
        self._arrival, self._room = Ear(), Ear()

    async def take(self, node_id: str, report: Report) -> None:
        """Queue a report; waits while the queue is full, which holds back the agent's link and nothing else."""
        while len(self._queue) >= MAX_QUEUED:
            await self._room.wait()
        self._queue.append((node_id, report))
        self._under_way[node_id] += 1
        self._arrival.ring()

    async def run(self) -> None:
        """Store what was queued, the first of a quiet time at once and those behind it in groups, for ever."""
        while True:
            await self._arrival.wait()
            while self._queue:
                group = [self._queue.popleft() for _ in range(min(MAX_GROUP, len(self._queue)))]
                self._room.ring()
                await self.store(group)
                self._under_way -= Counter(node_id for node_id, _ in group)
                await anyio.sleep(GROUP_SECONDS)

    async def store(self, group: list[tuple[str, Report]]) -> None:
        """
        Store reports in one transaction; while the disk is full they wait here, and those behind them in the queue.

        Any other failure is logged, and the agents' digests will bring it to light.
        """
        while await self._is_full(group):
            await anyio.sleep(FULL_SECONDS)

    async def _is_full(self, group: list[tuple[str, Report]]) -> bool:
        """Try; whether nothing could be stored for want of space."""
        try:
            await self._changes.commit(lambda tx: _store(tx, group), durable=False)
        except FledxError as problem:
            log.error("reports not stored", extra={"count": len(group), "reason": str(problem)})
            return problem.code == STORAGE_FULL
        return False

    def agrees(self, node_id: str, digest: str) -> bool:
        """
        Whether what is stored of a node is what the node has (`digest` of its instances).

        While a report of it waits to be stored nobody can tell; its next digest is a minute off.
        """
        return node_id in self._under_way or digest == digest_of(
            self._store.read(lambda sql: instances.of_node(sql, node_id))
        )

    async def usage(self, node_id: str, minutes: Sequence[Minute]) -> None:
        """Add what a node has used to what is known of those minutes."""
        if minutes:
            await self._changes.commit(lambda tx: usage.add(tx.sql, node_id, minutes), durable=False)


def report_of(message: Mapping[str, Any]) -> Report:
    """The report in a tunnel message; InvalidSpec when it is none."""
    return decode_lenient(Report, message.get("report"))


def _store(tx: Transaction, group: list[tuple[str, Report]]) -> None:
    names = deployments.names(tx.sql)
    for node_id, report in group:
        if nodes.by_id(tx.sql, node_id) is not None:
            _store_one(tx, node_id, report, names)


def _store_one(tx: Transaction, node_id: str, report: Report, names: Mapping[str, str]) -> None:
    found = [_owned(each, node_id) for each in report.instances if each.deployment_id in names]
    gone = set(report.gone)
    if report.full:
        gone |= instances.keys_of_node(tx.sql, node_id) - {each.key for each in found}
    instances.forget(tx.sql, node_id, gone)
    instances.store(tx.sql, node_id, found, tx.now)
    note_ends(tx, node_id, found)
    tx.touched |= {each.deployment_id for each in found} | {key[0] for key in gone if key[0] in names}
    node = nodes.by_id(tx.sql, node_id)
    for each in report.happenings:
        _happened(tx, node_id, each, names)
    if report.dropped and node is not None:
        reason = f"{report.dropped} happenings were dropped while the node had no link"
        tx.event("node.dropped", node["name"], reason, node_id=node_id)


def _owned(instance: Instance, node_id: str) -> Instance:
    """A node speaks for itself only, whatever its report says."""
    return replace(instance, node_id=node_id)


def _happened(tx: Transaction, node_id: str, each: Happening, names: Mapping[str, str]) -> None:
    if each.deployment_id and events.repeats(tx.sql, each.deployment_id, each.replica_number, each.kind, each.reason):
        return
    node = nodes.by_id(tx.sql, node_id)
    subject = names.get(each.deployment_id or "") or (node["name"] if node is not None else node_id)
    scope = "replica" if each.deployment_id else "node"
    tx.event(
        f"{scope}.{each.kind}"[:60],
        subject,
        each.reason,
        deployment_id=each.deployment_id,
        replica_number=each.replica_number,
        node_id=node_id,
    )
