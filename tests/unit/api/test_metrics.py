"""The figures of the control plane."""

from __future__ import annotations

import re

from fledx.control_plane.metrics import MAX_WORDS, Metrics

SERIES = re.compile(r"^(?P<name>[a-z_]+)(\{.*\})? [-+0-9.eE]+(Inf)?$")


def filled() -> Metrics:
    """Each function called once."""
    metrics = Metrics()
    metrics.program(version="0.1.0", build=None, schema=1, target=2)
    metrics.lagged(0.002)
    metrics.answered("GET", "/health", 200, 0.001)
    metrics.in_progress(lambda: 3, lambda: 4)
    metrics.refused("operator")
    metrics.fleet({"nodes": {"ready": 2}, "deployments": {"running": 1}})
    metrics.sessions(2)
    metrics.connected("ok")
    metrics.disconnected("peer closed")
    metrics.decided("create", placed=2, waiting=1)
    metrics.transaction(0.004, durable=True)
    return metrics


def test_the_promised_names_are_there() -> None:
    text = filled().exposition().decode()

    assert 'control_plane_info{git_sha="none",schema_target_version="2",schema_version="1",version="0.1.0"} 1.0' in text
    for line in (
        "control_plane_schema_version 1.0",
        "control_plane_migrations_pending 1.0",
        'control_plane_http_requests_total{method="GET",path="/health",status="200"} 1.0',
        "fledx_http_requests_in_progress 3.0",
        "fledx_http_streams 4.0",
        'fledx_tokens_refused_total{kind="operator"} 1.0',
        'fledx_nodes{status="ready"} 2.0',
        "fledx_tunnel_sessions 2.0",
        'fledx_tunnel_connections_total{result="ok"} 1.0',
        'fledx_tunnel_disconnections_total{reason="peer closed"} 1.0',
        'fledx_scheduler_decisions_total{context="create",outcome="assigned"} 2.0',
        'fledx_scheduler_decisions_total{context="create",outcome="unassigned"} 1.0',
        'fledx_store_transaction_duration_seconds_count{kind="durable"} 1.0',
        "fledx_event_loop_lag_seconds_count 1.0",
    ):
        assert line in text.splitlines(), line
    assert "process_resident_memory_bytes" in text


def test_every_line_is_in_the_text_format_and_every_name_of_ours_by_the_rules() -> None:
    for line in filled().exposition().decode().splitlines():
        if line.startswith("#"):
            continue
        found = SERIES.match(line)
        assert found, line
        if found["name"].startswith("fledx_"):
            assert not re.search(r"_(ms|millis|kb|mb|percent|created)(_|$)", found["name"]), line


def test_a_label_never_grows_without_end() -> None:
    metrics = Metrics()

    for number in range(MAX_WORDS + 100):
        metrics.disconnected(f"reason {number}")

    text = metrics.exposition().decode()
    assert text.count("fledx_tunnel_disconnections_total{") == MAX_WORDS + 1
    assert 'reason="other"} 100.0' in text


def test_two_control_planes_in_one_process_do_not_share_figures() -> None:
    filled()

    assert "fledx_tunnel_sessions 0.0" in Metrics().exposition().decode()
