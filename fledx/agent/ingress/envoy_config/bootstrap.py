"""The file Envoy starts from; it never changes while Envoy lives."""

from __future__ import annotations

from fledx.agent.ingress.envoy_config.shapes import SOCKETS, Front, Json, from_file, named, typed

BASE_HEAP_BYTES = 160 * 1024 * 1024
CONNECTION_HEAP_BYTES = 24 * 1024
"""An idle connection was measured at 17 KiB."""
ADMIN = "admin.sock"


def bootstrap(front: Front, node_id: str) -> Json:
    """Listeners and clusters come from files, the administration is a socket that only the agent reaches."""
    return {
        "node": {"id": node_id, "cluster": "fledx"},
        "admin": {"address": {"pipe": {"path": f"{SOCKETS}/{ADMIN}", "mode": 0o660}}},
        "dynamic_resources": {"lds_config": from_file("lds.json"), "cds_config": from_file("cds.json")},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {"re2.max_program_size.error_level": 1000}}]},
        "overload_manager": _overload(front),
    }


def _overload(front: Front) -> Json:
    """Under pressure idle connections go first, then new requests; one connection too many is closed at once."""
    heap = BASE_HEAP_BYTES + front.max_connections * CONNECTION_HEAP_BYTES
    fixed_heap, connections = "fixed_heap", "global_downstream_max_connections"
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            _monitor(fixed_heap, "fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=heap),
            _monitor(
                connections,
                "downstream_connections.v3.DownstreamConnectionsConfig",
                max_active_downstream_connections=front.max_connections,
            ),
        ],
        "actions": [
            _action("shrink_heap", {"threshold": {"value": 0.95}}),
            _action("stop_accepting_requests", {"threshold": {"value": 0.98}}),
            {
                **_action("reduce_timeouts", {"scaled": {"scaling_threshold": 0.85, "saturation_threshold": 0.95}}),
                "typed_config": typed(
                    "config.overload.v3.ScaleTimersOverloadActionConfig",
                    timer_scale_factors=[{"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": "2s"}],
                ),
            },
        ],
    }


def _monitor(name: str, kind: str, **fields: int) -> Json:
    return named(f"envoy.resource_monitors.{name}", f"extensions.resource_monitors.{kind}", **fields)


def _action(name: str, trigger: Json) -> Json:
    return {
        "name": f"envoy.overload_actions.{name}",
        "triggers": [{"name": "envoy.resource_monitors.fixed_heap", **trigger}],
    }
