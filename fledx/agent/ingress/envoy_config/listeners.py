"""What Envoy listens on: one listener for cleartext, one with a chain for each certificate."""

from __future__ import annotations

from collections.abc import Sequence

from fledx.agent.ingress.envoy_config.shapes import BUFFER_BYTES, Front, Json, from_file, named, typed, word
from fledx.models.ingress import GatewayCertificate

HTTP, HTTPS = "http", "https"
"""Names of the two listeners, of their route tables and of their statistics."""
FORGED = ("x-forwarded-for", "forwarded", "x-real-ip", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port")
LOGGED = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "host": "%REQ(:AUTHORITY)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "detail": "%RESPONSE_CODE_DETAILS%",
    "ms": "%DURATION%",
    "in": "%BYTES_RECEIVED%",
    "out": "%BYTES_SENT%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "upstream": "%UPSTREAM_HOST%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "request_id": "%REQ(X-REQUEST-ID)%",
}


def listeners(front: Front, certificates: Sequence[GatewayCertificate]) -> list[Json]:
    """TLS is listened for only while there is a certificate to show."""
    found = [_listener(front, HTTP, front.http_port, [{"filters": [connections(front, HTTP)]}])]
    chains = [_chain(front, *each) for each in shown_for(certificates)]
    if chains and front.https_port is not None:
        found.append(_listener(front, HTTPS, front.https_port, chains, inspected=True))
    return found


def shown_for(certificates: Sequence[GatewayCertificate]) -> list[tuple[GatewayCertificate, list[str]]]:
    """
    Each certificate with the hosts it is shown for.

    Envoy refuses two for one host: the first by name has it.
    """
    taken: set[str] = set()
    found = []
    for each in sorted(certificates, key=lambda certificate: certificate.name):
        hosts = [host for host in dict.fromkeys(each.hosts) if host not in taken]
        taken.update(hosts)
        if hosts:
            found.append((each, hosts))
    return found


def secret_file(certificate: GatewayCertificate) -> str:
    """Where a certificate and its key lie."""
    return f"sds-{word(certificate.name)}.json"


def _listener(front: Front, name: str, port: int, chains: list[Json], *, inspected: bool = False) -> Json:
    filters = []
    if front.proxy_protocol:
        filters.append(
            named(
                "envoy.filters.listener.proxy_protocol",
                "extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
            )
        )
    if inspected:
        filters.append(
            named("envoy.filters.listener.tls_inspector", "extensions.filters.listener.tls_inspector.v3.TlsInspector")
        )
    address: Json = {"address": front.address, "port_value": port}
    if ":" in front.address:
        address["ipv4_compat"] = True
    return typed(
        "config.listener.v3.Listener",
        name=name,
        address={"socket_address": address},
        per_connection_buffer_limit_bytes=BUFFER_BYTES,
        listener_filters_timeout="5s",
        listener_filters=filters,
        filter_chains=chains,
    )


def _chain(front: Front, certificate: GatewayCertificate, hosts: list[str]) -> Json:
    name = word(certificate.name)
    secret = {"name": name, "sds_config": from_file(secret_file(certificate))}
    return {
        "name": name,
        "filter_chain_match": {"server_names": hosts},
        "transport_socket": named(
            "envoy.transport_sockets.tls",
            "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context={
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificate_sds_secret_configs": [secret],
            },
        ),
        "filters": [connections(front, HTTPS)],
        "transport_socket_connect_timeout": "10s",
    }


def connections(front: Front, table: str) -> Json:
    """
    How HTTP is spoken: hostile requests end here.

    The path is made clean before it is matched. Whatever a client says about itself is dropped, unless it is a proxy
    that is trusted.
    """
    return named(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=table,
        codec_type="AUTO",
        rds={"route_config_name": table, "config_source": from_file(f"rds-{table}.json")},
        http_filters=_filters(),
        use_remote_address=True,
        xff_num_trusted_hops=front.hops,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="UNESCAPE_AND_REDIRECT",
        server_header_transformation="PASS_THROUGH",
        common_http_protocol_options={
            "idle_timeout": "120s",
            "headers_with_underscores_action": "REJECT_REQUEST",
            "max_headers_count": 100,
        },
        http_protocol_options={"accept_http_10": False},
        http2_protocol_options={
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65536,
            "initial_connection_window_size": 1048576,
        },
        max_request_headers_kb=60,
        upgrade_configs=[{"upgrade_type": each} for each in front.upgrades],
        access_log=[_log()],
        stream_idle_timeout="300s",
        request_timeout="300s",
        request_headers_timeout="10s",
        drain_timeout="30s",
        **({} if front.hops else {"early_header_mutation_extensions": [_forgotten()]}),
    )


def _filters() -> list[Json]:
    """The buffer is off but where a route limits the body: it holds the whole of it."""
    buffer = named(
        "envoy.filters.http.buffer", "extensions.filters.http.buffer.v3.Buffer", max_request_bytes=BUFFER_BYTES
    )
    router = named("envoy.filters.http.router", "extensions.filters.http.router.v3.Router", suppress_envoy_headers=True)
    return [{**buffer, "disabled": True}, router]


def _forgotten() -> Json:
    return named(
        "envoy.http.early_header_mutation.header_mutation",
        "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[{"remove": name} for name in (*FORGED, "x-request-id")],
    )


def _log() -> Json:
    return named(
        "envoy.access_loggers.file",
        "extensions.access_loggers.file.v3.FileAccessLog",
        path="/dev/stdout",
        log_format={"json_format": LOGGED},
    )
