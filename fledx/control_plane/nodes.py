"""What can be done with nodes: they register, connect, report, go silent; operators look at them."""

from __future__ import annotations

import json
import sqlite3
import uuid
from dataclasses import dataclass

from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.ingress.gateways import Gateways
from fledx.control_plane.ingress.serving import gateway_view
from fledx.control_plane.listing import node_item
from fledx.control_plane.replicas.advancing import mend_ports
from fledx.control_plane.replicas.moving import give_back
from fledx.control_plane.replicas.placing import refresh_place, settle_waiting
from fledx.control_plane.store import assignments, instances, nodes
from fledx.control_plane.store.database import Database
from fledx.control_plane.store.refs import resolve
from fledx.control_plane.trust.tokens import Spending, Tokens
from fledx.errors import Conflict, Denied, NotFound
from fledx.models.filters import NodeFilter
from fledx.models.ingress import GatewayView
from fledx.models.instance import Instance
from fledx.models.node import Node, NodeFacts
from fledx.models.token import Operator

Allowed = tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A new node and its token, which is shown this once."""

    node_id: str
    node_token: str
    name: str


class Nodes:
    """Use cases about nodes, each one transaction."""

    def __init__(self, store: Database, changes: Changes, tokens: Tokens, *, gateways: Gateways | None = None) -> None:
        self._gateways = gateways or Gateways()
        self._store = store
        self._changes = changes
        self._tokens = tokens

    def get(self, ref: str) -> Node:
        """One node by name, id or the beginning of an id."""

        def look(sql: sqlite3.Connection) -> Node:
            row = nodes.by_id(sql, resolve(sql, "node", ref))
            if row is None:
                raise NotFound(f"no node {ref!r}")
            return nodes.node_of(row)

        return self._store.read(look)

    def gateway(self, node_id: str) -> GatewayView | None:
        """How a node does as a gateway; None of one that is none."""
        row = self._store.read(lambda sql: nodes.by_id(sql, node_id))
        is_one = row is not None and bool(json.loads(row["facts"]).get("gateway"))
        return gateway_view(row, self._gateways) if is_one and row is not None else None

    def instances(self, node_id: str) -> list[Instance]:
        """What a node has reported of its replicas."""
        return self._store.read(lambda sql: instances.of_node(sql, node_id))

    def page(self, wanted: NodeFilter, *, limit: int, offset: int) -> tuple[list[bytes], int]:
        """A page of nodes by name, each as JSON, and how many there are in all."""
        rows, total = self._store.read(lambda sql: nodes.page(sql, wanted, limit=limit, offset=offset))
        return [node_item(row) for row in rows], total

    async def register(self, facts: NodeFacts, *, by: str | Spending) -> Registered:
        """
        Make a node, or give a host that was one before its node back with a new token.

        `by` is who lets it in, or what spends the token that does. Conflict when another host has the name.
        """
        token, hashed = self._tokens.new_node_token()

        def work(tx: Transaction) -> tuple[str, str]:
            return self._registered(tx, facts, hashed, by if isinstance(by, str) else by(tx.sql))

        node_id, name = await self._changes.commit(work)
        return Registered(node_id=node_id, node_token=token, name=name)

    def _registered(self, tx: Transaction, facts: NodeFacts, hashed: bytes, by: str) -> tuple[str, str]:
        known = None if facts.host_key is None else nodes.by_host_key(tx.sql, facts.host_key)
        if known is not None:
            return _rejoin(tx, known["id"], known["name"], hashed, by)
        node_id = str(uuid.uuid4())
        name = facts.name or f"node-{node_id[:8]}"
        if nodes.by_name(tx.sql, name) is not None:
            raise Conflict(
                f"there is a node {name} already, on another host",
                hint="join under another name with --name, or delete that node first",
            )
        nodes.insert(tx.sql, node_id, name, facts, hashed, tx.stamp)
        _note_allowed(tx, node_id, name, None, facts.allows)
        refresh_place(tx, node_id)
        tx.event("node.registered", name, f"registered by {by}", node_id=node_id)
        tx.audit("node.register", Operator(name=by, role="registration"), id=node_id, name=name)
        tx.overview = True
        return node_id, name

    def admit(self, node_id: str | None, token: str) -> str:
        """The name of the node that dials with this token; Denied otherwise, whatever was wrong."""
        row = self._store.read(lambda sql: nodes.by_id(sql, node_id or ""))
        hashes = (None, None) if row is None else (row["token_hash"], row["former_token_hash"])
        fits = [self._tokens.is_node(token, stored) for stored in hashes]
        if row is None or True not in fits:
            raise Denied(
                "this node id and token do not belong together here",
                hint="join again with the line that `fledx nodes join-command` prints",
            )
        return str(row["name"])

    async def connected(self, node_id: str, facts: NodeFacts, address: str) -> None:
        """A node has opened a session: store what it tells of itself, and call it ready, or in error and why."""

        def work(tx: Transaction) -> None:
            _remember(tx, node_id, facts, address)
            nodes.set_seen(tx.sql, {node_id: tx.now})
            settle_status(tx, node_id, facts)

        await self._changes.commit(work, durable=False)

    async def told(self, node_id: str, facts: NodeFacts) -> None:
        """A connected node tells something new of itself, such as that its engine is gone or back."""

        def work(tx: Transaction) -> None:
            row = nodes.by_id(tx.sql, node_id)
            if row is not None:
                _remember(tx, node_id, facts, row["address"] or "")
                settle_status(tx, node_id, facts)

        await self._changes.commit(work, durable=False)

    async def token_answered(self, node_id: str, problem: str | None) -> None:
        """A node has kept its new token, so the former one is no good any more; or it cannot, and keeps the former."""

        def work(tx: Transaction) -> None:
            row = nodes.by_id(tx.sql, node_id)
            if row is None or row["former_token_hash"] is None:
                return
            nodes.set_token(tx.sql, node_id, row["token_hash"] if problem is None else row["former_token_hash"])
            if problem is not None:
                tx.event("node.token", row["name"], f"the former token stays: {problem}", node_id=node_id)

        await self._changes.commit(work)


def _note_reach(tx: Transaction, row: sqlite3.Row, facts: NodeFacts, address: str) -> None:
    """
    One that becomes a gateway gets what to serve, and gateways learn where a node is reached now.

    A gateway of another image may need the login of another registry.
    """
    before, node_id = json.loads(row["facts"]), row["id"]
    gateway = before.get("gateway")
    if (gateway is None) != (facts.gateway is None) or (facts.gateway and facts.gateway.image != gateway.get("image")):
        tx.touched_nodes.add(node_id)
    told = (facts.public_host, facts.public_ip, address.rpartition(":")[0])
    had = (before.get("public_host"), before.get("public_ip"), (row["address"] or "").rpartition(":")[0])
    if told != had:
        tx.touched |= assignments.deployments_on(tx.sql, node_id)


def _rejoin(tx: Transaction, node_id: str, name: str, hashed: bytes, by: str) -> tuple[str, str]:
    nodes.set_token(tx.sql, node_id, hashed)
    tx.event("node.rejoined", name, f"the same host joined again, let in by {by}", node_id=node_id)
    tx.audit("node.rejoin", Operator(name=by, role="registration"), id=node_id, name=name)
    return node_id, name


def _remember(tx: Transaction, node_id: str, facts: NodeFacts, address: str) -> None:
    row = nodes.by_id(tx.sql, node_id)
    if row is not None:
        _note_allowed(tx, node_id, row["name"], nodes.node_of(row).allows, facts.allows)
        _note_reach(tx, row, facts, address)
    nodes.set_facts(tx.sql, node_id, facts, address)


def _note_allowed(tx: Transaction, node_id: str, name: str, before: Allowed, now: Allowed) -> None:
    """What a node lets workloads have beyond their containers is its own word; a change of it is written down."""
    if (before or ()) == (now or ()):
        return
    reason = f"its own settings allow {', '.join(now or ()) or 'nothing beyond containers'}"
    tx.event("node.allows", name, reason, node_id=node_id)
    told = [{"allows": list(each or ())} for each in (before, now)]
    tx.audit(
        "node.allows", Operator(name=f"node {name}", role="node"), id=node_id, name=name, before=told[0], after=told[1]
    )


def settle_status(tx: Transaction, node_id: str, facts: NodeFacts) -> None:
    """A node that is connected is ready, or in error when its engine cannot be used."""
    status = "ready" if facts.runtime_error is None else "error"
    change_status(tx, node_id, status, facts.runtime_error)


def change_status(tx: Transaction, node_id: str, status: str, reason: str | None) -> None:
    """Store a node's new status with its event; its deployments are looked at again, and who waits for a place, too."""
    row = nodes.by_id(tx.sql, node_id)
    if row is None:
        return
    if (row["status"], row["reason"]) != (status, reason):
        nodes.set_status(tx.sql, node_id, status, reason, tx.stamp)
        tx.event(f"node.{status}", row["name"], reason or f"was {row['status']}", node_id=node_id)
        tx.touched |= assignments.deployments_on(tx.sql, node_id)
        tx.overview = True
    refresh_place(tx, node_id)
    if status == "ready":
        give_back(tx, node_id)
    mend_ports(tx, node_id)
    if status == "ready":
        settle_waiting(tx)
