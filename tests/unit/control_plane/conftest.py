"""A control plane's inner rooms on a database of their own, without a network."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from fledx.control_plane.audit import AuditLog
from fledx.control_plane.bell import Bell
from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.configs import Configs
from fledx.control_plane.deployments import Deployments
from fledx.control_plane.desired import desired_state
from fledx.control_plane.events import EventFilter, Events
from fledx.control_plane.ingress.certificates import Certificates
from fledx.control_plane.ingress.gateways import Gateways
from fledx.control_plane.loops.draining import Draining
from fledx.control_plane.nodes import Nodes
from fledx.control_plane.pins import Pins
from fledx.control_plane.registries import Registries
from fledx.control_plane.replicas.moving import move_lost
from fledx.control_plane.replicas.placing import refresh_place
from fledx.control_plane.reports import Reports
from fledx.control_plane.secrets import Secrets
from fledx.control_plane.store import assignments, deployments, migrate, nodes
from fledx.control_plane.store.database import Database
from fledx.control_plane.trust.operator_tokens import OperatorTokens
from fledx.control_plane.trust.tokens import Endpoint, Tokens
from fledx.models.desired import NodeDesiredState
from fledx.models.event import Event
from fledx.models.instance import Instance
from fledx.models.report import Report
from fledx.models.token import Operator
from fledx.sealing import Seal
from tests.builders import facts, running

ME = Operator(name="tester")


class Stage:
    """The use cases with a clock that a test moves."""

    def __init__(self, path: Path) -> None:
        migrate.bring_up(path, datetime(2026, 11, 25, tzinfo=timezone.utc))
        self.now = 1_764_072_000.0
        self.store = Database(path)
        self.bell = Bell()
        self.told: list[set[str]] = []
        self.changes = Changes(self.store, self.bell, (30000, 30002), clock=lambda: self.now)
        self.changes.tell_nodes(lambda ids: self.told.append(ids))
        self.gateways = Gateways(lambda: self.now)
        self.draining = Draining(self.store, self.changes, self.gateways, grace=10.0)
        self.tokens = Tokens(
            self.store,
            pepper="pepper",
            operators=[("secret", "admin")],
            registration=None,
            endpoint=Endpoint(host="cp", port=7443, tls=True, pins=("pin",)),
            changes=self.changes,
            clock=lambda: self.now,
        )
        self.operator_tokens = OperatorTokens(self.store, self.changes, self.tokens)
        self.audit = AuditLog(self.store, self.changes, self.changes.chain, clock=lambda: self.now)
        self.seal = Seal(bytes(32))
        self.configs = Configs(self.store, self.changes)
        self.secrets = Secrets(self.store, self.changes, self.seal)
        self.certificates = Certificates(self.store, self.changes, self.seal)
        self.registries = Registries(self.store, self.changes, self.seal)
        self.pins = Pins(self.changes)
        self.nodes = Nodes(self.store, self.changes, self.tokens, gateways=self.gateways)
        self.deployments = Deployments(self.store, self.changes, gateways=self.gateways)
        self.events = Events(self.store, self.bell)
        self.reports = Reports(self.store, self.changes)

    async def node(self, name: str, **changes: Any) -> str:
        """A node that is connected; its id."""
        told = facts(name=name, host_key=str(uuid.uuid4()), **changes)
        made = await self.nodes.register(told, by="test")
        await self.nodes.connected(made.node_id, told, "198.51.100.7")
        return made.node_id

    async def report(self, node_id: str, *found: Instance, **changes: Any) -> None:
        """What an agent tells of its instances."""
        report = Report(**{"revision": 1, "full": True, "instances": found, **changes})
        await self.reports.store([(node_id, report)])

    async def runs(self, node_id: str) -> None:
        """The agent of a node reports that everything it was told to run does run."""
        state = self.desired(node_id)
        await self.report(node_id, *(running(each) for each in state.replicas if each.desired_state == "running"))

    def desired(self, node_id: str) -> NodeDesiredState:
        """What a node is to run."""
        state = self.store.read(lambda sql: desired_state(sql, node_id, self.seal))
        assert state is not None
        return state

    def happened(self, kind: str | None = None) -> list[Event]:
        """The events so far."""
        return self.events.page(EventFilter(kind=kind), limit=500)

    async def act(self, work: Any) -> Any:
        """One transaction of the test's own."""

        def run(tx: Transaction) -> Any:
            return work(tx)

        return await self.changes.commit(run)

    async def lose(self, node_id: str, *, why: str) -> None:
        """What the loop does that finds a node silent for too long: its replicas go elsewhere, by deployment's name."""

        def work(tx: Transaction) -> None:
            owned = assignments.of_node(tx.sql, node_id)
            known = deployments.several(tx.sql, {deployment_id for deployment_id, _ in owned})
            pairs = [(known[deployment_id], given) for deployment_id, given in owned]
            move_lost(tx, sorted(pairs, key=lambda pair: pair[0].spec.name), why=why)

        await self.act(work)


def cordon(tx: Transaction, node_id: str) -> None:
    """Let a node take nothing new."""
    nodes.set_availability(tx.sql, node_id, "cordoned", None)
    refresh_place(tx, node_id)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """An empty control plane."""
    made = Stage(tmp_path / "fledx.db")
    yield made
    made.store.close()
