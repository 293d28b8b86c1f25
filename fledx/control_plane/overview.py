"""The system at a glance: what `/health` and the status summary say."""

from __future__ import annotations

import time
from typing import Any

from fledx import __version__
from fledx.control_plane.backups import DailyBackups
from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.ingress.certificates import Certificates
from fledx.control_plane.ingress.gateways import Gateways
from fledx.control_plane.ingress.serving import problems
from fledx.control_plane.store import deployments, migrate, nodes
from fledx.control_plane.store.database import Database
from fledx.control_plane.trust.tokens import Endpoint
from fledx.models.deployment import STATUSES as DEPLOYMENT_STATUSES
from fledx.models.moment import stamp
from fledx.models.node import STATUSES as NODE_STATUSES


class Overview:
    """Counts over everything, and the health of this process."""

    def __init__(
        self,
        store: Database,
        dispatch: Dispatch,
        backups: DailyBackups,
        tunnel: Endpoint,
        build: str | None,
        *,
        certificates: Certificates,
        gateways: Gateways,
    ) -> None:
        self._certificates = certificates
        self._gateways = gateways
        self._backups = backups
        self._store = store
        self._tunnel = tunnel
        self._dispatch = dispatch
        self._build = build
        self._started = time.time()

    def summary(self) -> dict[str, Any]:
        """How many nodes and deployments there are of each status, what is wrong, and where the tunnel is reached."""
        found_nodes, found_deployments = self._store.read(lambda sql: (nodes.counts(sql), deployments.counts(sql)))
        return {
            "summary": {
                "nodes": {status: found_nodes.get(status, 0) for status in NODE_STATUSES},
                "deployments": {status: found_deployments.get(status, 0) for status in DEPLOYMENT_STATUSES},
                "problems": self.problems(),
            },
            "control_plane": {
                "version": __version__,
                "started_at": stamp(self._started),
                "tunnel": {"host": self._tunnel.host, "port": self._tunnel.port, "use_tls": self._tunnel.tls},
            },
        }

    def problems(self) -> list[str]:
        """What needs somebody's attention beside nodes and deployments themselves."""
        return [*self._store.read(lambda sql: problems(sql, self._gateways)), *self._certificates.warnings()]

    def replicas(self) -> dict[str, int]:
        """How many replicas are wanted, ready, and without a place."""
        return self._store.read(deployments.replica_counts)

    def kept(self) -> tuple[int, float]:
        """The size of the database in bytes, and when the newest backup was taken; 0 for never."""
        return self._store.size(), max((made for made, _ in self._backups.known()), default=0.0)

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
