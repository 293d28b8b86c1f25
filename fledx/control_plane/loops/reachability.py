"""Watches for silent nodes, shows them, and moves their work when they stay away."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence, Set
from functools import partial

import anyio

from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.nodes import change_status, settle_status
from fledx.control_plane.reachability import (
    LONGEST_NAP,
    Action,
    MarkBack,
    MarkUnreachable,
    MoveWork,
    Silence,
    Watchfulness,
    decide,
)
from fledx.control_plane.replicas.moving import move_lost
from fledx.control_plane.replicas.placing import BOARD
from fledx.control_plane.store import assignments, counters, deployments, finished, nodes
from fledx.control_plane.store.database import Database
from fledx.errors import FledxError
from fledx.models.codec import decode_lenient
from fledx.models.deployment import DeploymentSpec
from fledx.models.node import NodeFacts
from fledx.settings.control_plane import ControlPlaneSettings

log = logging.getLogger(__name__)
Tried = tuple[int, frozenset[float]]
"""The board's counter, and the limits, at which moving was tried: while neither changes, there is no use in another."""
AT_ONCE = 100
"""So many are marked in one transaction: a thousand of them alone would hold up others for five seconds."""
NO_LIMITS: frozenset[float] = frozenset()
SEEN_FLUSH_SECONDS = 10.0
SEEN_FLUSH_NODE_SECONDS = 0.05  # so that 1,200 nodes and more are written once a minute: 7 ms and 150 kB for 10,000


class Reachability:
    """The loop; what it remembers is when it last heard of whom, which a restart sets to the time of the restart."""

    def __init__(
        self,
        store: Database,
        changes: Changes,
        dispatch: Dispatch,
        settings: ControlPlaneSettings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._store = store
        self._changes = changes
        self._dispatch = dispatch
        self._settings = settings
        self._heard: dict[str, float] = {}
        self._stored: dict[str, float] = {}
        self._tried: dict[str, Tried] = {}
        self._flushed = self._looked = self._monotonic()
        self._awake = Watchfulness(self._monotonic(), LONGEST_NAP + settings.reachability_sweep_interval_secs)

    def heard(self, node_id: str) -> None:
        """A node has just been heard of, though its session may be over."""
        self._heard[node_id] = self._monotonic()
        self._flushed = float("-inf")  # a session's end is stored at the next look: its node may be asked for soon

    async def run(self) -> None:
        """Look once a sweep interval, for ever."""
        while True:
            try:
                await self.sweep(self._monotonic())
            except FledxError as problem:
                log.error("sweep failed", extra={"reason": str(problem)})
            await anyio.sleep(self._settings.reachability_sweep_interval_secs)

    async def sweep(self, now: float) -> None:
        """One look: who is silent, and what follows from it."""
        awake_since, self._looked = self._awake.look(now), now
        for session in self._dispatch:
            self._heard[session.node_id] = session.link.last_heard()
        settings = self._settings
        actions = decide(
            self._silences(now, awake_since),
            heartbeat_secs=settings.tunnel_heartbeat_interval_secs,
            stale_secs=settings.reachability_heartbeat_stale_secs,
            move=settings.reachability_reschedule_on_unreachable,
        )
        await self._act(actions)
        if now - self._flushed >= max(SEEN_FLUSH_SECONDS, len(self._heard) * SEEN_FLUSH_NODE_SECONDS):
            self._flushed = now
            await self.flush()

    def _silences(self, now: float, awake_since: float) -> list[Silence]:
        stale = self._settings.reachability_heartbeat_stale_secs
        limits = self._store.read(lambda sql: assignments.limits_of_silent(sql, stale))
        known = self._store.read(nodes.statuses)
        self._forget_but({node_id for node_id, _, _ in known})
        heard, session = self._heard.get, self._dispatch.session
        return [
            Silence(
                node_id,
                status,
                now - max(heard(node_id, awake_since), awake_since),
                session(node_id) is not None,
                limits.get(node_id, NO_LIMITS),
                metered,
            )
            for node_id, status, metered in known
        ]

    def _forget_but(self, known: set[str]) -> None:
        """Nodes that were deleted."""
        for remembered in (self._heard, self._stored, self._tried):
            for node_id in remembered.keys() - known:
                del remembered[node_id]

    async def _act(self, actions: Sequence[Action]) -> None:
        """What takes long because many are silent at once is no nap."""
        gone = [each for each in actions if isinstance(each, MarkUnreachable)]
        for i in range(0, len(gone), AT_ONCE):
            still = [each for each in gone[i : i + AT_ONCE] if not self._is_back(each.node_id)]
            await self._changes.commit(partial(_mark, gone=still), durable=False)
            self._awake.look(self._monotonic())
        for action in actions:
            if isinstance(action, MarkBack):
                await self._changes.commit(partial(_back, node_id=action.node_id), durable=False)
            elif isinstance(action, MoveWork) and not self._is_back(action.node_id):
                await self._move(action)
            self._awake.look(self._monotonic())

    def _is_back(self, node_id: str) -> bool:
        """Whether it was heard of since the look began: what is done about many takes time."""
        session = self._dispatch.session(node_id)
        last = session.link.last_heard() if session is not None else float("-inf")
        return max(last, self._heard.get(node_id, last)) > self._looked

    async def _move(self, action: MoveWork) -> None:
        """Try, unless it was tried when all was as it is now."""
        if self._tried.get(action.node_id) == (self._store.read(_board), action.over):
            return
        session = self._dispatch.session(action.node_id)
        if session is not None:
            # or what is sent down it now would be read by a node that has not heard yet whom its work belongs to
            session.link.close("silent for so long that its work is moved")
        tried = await self._changes.commit(lambda tx: self._move_work(tx, action), durable=True)
        self._tried[action.node_id] = tried, action.over

    def _move_work(self, tx: Transaction, action: MoveWork) -> int:
        """Move what can be moved, but for what has run to its end; the board's counter, at which that was tried."""
        row = nodes.by_id(tx.sql, action.node_id)
        if row is None or row["status"] != "unreachable":
            return _board(tx.sql)
        owned = assignments.of_node(tx.sql, action.node_id)
        theirs = {deployment_id for deployment_id, _ in owned}
        known, ended = deployments.several(tx.sql, theirs), finished.among(tx.sql, theirs)
        left = [(known[id], given) for id, given in owned if (id, given.replica_number) not in ended]
        due = [(stored, given) for stored, given in left if self._due(stored.spec, action.over)]
        if due:
            move_lost(tx, due, why=f"node {due[0][1].node}: {action.reason}")
        return _board(tx.sql)

    def _due(self, spec: DeploymentSpec, over: Set[float]) -> bool:
        """Whether its time is up; what belongs to each node stays."""
        if spec.desired_state != "running" or spec.mode == "global":
            return False
        own = spec.reschedule.after_seconds
        return float(self._settings.reachability_heartbeat_stale_secs if own is None else own) in over

    async def flush(self) -> None:
        """Store when each node was last heard of; in memory between two flushes, as heartbeats must not cost writes."""
        now, wall = self._monotonic(), time.time()
        news = {node_id: at for node_id, at in self._heard.items() if self._stored.get(node_id) != at}
        seen = {node_id: wall - (now - at) for node_id, at in news.items()}
        await self._changes.commit(lambda tx: nodes.set_seen(tx.sql, seen), durable=False)
        self._stored |= news


def _board(sql: sqlite3.Connection) -> int:
    return counters.current(sql, BOARD)


def _mark(tx: Transaction, gone: Iterable[MarkUnreachable]) -> None:
    for each in gone:
        change_status(tx, each.node_id, "unreachable", each.reason)


def _back(tx: Transaction, node_id: str) -> None:
    """It is what it last told of itself."""
    row = nodes.by_id(tx.sql, node_id)
    if row is not None:
        settle_status(tx, node_id, decode_lenient(NodeFacts, json.loads(row["facts"])))
