"""The system at a glance: what `/health` and the status summary say."""

from __future__ import annotations

import time
from typing import Any

from fledx import __version__
from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.store import deployments, migrate, nodes
from fledx.control_plane.store.database import Database
from fledx.models.deployment import STATUSES as DEPLOYMENT_STATUSES
from fledx.models.moment import stamp
from fledx.models.node import STATUSES as NODE_STATUSES


class Overview:
    """Counts over everything, and the health of this process."""

    def __init__(self, store: Database, dispatch: Dispatch, build: str | None) -> None:
        self._store = store
        self._dispatch = dispatch
        self._build = build
        self._started = time.time()

    def summary(self) -> dict[str, Any]:
        """How many nodes and deployments there are of each status."""
        found_nodes, found_deployments = self._store.read(lambda sql: (nodes.counts(sql), deployments.counts(sql)))
        return {
            "summary": {
                "nodes": {status: found_nodes.get(status, 0) for status in NODE_STATUSES},
                "deployments": {status: found_deployments.get(status, 0) for status in DEPLOYMENT_STATUSES},
            },
            "control_plane": {"version": __version__, "started_at": stamp(self._started)},
        }

    def health(self) -> dict[str, Any]:
        """What a monitor wants to know, without names of nodes, as it is answered to anyone."""
        schema = self._store.read(migrate.version)
        return {
            "status": "ok",
            "version": __version__,
            "control_plane_version": __version__,
            "build": self._build,
            "started_at": stamp(self._started),
            "schema_version": schema,
            "target_schema_version": migrate.known()[-1].version,
            "pending_migrations": 0,
            "tunnel_sessions_active": len(self._dispatch),
        }
