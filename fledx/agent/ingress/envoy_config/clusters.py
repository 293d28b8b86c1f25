"""Clusters and their endpoints: how a backend is spoken to, and where its instances are."""

from __future__ import annotations

from collections.abc import Sequence

from fledx.agent.ingress.envoy_config.shapes import (
    BUFFER_BYTES,
    SOCKETS,
    Cluster,
    Front,
    Json,
    Target,
    from_file,
    typed,
    word,
)

KEPT_SECS = 4
"""An idle connection to a backend; the common runtimes close theirs after 5 s, and must not be the first."""
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
PANIC_PERCENT = 1
"""Where no endpoint is well any more all are tried: one that was put out for a moment beats an answer of 503."""
CHECK = {
    "timeout": "1s",
    "interval": "2s",
    "interval_jitter": "0.2s",
    "no_traffic_interval": "5s",
    "unhealthy_threshold": 2,
    "healthy_threshold": 1,
    "tcp_health_check": {},
}
OUTLIERS = {
    "consecutive_5xx": 5,
    "enforcing_consecutive_5xx": 0,  # an application that answers 500 is not gone
    "consecutive_gateway_failure": 3,
    "enforcing_consecutive_gateway_failure": 100,
    "interval": "1s",
    "base_ejection_time": "1s",
    "max_ejection_time": "3s",
    "max_ejection_percent": 50,
    "split_external_local_origin_errors": False,
}


SILENCE_MS = 8000
IPPROTO_TCP, TCP_USER_TIMEOUT = 6, 18  # of Linux
SILENT_NO_LONGER: Json = {
    "upstream_bind_config": {
        "socket_options": [
            {
                "description": "TCP_USER_TIMEOUT of tcp(7)",
                "level": IPPROTO_TCP,
                "name": TCP_USER_TIMEOUT,
                "int_value": SILENCE_MS,
                "state": "STATE_PREBIND",
            }
        ]
    },
    "upstream_connection_options": {
        "tcp_keepalive": {"keepalive_time": 4, "keepalive_interval": 2, "keepalive_probes": 2}
    },
}
"""
The straight way to another node may end without a word, and then what is under way there is cut after 8 s, so that it
can be tried on the tunnel. Envoy cannot set these options on unix sockets: a backend that has one goes without.
"""


def endpoints_file(cluster: Cluster) -> str:
    """Where the endpoints of a cluster lie."""
    return f"eds-{word(cluster.name)}.json"


def cluster_of(cluster: Cluster, front: Front, *, inline: bool) -> Json:
    """A cluster whose endpoints are in a file of their own, or, with `inline`, in it."""
    spoken: Json = {"http2_protocol_options": {}} if cluster.protocol == "h2c" else {"http_protocol_options": {}}
    found = typed(
        "config.cluster.v3.Cluster",
        name=cluster.name,
        connect_timeout="1s",
        lb_policy="LEAST_REQUEST",
        per_connection_buffer_limit_bytes=BUFFER_BYTES,
        common_lb_config={
            "healthy_panic_threshold": {"value": PANIC_PERCENT},
            "update_merge_window": "0s",
            "ignore_new_hosts_until_first_hc": True,
        },
        circuit_breakers={
            "thresholds": [
                {"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096, "max_retries": 1024}
            ]
        },
        typed_extension_protocol_options={
            HTTP_OPTIONS: typed(
                "extensions.upstreams.http.v3.HttpProtocolOptions",
                common_http_protocol_options={"idle_timeout": f"{KEPT_SECS}s"},
                explicit_http_config=spoken,
            )
        },
        health_checks=[CHECK],
        ignore_health_on_host_removal=True,
        outlier_detection=OUTLIERS,
    )
    if front.direct and cluster.targets and all(target.port is not None for target in cluster.targets):
        found |= SILENT_NO_LONGER
    if inline:
        return {**found, "type": "STATIC", "load_assignment": _assignment(cluster)}
    return {**found, "type": "EDS", "eds_cluster_config": {"eds_config": from_file(endpoints_file(cluster))}}


def endpoints_of(cluster: Cluster) -> Json:
    """The endpoints as a resource of their own."""
    return typed("config.endpoint.v3.ClusterLoadAssignment", **_assignment(cluster))


def _assignment(cluster: Cluster) -> Json:
    return {"cluster_name": cluster.name, "endpoints": [{"lb_endpoints": _endpoints(cluster.targets)}]}


def _endpoints(targets: Sequence[Target]) -> list[Json]:
    found = []
    for target in sorted(targets, key=lambda each: each.shown):
        if target.port is None:
            address: Json = {"pipe": {"path": f"{SOCKETS}/{target.address}"}}
            endpoint: Json = {"address": address, "health_check_config": {"disable_active_health_check": True}}
        else:
            endpoint = {"address": {"socket_address": {"address": target.address, "port_value": target.port}}}
        found.append({"endpoint": endpoint, **({"health_status": "DRAINING"} if target.draining else {})})
    return found
