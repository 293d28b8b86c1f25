"""What the scheduler sees, read from the rows: the board, built anew, and a deployment's wishes."""

from __future__ import annotations

import operator
import sqlite3
from collections import defaultdict

from fledx.control_plane.scheduler.board import Board
from fledx.control_plane.scheduler.ports import PortRange
from fledx.control_plane.scheduler.spec import Spec, placed_of, spec_of
from fledx.control_plane.store import assignments, deployments, finished, nodes
from fledx.control_plane.store.deployments import Stored
from fledx.control_plane.store.latest import Latest
from fledx.models.assignment import Assignment
from fledx.models.deployment import DeploymentSpec

_WISHES = Latest[DeploymentSpec, Spec](operator.is_)
"""Of a dead node each replica asks for them."""


def board(connection: sqlite3.Connection, ports: PortRange | None) -> Board:
    """All nodes with everything that is assigned to them; grows with the rows (100 ms for 10,000, measured)."""
    made = Board(nodes.views(connection), ports)
    owned: dict[str, list[Assignment]] = defaultdict(list)
    ended = finished.everything(connection)  # they need nothing any more
    for deployment_id, given in assignments.everything(connection):
        if (deployment_id, given.replica_number) in ended:
            continue
        owned[deployment_id].append(given)
    for stored in deployments.everyone(connection):
        if stored.id in owned:
            spec = spec_for(connection, stored)
            made.apply(spec, [placed_of(spec, given) for given in owned[stored.id]])
    return made


def spec_for(connection: sqlite3.Connection, stored: Stored) -> Spec:
    """A deployment's wishes; those that name other deployments mean whoever is called so now."""
    peers = stored.spec.placement.peers if stored.spec.placement else frozenset()
    if not peers:
        return _WISHES.of(stored.id, stored.spec, lambda spec: spec_of(stored.id, spec))
    return spec_of(stored.id, stored.spec, deployments.ids_of(connection, peers))
