"""Which replica an operator means who wants into one, and where it runs."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.store import assignments, deployments, instances
from fledx.control_plane.store.database import Database
from fledx.control_plane.store.refs import resolve
from fledx.errors import NotFound, Unavailable
from fledx.models.assignment import Assignment
from fledx.models.forward import ReplicaRef
from fledx.models.instance import Instance


@dataclass(frozen=True, kw_only=True)
class Target:
    """One replica on its present owner; ``instance`` is what that node last told of it."""

    deployment_id: str
    deployment: str
    owner: Assignment
    instance: Instance | None
    connected: bool

    @property
    def number(self) -> int:
        """The replica's number."""
        return self.owner.replica_number

    @property
    def node(self) -> str:
        """What its node is called."""
        return self.owner.node or self.owner.node_id

    def __str__(self) -> str:
        return f"replica {self.number} of {self.deployment} on {self.node}"

    @property
    def running(self) -> bool:
        """Whether it could be entered now."""
        return self.connected and self.instance is not None and self.instance.state == "running"

    def rank(self) -> tuple[bool, bool, int]:
        """Those first that take traffic, and stay; among equals the lowest number, so that the choice is stable."""
        ready = self.instance is not None and self.instance.ready
        return not ready, bool(self.owner.leaving), self.number

    def obstacle(self) -> str:
        """Why it cannot be entered."""
        if not self.connected:
            return f"{self}: the node is not connected"
        if self.instance is None:
            return f"{self}: its node has not told of it yet"
        return f"{self} is {self.instance.state}" + (f": {self.instance.message}" if self.instance.message else "")


class Targets:
    """Finds them in what is stored and in who is connected."""

    def __init__(self, store: Database, dispatch: Dispatch) -> None:
        self._store = store
        self._dispatch = dispatch

    def find(self, wanted: ReplicaRef) -> list[Target]:
        """
        Replicas that can be entered, the best first; the one that is named, or any.

        Raises NotFound where there is no such deployment or replica, Unavailable with the reason where none runs.
        """
        name, found = self._store.read(lambda sql: self._look(sql, wanted))
        if not found:
            which = "has no replicas" if wanted.replica is None else f"has no replica {wanted.replica}"
            raise NotFound(f"{name} {which}", hint=f"`fledx deployments show {name}` lists them")
        if running := sorted((each for each in found if each.running), key=Target.rank):
            return running
        reasons = "; ".join(each.obstacle() for each in found[:3])
        raise Unavailable(reasons if wanted.replica is not None else f"no replica of {name} runs: {reasons}")

    def _look(self, sql: sqlite3.Connection, wanted: ReplicaRef) -> tuple[str, list[Target]]:
        deployment_id = resolve(sql, "deployment", wanted.deployment)
        stored = deployments.by_id(sql, deployment_id)
        name = deployment_id if stored is None else stored.spec.name
        told = {(each.node_id, each.replica_number): each for each, _ in instances.of_deployment(sql, deployment_id)}
        return name, [
            Target(
                deployment_id=deployment_id,
                deployment=name,
                owner=owner,
                instance=told.get((owner.node_id, owner.replica_number)),
                connected=self._dispatch.session(owner.node_id) is not None,
            )
            for owner in assignments.of_deployment(sql, deployment_id)
            if wanted.replica in (None, owner.replica_number)
        ]
