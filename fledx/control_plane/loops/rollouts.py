"""Moves deployments to their current revision, step by step, and back when that revision is no good."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio

from fledx.control_plane.changes import OVERVIEW, Changes, Transaction
from fledx.control_plane.delivery import missing_for
from fledx.control_plane.reachability import LONGEST_NAP, Watchfulness
from fledx.control_plane.replicas.advancing import advance
from fledx.control_plane.replicas.moving import ends_there, move, move_out
from fledx.control_plane.replicas.placing import place_extra, release
from fledx.control_plane.replicas.status import current
from fledx.control_plane.resolving import replica_template
from fledx.control_plane.revising import go_back
from fledx.control_plane.rollout.decisions import (
    Advance,
    Complete,
    Decision,
    Move,
    Pause,
    Rejoin,
    Release,
    RollBack,
    Surge,
    Wait,
    Withdraw,
)
from fledx.control_plane.rollout.replica import Replica
from fledx.control_plane.rollout.state import COMPLETE, PROGRESSING, ROLLED_BACK, RolloutState, begin
from fledx.control_plane.rollout.step import at_once, next_step
from fledx.control_plane.rollout.surge import surging_step
from fledx.control_plane.rollout_state import kept, stored_as
from fledx.control_plane.store import assignments, deployments, instances, nodes, revisions
from fledx.control_plane.store.database import Database
from fledx.control_plane.store.deployments import Stored
from fledx.errors import FledxError
from fledx.models.assignment import Assignment
from fledx.models.deployment import UpdatePolicy
from fledx.models.instance import Instance
from fledx.models.moment import unix
from fledx.models.node import Wish

log = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
GATHER_SECONDS = 0.1
"""Changes that come so close together are looked at together: a look takes 10 ms where there are 10,000 replicas."""
STUCK_SECONDS = 30.0
"""After so long a replica that found no other place is asked again to leave."""


class Rollouts:
    """Looks whenever something has changed, and once a second; what it must remember is in the database."""

    def __init__(self, store: Database, changes: Changes, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._changes = changes
        self._monotonic = monotonic
        self._awake = Watchfulness(monotonic(), LONGEST_NAP)
        self._present_since = changes.clock()
        self._stuck: dict[tuple[str, int], float] = {}

    async def run(self) -> None:
        """Decide and act, for ever."""
        with self._changes.bell.listen(OVERVIEW) as ear:
            while True:
                try:
                    await self.look()
                except FledxError as problem:
                    log.error("rollouts not looked at", extra={"reason": str(problem)})
                await anyio.sleep(GATHER_SECONDS)
                with anyio.move_on_after(LOOK_SECONDS - GATHER_SECONDS):
                    await ear.wait()

    async def look(self) -> None:
        """One step for each deployment whose rollout is on its way."""
        now = self._monotonic()
        if self._awake.look(now) == now:
            self._present_since = self._changes.clock()
        for deployment_id in self._store.read(deployments.on_their_way):
            if self._store.read(lambda sql, one=deployment_id: self._news(sql, one)):  # type: ignore[misc]
                await self._changes.commit(lambda tx, one=deployment_id: self._step(tx, one))  # type: ignore[misc]
        if self._store.read(emptied):
            await self._changes.commit(tell_emptied)

    def _news(self, sql: sqlite3.Connection, deployment_id: str) -> bool:
        """Whether a step would change anything: most looks find that it is still time to wait, and write nothing."""
        stored = deployments.by_id(sql, deployment_id)
        if stored is None:
            return False
        state = kept(stored)
        step = self._decided(sql, stored, state)
        return state != step[0] or any(not_waiting(each) for each in step[1])

    def _step(self, tx: Transaction, deployment_id: str) -> None:
        stored = deployments.by_id(tx.sql, deployment_id)
        if stored is None:
            return
        state, decisions = self._decided(tx.sql, stored, kept(stored))
        deployments.set_rollout(tx.sql, deployment_id, stored_as(state))
        tx.touched.add(deployment_id)
        owned = {given.replica_number: given for given in assignments.of_deployment(tx.sql, deployment_id)}
        draining = nodes.draining(tx.sql)
        for decision in decisions:
            if isinstance(decision, Surge):
                state = _surge(tx, stored, state, decision)
            elif isinstance(decision, Move):
                given = owned[decision.replica_number]
                self._move(tx, stored, given, decision, forced=draining[given.node_id].force)
            else:
                _act(tx, stored, owned, decision, state)

    def _move(self, tx: Transaction, stored: Stored, given: Assignment, decision: Move, *, forced: bool) -> None:
        """Off its node; one that finds no other place is not asked again for a while."""
        if forced or ends_there(tx.sql, stored, given):
            move_out(tx, stored, given, why=decision.reason)
        elif move(tx, stored, given, why=decision.reason) is not None:
            self._stuck[stored.id, given.replica_number] = self._changes.clock() + STUCK_SECONDS

    def _decided(
        self, sql: sqlite3.Connection, stored: Stored, state: RolloutState | None
    ) -> tuple[RolloutState, tuple[Decision, ...]]:
        now = self._changes.clock()
        state = state or begin(None, stored.revision, now)
        if state.phase == PROGRESSING and not state.rolling_back:
            reason = blocked(sql, stored)
            state = replace(state, reason=reason)
            if reason is not None:
                return state, (Wait(reason=reason),)
        if stored.spec.mode == "job":
            step = at_once(state, self._replicas(sql, stored), now, why="jobs do not wait for each other")
            return step.state, step.decisions
        if stored.spec.mode == "global":
            return self._decided_for_global(sql, stored, state, now)
        step = surging_step(
            state,
            _policy(stored),
            self._replicas(sql, stored),
            now,
            wanted=stored.spec.replicas,
            running=stored.spec.desired_state == "running",
            restart=stored.spec.restart,
        )
        return step.state, step.decisions

    def _decided_for_global(
        self, sql: sqlite3.Connection, stored: Stored, state: RolloutState, now: float
    ) -> tuple[RolloutState, tuple[Decision, ...]]:
        """It has a replica a node and never an extra one, so that its numbers have gaps."""
        replicas = self._replicas(sql, stored)
        step = next_step(
            state,
            stored.spec.update,
            replicas,
            now,
            wanted=len(replicas),
            running=stored.spec.desired_state == "running",
            restart=stored.spec.restart,
        )
        return step.state, step.decisions

    def _replicas(self, sql: sqlite3.Connection, stored: Stored) -> list[Replica]:
        owned = assignments.of_deployment(sql, stored.id)
        reported = instances.of_deployment(sql, stored.id)
        seen = current([each for each, _ in reported], owned)
        since = {(each.node_id, each.replica_number): ready for each, ready in reported}
        present = nodes.present_since(sql, {given.node_id for given in owned})
        templates = revisions.templates(sql, {(stored.id, given.revision) for given in owned})
        row = deployments.heading(sql, stored.id)
        draining, leaving = nodes.draining(sql), assignments.leaving(sql, stored.id)
        return [
            Replica(
                number=given.replica_number,
                node=given.node or given.node_id,
                revision=given.revision,
                fence=given.fence,
                template=replica_template(sql, row, templates[stored.id, given.revision], given),
                present_since=self._since(present.get(given.node_id)),
                seen=seen.get(given.replica_number),
                ready_since=since.get((given.node_id, given.replica_number)),
                leaving_since=leaving.get(given.replica_number),
                **self._leaving(stored, given, draining.get(given.node_id), seen.get(given.replica_number)),
            )
            for given in owned
        ]

    def _leaving(self, stored: Stored, given: Assignment, wish: Wish | None, seen: Instance | None) -> dict[str, Any]:
        """Whether a replica must leave its node, and how soon; the run of a job may end before, within the deadline."""
        now = self._changes.clock()
        if wish is None or self._stuck.get((stored.id, given.replica_number), 0.0) > now:
            return {}
        over = wish.deadline is not None and now >= unix(wish.deadline)
        at_work = stored.spec.mode == "job" and seen is not None and seen.state == "running"
        if at_work and not over and not wish.force:
            return {}
        return {"leave": f"node {given.node} is drained by {wish.by}", "leave_now": over}

    def _since(self, text: str | None) -> float | None:
        return None if text is None else max(unix(text), self._present_since)


def _policy(stored: Stored) -> UpdatePolicy:
    """
    An extra replica would begin with empty volumes and answer from them: with data nothing is started first.

    Where there is none, the only replica that gateways serve is started first, so that they are not left with none.
    """
    policy = stored.spec.update
    if stored.spec.ingress and stored.spec.replicas == 1 and not policy.max_surge and not stored.spec.volumes:
        return replace(policy, max_surge=1, max_unavailable=0)
    if policy.max_surge and any(mount.name for mount in stored.spec.volumes or ()):
        return replace(policy, max_surge=0, max_unavailable=max(1, policy.max_unavailable))
    return policy


def blocked(sql: sqlite3.Connection, stored: Stored) -> str | None:
    """Why nobody may go on to the present revision: what it refers to is missing. Who runs, runs on."""
    owned = assignments.of_deployment(sql, stored.id)
    for node_id in dict.fromkeys(given.node_id for given in owned if given.revision != stored.revision):
        reason = missing_for(sql, stored.id, stored.revision, node_id)
        if reason is not None:
            return f"revision {stored.revision} waits: {reason}"
    return None


def emptied(sql: sqlite3.Connection) -> list[str]:
    """Nodes that were to become empty, are so now, and of which that was not told yet."""
    wishes = nodes.draining(sql)
    return [id for id, wish in wishes.items() if wish.done is None and not assignments.of_node(sql, id)]


def tell_emptied(tx: Transaction) -> None:
    """Note since when these nodes have been empty."""
    wishes = nodes.draining(tx.sql)
    for node_id in emptied(tx.sql):
        row = nodes.by_id(tx.sql, node_id)
        if row is not None:
            nodes.set_availability(tx.sql, node_id, "draining", replace(wishes[node_id], done=tx.stamp))
            tx.event("node.drained", row["name"], "nothing is assigned to it any more", node_id=node_id)
            tx.overview = True


def not_waiting(decision: Decision) -> bool:
    """Whether a decision does something."""
    return not isinstance(decision, Wait)


def settled(decision: Decision, state: RolloutState) -> tuple[str, str | None] | None:
    """What has become of the revision by this decision, and why; None while it is on its way."""
    if isinstance(decision, Complete):
        return COMPLETE, None
    if isinstance(decision, RollBack):
        return ROLLED_BACK, decision.reason
    return (state.phase, decision.reason) if isinstance(decision, Pause) else None


def _surge(tx: Transaction, stored: Stored, state: RolloutState, decision: Surge) -> RolloutState:
    """An extra replica; where it finds no place that is remembered, so that the rollout goes on without."""
    reason = place_extra(tx, stored, decision.replica_number, why=decision.reason)
    if reason is None:
        return state
    tx.event("rollout.no_surge", stored.spec.name, f"no room for an extra replica: {reason}", deployment_id=stored.id)
    state = replace(state, no_surge=reason)
    deployments.set_rollout(tx.sql, stored.id, stored_as(state))
    return state


def _act(
    tx: Transaction, stored: Stored, owned: dict[int, Assignment], decision: Decision, state: RolloutState
) -> None:
    outcome = settled(decision, state)
    if outcome is not None:
        revisions.settle(tx.sql, stored.id, stored.revision, *outcome)
    if isinstance(decision, Advance):
        if decision.replica_number in owned:
            advance(tx, stored, owned[decision.replica_number], why=decision.reason)
    elif isinstance(decision, Withdraw):
        assignments.set_leaving(tx.sql, stored.id, decision.replica_number, tx.now)
    elif isinstance(decision, Rejoin):
        assignments.set_leaving(tx.sql, stored.id, decision.replica_number, None)
    elif isinstance(decision, Release):
        release(tx, stored, [decision.replica_number], why=decision.reason)
    elif isinstance(decision, RollBack):
        go_back(tx, stored, decision.to_revision, why=decision.reason, by="fledx")
    elif isinstance(decision, Pause):
        tx.event("rollout.paused", stored.spec.name, decision.reason, deployment_id=stored.id)
    elif isinstance(decision, Complete) and stored.revision > 1:
        tx.event("rollout.complete", stored.spec.name, decision.reason, deployment_id=stored.id)
