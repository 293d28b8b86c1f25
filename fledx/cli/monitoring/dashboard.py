"""A Grafana dashboard: what an operator looks at first on top, what explains it below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture: ``queries`` are (PromQL, legend); ``kind`` is Grafana's word for the way of drawing."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 7


@dataclass(frozen=True, kw_only=True)
class Row:
    """A heading and the panels under it."""

    title: str
    panels: tuple[Panel, ...]


def _now(title: str, query: str) -> Panel:
    return Panel(title=title, queries=((query, ""),), kind="stat", width=4, height=4)


ROWS = (
    Row(
        title="The fleet",
        panels=(
            _now("Nodes ready", 'fledx_nodes{status="ready"}'),
            _now("Nodes away", 'sum(fledx_nodes{status=~"unreachable|error"})'),
            _now("Deployments running", 'fledx_deployments{status="running"}'),
            _now("Deployments failed", 'fledx_deployments{status="failed"}'),
            _now(
                "Replicas not ready", 'fledx_replicas{state="wanted"} - ignoring(state) fledx_replicas{state="ready"}'
            ),
            _now("Replicas unplaced", 'fledx_replicas{state="unplaced"}'),
            Panel(title="Nodes", queries=(("fledx_nodes", "{{status}}"),)),
            Panel(title="Deployments", queries=(("fledx_deployments", "{{status}}"),)),
            Panel(title="Replicas", queries=(("fledx_replicas", "{{state}}"),)),
            Panel(
                title="What happened",
                queries=(("sum by (kind) (increase(fledx_events_total[$__rate_interval]))", "{{kind}}"),),
                width=12,
            ),
            Panel(
                title="Scheduler",
                queries=(
                    (
                        "sum by (context, outcome) (rate(fledx_scheduler_decisions_total[$__rate_interval]))",
                        "{{context}} {{outcome}}",
                    ),
                ),
                unit="ops",
                width=12,
            ),
        ),
    ),
    Row(
        title="Control plane",
        panels=(
            Panel(
                title="Requests",
                queries=(
                    (
                        "sum by (status) (rate(control_plane_http_requests_total[$__rate_interval]))",
                        "{{status}}",
                    ),
                ),
                unit="reqps",
            ),
            Panel(
                title="Time to answer",
                queries=tuple(
                    (
                        f"histogram_quantile({share}, sum by (le)"
                        " (rate(fledx_http_request_duration_seconds_bucket[$__rate_interval])))",
                        f"p{int(share * 100)}",
                    )
                    for share in (0.5, 0.99)
                ),
                unit="s",
            ),
            Panel(
                title="Write transactions, p99",
                queries=(
                    (
                        "histogram_quantile(0.99, sum by (le, kind)"
                        " (rate(fledx_store_transaction_duration_seconds_bucket[$__rate_interval])))",
                        "{{kind}}",
                    ),
                ),
                unit="s",
            ),
            Panel(title="Tunnel sessions", queries=(("fledx_tunnel_sessions", "sessions"),)),
            Panel(
                title="Tunnel, came and went",
                queries=(
                    ("sum(increase(fledx_tunnel_connections_total[$__rate_interval]))", "came"),
                    ("sum(increase(fledx_tunnel_disconnections_total[$__rate_interval])) or vector(0)", "went"),
                ),
            ),
            Panel(
                title="Until a node has stored its state, p99",
                queries=(
                    (
                        "histogram_quantile(0.99, sum by (le)"
                        " (rate(fledx_desired_state_push_duration_seconds_bucket[$__rate_interval])))",
                        "p99",
                    ),
                ),
                unit="s",
            ),
            Panel(title="Memory", queries=(('process_resident_memory_bytes{job="fledx"}', "resident"),), unit="bytes"),
            Panel(title="Database", queries=(("fledx_store_size_bytes", "size"),), unit="bytes"),
            Panel(
                title="Age of the newest backup",
                queries=(("time() - fledx_backup_last_success_timestamp_seconds", "age"),),
                unit="s",
            ),
        ),
    ),
    Row(
        title="Gateways",
        panels=(
            Panel(title="Gateways", queries=(("fledx_gateways", "{{state}}"),)),
            Panel(
                title="Connections into other nodes",
                queries=(("fledx_gateway_backend_streams_open", "open"),),
            ),
            Panel(
                title="Connections into other nodes, by what came of them",
                queries=(
                    (
                        "sum by (result) (rate(fledx_gateway_backend_streams_total[$__rate_interval]))",
                        "{{result}}",
                    ),
                ),
                unit="ops",
            ),
        ),
    ),
    Row(
        title="Nodes",
        panels=(
            Panel(
                title="Instances",
                queries=(("sum by (instance, state) (fledx_agent_instances)", "{{instance}} {{state}}"),),
            ),
            Panel(
                title="What agents did",
                queries=(
                    (
                        "sum by (kind) (increase(fledx_agent_happenings_total[$__rate_interval]))",
                        "{{kind}}",
                    ),
                ),
            ),
            Panel(
                title="Probes failed",
                queries=(
                    (
                        'sum by (instance, type) (rate(fledx_agent_probes_total{result="failed"}[$__rate_interval]))'
                        " or 0 * sum by (instance, type) (rate(fledx_agent_probes_total[$__rate_interval]))",
                        "{{instance}} {{type}}",
                    ),
                ),
                unit="ops",
            ),
            Panel(
                title="CPU of instances",
                queries=(("sum by (instance) (fledx_agent_instance_cpu_cores)", "{{instance}}"),),
            ),
            Panel(
                title="Memory of instances",
                queries=(("sum by (instance) (fledx_agent_instance_memory_bytes)", "{{instance}}"),),
                unit="bytes",
            ),
            Panel(
                title="Memory of agents",
                queries=(('process_resident_memory_bytes{job="fledx-agent"}', "{{instance}}"),),
                unit="bytes",
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it (schema 39); its data source is chosen at the top."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in ROWS:
        panels.append({"type": "row", "title": row.title, "id": len(panels) + 1, "gridPos": _place(0, top, COLUMNS, 1)})
        top = _fill(panels, row, top + 1)
    return {
        "title": "fledx",
        "uid": "fledx",
        "tags": ["fledx"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}]
        },
        "panels": panels,
    }


def _fill(panels: list[dict[str, Any]], row: Row, top: int) -> int:
    """Set a row's panels from left to right, and return where the next row begins."""
    left = height = 0
    for panel in row.panels:
        if left + panel.width > COLUMNS:
            left, top = 0, top + height
        panels.append(_drawn(panel, len(panels) + 1, _place(left, top, panel.width, panel.height)))
        left, height = left + panel.width, panel.height
    return top + height


def _drawn(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + i), "expr": query, "legendFormat": legend, "datasource": SOURCE}
            for i, (query, legend) in enumerate(panel.queries)
        ],
    }


def _place(x: int, y: int, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}
