"""Every change of the system goes through here: one transaction, its consequences in it, its news after it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from fledx.control_plane.bell import Bell
from fledx.control_plane.replicas.job_status import derive_job
from fledx.control_plane.replicas.placing import KeptBoard
from fledx.control_plane.replicas.status import Derived, derive
from fledx.control_plane.scheduler.board import Board
from fledx.control_plane.scheduler.ports import PortRange
from fledx.control_plane.store import assignments, deployments, events, finished, instances, nodes, parts
from fledx.control_plane.store.audit import Chain
from fledx.control_plane.store.database import Database
from fledx.control_plane.store.deployments import Stored
from fledx.control_plane.store.events import Happening
from fledx.models.audit import entry
from fledx.models.moment import stamp
from fledx.models.token import Operator

T = TypeVar("T")
Decided = Callable[[str, int, int], None]
Happened = Callable[[list[str]], None]
EVENTS = "events"
OVERVIEW = "overview"


class Transaction:
    """
    What a use case works with: the connection, the moment, and notes of what it has touched.

    Before COMMIT each touched node's desired state gets a higher revision, and each touched deployment's status is
    derived anew; after it, agents and watchers hear of it. ``gateways`` says that something else than a deployment
    has changed for all of these.
    """

    def __init__(self, sql: sqlite3.Connection, now: float, kept: KeptBoard, chain: Chain) -> None:
        self._chain = chain
        self.sql = sql
        self.now = now
        self.stamp = stamp(now)
        self.touched_nodes: set[str] = set()
        self.touched: set[str] = set()
        self.news: list[str] = []
        self.overview = False
        self.gateways = False
        self.decisions = (0, 0)
        self._kept = kept
        self._board: Board | None = None

    @property
    def board(self) -> Board:
        """The scheduler's board; whoever changes it calls `board_changed`."""
        if self._board is None:  # nobody else writes meanwhile: it is compared with the rows once
            self._board = self._kept.of(self.sql)
        return self._board

    def board_changed(self) -> None:
        """The board in memory and the rows it stands for were changed alike."""
        self._kept.advance(self.sql)

    def decided(self, *, placed: int, waiting: int) -> None:
        """The scheduler was asked: so many replicas got a place, so many wait for one."""
        self.decisions = (self.decisions[0] + placed, self.decisions[1] + waiting)

    def audit(
        self,
        action: str,
        by: Operator,
        *,
        id: str | None = None,
        name: str | None = None,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        failed: str | None = None,
    ) -> None:
        """
        Write down who did it (`deployment.create`), with this transaction or not at all.

        `before` and `after` are whole; what differs is kept, without secrets. `failed` is why it was not done.
        """
        line = entry(self.stamp, action, by, id=id, name=name, before=before, after=after, failed=failed)
        self._chain.append(self.sql, line)

    def event(
        self,
        kind: str,
        subject: str,
        reason: str,
        *,
        deployment_id: str | None = None,
        replica_number: int | None = None,
        node_id: str | None = None,
    ) -> None:
        """Store what happened and why."""
        self.note(Happening(kind, subject, reason, deployment_id, replica_number, node_id))

    def note(self, *happened: Happening) -> None:
        """The same for many at once."""
        self.news += [each.kind for each in happened]
        events.add(self.sql, self.stamp, *happened)


class Changes:
    """The one way to write; holds the scheduler's board between transactions."""

    def __init__(
        self,
        store: Database,
        bell: Bell,
        ports: PortRange | None,
        clock: Callable[[], float] = time.time,
        *,
        chain: Chain | None = None,
    ) -> None:
        self.chain = chain or Chain(bytes(32))
        self.store = store
        self.bell = bell
        self.clock = clock
        self._kept = KeptBoard(ports)
        self._tell_nodes: Callable[[set[str]], None] = lambda node_ids: None
        self._on_decision: Decided = lambda occasion, placed, waiting: None
        self._on_events: Happened = lambda kinds: None
        self._follow: Callable[[Transaction], set[str]] = lambda tx: set()

    def follow_with(self, listener: Callable[[Transaction], set[str]]) -> None:
        """
        Who brings, inside each transaction, the touched deployments' parts of what gateways serve up to date.

        It gives the ids of those whose part has changed for the gateways, whose desired revisions rise with it.
        """
        self._follow = listener

    def tell_nodes(self, listener: Callable[[set[str]], None]) -> None:
        """Whom to call, in the loop, with the ids of nodes whose desired state has changed."""
        self._tell_nodes = listener

    def on_decision(self, listener: Decided) -> None:
        """Whom to call with an occasion and how many replicas were placed, and how many wait, once that is stored."""
        self._on_decision = listener

    def on_events(self, listener: Happened) -> None:
        """Whom to call with the kinds of events, once they are stored."""
        self._on_events = listener

    async def commit(
        self, work: Callable[[Transaction], T], *, durable: bool = True, occasion: str = "reschedule"
    ) -> T:
        """
        Run `work` in one transaction with all its consequences; its result, once that is on the disk.

        `occasion` is a word for the figures of the scheduler.
        """

        def whole(sql: sqlite3.Connection) -> tuple[Transaction, T]:
            tx = Transaction(sql, self.clock(), self._kept, self.chain)
            try:
                result = work(tx)
                settle(tx, self._follow)
            except BaseException:
                self._kept.drop()
                raise
            return tx, result

        try:
            tx, result = await self.store.write(whole, durable=durable)
        except BaseException:
            self._kept.drop()
            raise
        self._tell_nodes(tx.touched_nodes)
        if any(tx.decisions):
            self._on_decision(occasion, *tx.decisions)
        if tx.news:
            self._on_events(tx.news)
        topics = {*tx.touched, *({EVENTS} if tx.news else ()), *({OVERVIEW} if tx.touched or tx.overview else ())}
        self.bell.ring(topics)
        return result


def settle(tx: Transaction, follow: Callable[[Transaction], set[str]]) -> None:
    """The consequences of a transaction, inside it."""
    offered_otherwise = follow(tx)
    nodes.next_revisions(tx.sql, tx.touched_nodes, tx.now)
    for deployment_id in offered_otherwise:
        parts.mark(tx.sql, deployment_id)
    if tx.touched:
        rederive(tx, sorted(tx.touched))


def rederive(tx: Transaction, ids: list[str]) -> None:
    """Bring the stored statuses of deployments up to what their assignments and instances say."""
    away, found = nodes.away(tx.sql), deployments.several(tx.sql, ids)
    owners, pending = assignments.of_deployments(tx.sql, ids), assignments.pending_of_deployments(tx.sql, ids)
    seen = instances.of_deployments(tx.sql, ids)
    changed = []
    for deployment_id, stored in found.items():
        facts = owners[deployment_id], pending[deployment_id], seen[deployment_id], away
        if stored.spec.mode == "job":
            derived = derive_job(stored.spec, *facts, finished.of_deployment(tx.sql, deployment_id))
        else:
            derived = derive(stored.spec, stored.revision, *facts)
        if _differ(stored, derived):
            changed.append((stored, derived))
    _settle(tx, changed)


def _differ(stored: Stored, found: Derived) -> bool:
    before = (stored.status, stored.reason, stored.ready, stored.wanted, stored.job)
    return (found.status, found.reason, found.ready, found.wanted, _job(stored, found)) != before


def _job(stored: Stored, found: Derived) -> dict[str, str] | None:
    return job_shown(found) if stored.spec.mode == "job" else None


def _settle(tx: Transaction, changed: Sequence[tuple[Stored, Derived]]) -> None:
    told = []
    deployments.set_statuses(tx.sql, [(stored.id, now.status, now.reason, now.ready) for stored, now in changed])
    for stored, now in changed:
        if (now.wanted, job := _job(stored, now)) != (stored.wanted, stored.job):
            deployments.set_mode_facts(tx.sql, stored.id, now.wanted, job)
        if now.status != stored.status:
            count = stored.spec.replicas if now.wanted is None else now.wanted
            reason = now.reason or f"{now.ready} of {count} replicas {'succeeded' if now.outcome else 'ready'}"
            told.append(Happening(f"deployment.{now.status}", stored.spec.name, reason, stored.id))
    tx.note(*told)


def job_shown(found: Derived) -> dict[str, str]:
    """What is shown of a job beside its status."""
    facts = {"outcome": found.outcome, "last_run": found.last_run, "next_run": found.next_run}
    return {name: value for name, value in facts.items() if value is not None}
