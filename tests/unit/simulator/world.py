"""A control plane's real use cases and loops on a database in memory, a simulated fleet, and a clock that jumps."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

from fledx.control_plane.bell import Bell
from fledx.control_plane.changes import Changes
from fledx.control_plane.deployments import Deployments
from fledx.control_plane.desired import desired_state
from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.fleet import Fleet
from fledx.control_plane.loops.reachability import Reachability
from fledx.control_plane.loops.rollouts import Rollouts
from fledx.control_plane.nodes import Nodes
from fledx.control_plane.rebalancing import Rebalancing
from fledx.control_plane.reports import Reports
from fledx.control_plane.revisions import Revisions
from fledx.control_plane.store import migrate
from fledx.control_plane.store.database import Database, connect
from fledx.control_plane.trust.tokens import Endpoint, Tokens
from fledx.models.node import Capacity, NodeFacts
from fledx.models.report import Report
from fledx.sealing import Seal
from fledx.settings.control_plane import ControlPlaneSettings
from tests.unit.simulator.agents import Agent

T = TypeVar("T")
STALE, HEARTBEAT = 40.0, 5.0
PORTS = (30000, 30003)


def template() -> sqlite3.Connection:
    """An empty database of the present schema, in memory."""
    memory = connect(Path(":memory:"))
    with TemporaryDirectory() as folder:
        from datetime import datetime, timezone

        migrate.bring_up(Path(folder) / "fledx.db", datetime(2026, 11, 25, tzinfo=timezone.utc))
        made = sqlite3.connect(Path(folder) / "fledx.db")
        made.backup(memory)
        made.close()
    return memory


class Memory:
    """A store without a disk and without threads: what `Database` promises and no more."""

    def __init__(self, origin: sqlite3.Connection) -> None:
        self.sql = connect(Path(":memory:"))
        origin.backup(self.sql)

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return work(self.sql)

    async def write(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = True) -> T:
        self.sql.execute("BEGIN")
        try:
            result = work(self.sql)
        except BaseException:
            self.sql.execute("ROLLBACK")
            raise
        self.sql.execute("COMMIT")
        return result


class Link:
    """What reachability asks of a session."""

    def __init__(self, agent: Agent) -> None:
        self.node_id, self.link, self._agent = agent.node_id, self, agent

    def last_heard(self) -> float:
        return self._agent.heard

    def close(self, reason: str) -> None:
        self._agent.session = False


class Sessions:
    """The links that there are."""

    def __init__(self) -> None:
        self.agents: dict[str, Agent] = {}

    def __iter__(self) -> Any:
        return iter([Link(agent) for agent in self.agents.values() if agent.session])

    def session(self, node_id: str) -> Link | None:
        agent = self.agents.get(node_id)
        return Link(agent) if agent is not None and agent.session else None


class World:
    """Everything; `now` is wall clock and monotonic clock at once."""

    def __init__(self, origin: sqlite3.Connection) -> None:
        self.now = 1_764_072_000.0
        self.memory = Memory(origin)
        self.store = cast(Database, self.memory)
        self.sessions = Sessions()
        self.dispatch = cast(Dispatch, self.sessions)
        self.seal = Seal(bytes(32))
        self.settings = ControlPlaneSettings(
            reachability_heartbeat_stale_secs=STALE, tunnel_heartbeat_interval_secs=HEARTBEAT
        )
        self.due: set[str] = set()
        self.awake_since = self.now
        self.start()

    def start(self) -> None:
        """The control plane's process begins; nothing it had in memory is left."""
        self.awake_since = self.now
        self.changes = Changes(self.store, Bell(), PORTS, clock=lambda: self.now)
        self.changes.tell_nodes(self.due.update)
        endpoint = Endpoint(host="cp", port=7443, tls=True, pins=("pin",))
        self.tokens = Tokens(
            self.store,
            changes=self.changes,
            pepper="p",
            operators=[("s", "admin")],
            registration=None,
            endpoint=endpoint,
        )
        self.nodes = Nodes(self.store, self.changes, self.tokens)
        self.deployments = Deployments(self.store, self.changes)
        self.revisions = Revisions(self.store, self.changes, self.deployments)
        self.fleet = Fleet(self.store, self.changes, self.tokens, self.dispatch)
        self.balance = Rebalancing(self.store, self.changes, PORTS)
        self.reports = Reports(self.store, self.changes)
        self.rollouts = Rollouts(self.store, self.changes, monotonic=lambda: self.now)
        self.reachability = Reachability(
            self.store, self.changes, self.dispatch, self.settings, monotonic=lambda: self.now
        )

    def facts(self, name: str, cpu: int, labels: dict[str, str]) -> NodeFacts:
        capacity = Capacity(cpu_millis=cpu, memory_bytes=2**33)
        return NodeFacts(name=name, arch="amd64", os="linux", labels=labels, capacity=capacity, host_key=name)

    async def join(self, name: str, cpu: int, labels: dict[str, str]) -> Agent:
        """A node comes, under its own name again if it was deleted."""
        made = await self.nodes.register(self.facts(name, cpu, labels), by="test")
        agent = Agent(made.node_id, name, heard=self.now)
        self.sessions.agents[made.node_id] = agent
        await self.nodes.connected(made.node_id, self.facts(name, cpu, labels), "198.51.100.7")
        self.due.add(made.node_id)
        return agent

    async def reconnect(self, agent: Agent) -> None:
        """The link is there again."""
        row = self.store.read(
            lambda sql: sql.execute("SELECT facts FROM node WHERE id = ?", (agent.node_id,)).fetchone()
        )
        if row is None:
            return
        from json import loads

        from fledx.models.codec import decode_lenient

        agent.session, agent.heard, agent.told = True, self.now, None
        await self.nodes.connected(agent.node_id, decode_lenient(NodeFacts, loads(row[0])), "198.51.100.7")
        self.due.add(agent.node_id)

    async def communicate(self) -> None:
        """Pushes go down, agents work, reports come up."""
        for agent in list(self.sessions.agents.values()):
            if not (agent.up and agent.linked):
                agent.session = False
            elif not agent.session and not agent.frozen:
                await self.reconnect(agent)
            if agent.talks:
                agent.heard = self.now
                if agent.node_id in self.due:
                    self.due.discard(agent.node_id)
                    state = self.store.read(lambda sql, id=agent.node_id: desired_state(sql, id, self.seal))  # type: ignore[misc]
                    if state is not None:
                        agent.take(state)
            agent.work(self.now)
            found = agent.instances(self.now)
            if agent.talks and found != agent.told:
                report = Report(revision=1, full=True, instances=tuple(found.values()))
                await self.reports.store([(agent.node_id, report)])
                agent.told = found
