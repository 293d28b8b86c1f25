"""The figures of the control plane."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from fledx.control_plane.metrics import MAX_WORDS, Metrics
from fledx.models.kinds import KINDS, OF_REPLICAS

ROOT = Path(__file__).resolve().parents[3]
KIND = re.compile(r"[a-z]+\.[a-z_]+")
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


def test_an_agent_with_words_of_its_own_hides_none_that_are_known() -> None:
    metrics = Metrics()
    metrics.happened(f"replica.word_{number}" for number in range(MAX_WORDS + 100))
    metrics.happened(["rollout.paused"])

    lines = metrics.exposition().decode().splitlines()
    assert 'fledx_events_total{kind="rollout.paused"} 1.0' in lines
    assert 'fledx_events_total{kind="other"} 100.0' in lines


def test_what_has_not_happened_yet_is_counted_as_0() -> None:
    lines = Metrics().exposition().decode().splitlines()
    for series in (
        *(f'fledx_events_total{{kind="{kind}"}}' for kind in KINDS),
        *(f'fledx_tokens_refused_total{{kind="{kind}"}}' for kind in ("operator", "registration", "node")),
        *(f'fledx_tunnel_connections_total{{result="{result}"}}' for result in ("ok", "denied")),
        *(f'fledx_gateway_backend_streams_total{{result="{result}"}}' for result in ("ok", "away")),
        'fledx_scheduler_decisions_total{context="reschedule",outcome="unassigned"}',
        'fledx_store_transaction_duration_seconds_count{kind="relaxed"}',
        "fledx_http_failures_total",
    ):
        assert f"{series} 0.0" in lines


def calls_in(room: str) -> Iterator[ast.Call]:
    """Every call that is written there."""
    for path in (ROOT / "fledx" / room).rglob("*.py"):
        yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def test_every_kind_of_event_that_is_stored_is_known() -> None:
    telling = [call for call in calls_in("control_plane") if ast.unparse(call.func).split(".")[-1] in ("event", "tell")]
    words = {arg.value for call in telling for arg in call.args if isinstance(arg, ast.Constant)}
    kinds = {word for word in words if isinstance(word, str) and KIND.fullmatch(word)}
    assert len(kinds) > 20
    assert kinds - set(KINDS) == set()


def test_every_word_under_which_an_agent_tells_something_is_known() -> None:
    keywords = [keyword for call in calls_in("agent/reconcile") for keyword in call.keywords if keyword.arg == "kind"]
    words = {keyword.value.value for keyword in keywords if isinstance(keyword.value, ast.Constant)}
    assert len(words) > 10
    assert words - set(OF_REPLICAS) == {"wait", "examine"}


def test_two_control_planes_in_one_process_do_not_share_figures() -> None:
    filled()

    assert "fledx_tunnel_sessions 0.0" in Metrics().exposition().decode()
