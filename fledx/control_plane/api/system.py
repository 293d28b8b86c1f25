"""The control plane itself over HTTP: its health, its figures and its authority."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import anyio.to_thread
from starlette.responses import Response, StreamingResponse

from fledx import __version__
from fledx.control_plane import artifact
from fledx.control_plane.api.endpoint import Call
from fledx.control_plane.api.params import number
from fledx.control_plane.api.replies import model_reply, reply
from fledx.control_plane.metrics import Metrics
from fledx.control_plane.overview import Overview
from fledx.control_plane.recent import WINDOW_SECONDS
from fledx.errors import NotFound
from fledx.models.moment import stamp

SUMMARY = (number("limit", "how many at most", default=16, least=1, most=100),)
ARTIFACT_TYPE = "application/octet-stream"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, kw_only=True)
class Authority:
    """The certificate that signs ours, for whoever pins it; it is no secret."""

    pem: str
    fingerprint: str


def authority_of(pem: str | None, pins: Sequence[str]) -> Authority | None:
    """The authority as it is told; the first of the fingerprints is its own."""
    return None if pem is None or not pins else Authority(pem=pem, fingerprint=pins[0])


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many there are of each status; ``problems`` are sentences about what else needs attention."""

    nodes: Mapping[str, int]
    deployments: Mapping[str, int]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TunnelAddress:
    """Where agents, and operators who want into a replica, dial."""

    host: str
    port: int
    use_tls: bool


@dataclass(frozen=True, kw_only=True)
class Program:
    """What answers, and since when."""

    version: str
    started_at: str
    tunnel: TunnelAddress


@dataclass(frozen=True, kw_only=True)
class Status:
    """The system at a glance; counts are over everything."""

    summary: Counts
    control_plane: Program


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How often something was asked of this control plane; `path` is a template, `status` a text as in fledx-core."""

    method: str
    path: str
    status: str
    count: int


@dataclass(frozen=True, kw_only=True)
class RequestSummary:
    """Requests of the last `window_secs` seconds, the most frequent first; `per_second` are all, the oldest first."""

    limit: int
    window_secs: int
    as_of: str
    items: tuple[Asked, ...]
    per_second: tuple[int, ...]


class SystemEndpoints:
    """What operators, monitors and new hosts ask the control plane about itself."""

    def __init__(self, overview: Overview, metrics: Metrics, *, authority: Authority | None) -> None:
        self._overview = overview
        self._metrics = metrics
        self._authority = authority

    def health(self, call: Call) -> Response:
        """Tell whether the control plane works."""
        return reply(self._overview.health(), headers={"x-control-plane-version": __version__})

    def status(self, call: Call) -> Response:
        """Count nodes and deployments by status."""
        return reply(self._overview.summary())

    async def metrics(self, call: Call) -> Response:
        """Give the figures for Prometheus."""
        size, backup = self._overview.kept()
        self._metrics.fleet(self._overview.summary()["summary"])
        self._metrics.replicas(self._overview.replicas())
        self._metrics.kept(size=size, backup=backup)
        text = await anyio.to_thread.run_sync(self._metrics.exposition)
        return Response(text, headers={"content-type": METRICS_TYPE})

    def requests(self, call: Call) -> Response:
        """Count the requests of the last minute by method, path and status."""
        limit = call.query["limit"]
        items = tuple(
            Asked(method=method, path=path, status=str(status), count=count)
            for (method, path, status), count in self._metrics.recent.top(limit)
        )
        found = RequestSummary(
            limit=limit,
            window_secs=WINDOW_SECONDS,
            as_of=stamp(time.time()),
            items=items,
            per_second=tuple(self._metrics.recent.per_second()),
        )
        return model_reply(found)

    def artifact(self, call: Call) -> Response:
        """Give the file that this control plane runs, for a new host; whoever fetches it checks its digest."""
        headers = {"content-length": str(artifact.size()), "content-type": ARTIFACT_TYPE}
        return StreamingResponse(artifact.pieces(), headers=headers)

    def authority(self, call: Call) -> Response:
        """Give the certificate authority that nodes pin."""
        if self._authority is None:
            raise NotFound("this control plane has no authority of its own: its tunnel is in the clear")
        return model_reply(self._authority)
