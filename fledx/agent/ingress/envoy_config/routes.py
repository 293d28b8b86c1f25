"""Which request goes to which cluster, and what becomes of one that got no answer."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from fledx.agent.ingress.envoy_config.listeners import HTTP
from fledx.agent.ingress.envoy_config.shapes import Front, Json, named, typed
from fledx.models.ingress import GatewayCertificate, Route

TRIED_AGAIN = "connect-failure,refused-stream,reset-before-request"
"""Nothing of the request has reached a backend then."""
RETRY: Json = {
    "retry_on": TRIED_AGAIN,
    "num_retries": 40,
    "retry_host_predicate": [
        named(
            "envoy.retry_host_predicates.previous_hosts",
            "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
        )
    ],
    "host_selection_retry_max_attempts": 3,
    "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.4s"},  # 40 tries last 5 to 9 s
}
RETRY_HARMLESS: Json = {**RETRY, "retry_on": f"{TRIED_AGAIN},reset"}
HARMLESS = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD|OPTIONS"}}}
CHALLENGES = "/.well-known/acme-challenge/"
STREAM_IDLE = "3600s"
"""Of a gRPC stream on which nothing is said; other answers are given up after 300 s of silence."""
OVERWRITE = "OVERWRITE_IF_EXISTS_OR_ADD"


def route_table(
    table: str,
    front: Front,
    routes: Sequence[Route],
    protocols: Mapping[str, str],
    certificates: Sequence[GatewayCertificate],
) -> Json:
    """The table of one listener; `protocols` are those of the backends by their names."""
    hosts: dict[str, list[Route]] = {}
    for each in routes:
        hosts.setdefault(each.host, []).append(each)
    covered = {name for each in certificates for name in each.hosts} if front.https_port is not None else set()
    kept = "ADD_IF_ABSENT" if front.hops else OVERWRITE
    return typed(
        "config.route.v3.RouteConfiguration",
        name=table,
        virtual_hosts=[
            {
                "name": host,
                "domains": [host],
                "routes": [*_entries(table, front, sorted(found, key=_precedence), protocols, covered)],
            }
            for host, found in sorted(hosts.items())
        ],
        request_headers_to_add=[
            {"header": {"key": "x-forwarded-host", "value": "%REQ(:AUTHORITY)%"}, "append_action": kept}
        ],
        validate_clusters=False,
        ignore_port_in_host_matching=True,
    )


def _precedence(route: Route) -> tuple[bool, int, str]:
    """Envoy takes the first that matches: exact before prefix, longer before shorter."""
    return route.path_type != "exact", -len(route.path), route.path


def is_covered(host: str, covered: Collection[str]) -> bool:
    """Whether a certificate with one of these names is good for the host; a wildcard stands for one label."""
    _, _, parent = host.partition(".")
    return host in covered or f"*.{parent}" in covered


def _entries(
    table: str, front: Front, routes: Sequence[Route], protocols: Mapping[str, str], covered: Collection[str]
) -> Iterator[Json]:
    for route in routes:
        redirected = table == HTTP and route.https_redirect and is_covered(route.host, covered)
        if not redirected:
            for match in _matches(route):
                yield from _answered(match, route, protocols.get(route.backend, "http"), front)
        elif route.path_type == "exact" or route.path != "/":
            for match in _matches(route):
                yield _redirect(match, front)
        else:
            # Whoever proves to a certificate authority that the host is his does so in the clear.
            yield from _answered({"prefix": CHALLENGES}, route, protocols.get(route.backend, "http"), front)
            yield _redirect({"prefix": "/"}, front)


def _matches(route: Route) -> Iterator[Json]:
    """
    What a path looks like to Envoy; two matches for a prefix that is rewritten.

    Envoy's rewrite of `/api` to `/` would make `//x` of `/api/x`: so `/api` and `/api/` are rewritten each on its own.
    """
    path = route.path
    if route.path_type == "exact":
        yield {"path": path}
    elif path.endswith("/"):
        yield {"prefix": path}
    elif route.rewrite is None:
        yield {"path_separated_prefix": path}
    else:
        yield {"path": path}
        yield {"prefix": f"{path}/"}


def _rewritten(match: Json, rewrite: str | None) -> Json:
    if rewrite is None:
        return {}
    if str(match.get("prefix", "")).endswith("/"):
        return {"prefix_rewrite": rewrite.rstrip("/") + "/"}
    return {"prefix_rewrite": rewrite if "path" not in match or rewrite == "/" else rewrite.rstrip("/")}


def _redirect(match: Json, front: Front) -> Json:
    port = {} if front.https_port in (None, 443) else {"port_redirect": front.https_port}
    return {"match": match, "redirect": {"https_redirect": True, "response_code": "PERMANENT_REDIRECT", **port}}


def _answered(match: Json, route: Route, protocol: str, front: Front) -> Iterator[Json]:
    """
    Three entries: an upgraded connection may be silent for hours, and only what changes nothing may be sent twice.

    The limit of a body is not for upgraded connections, which have none.
    """
    action: Json = {"cluster": route.backend, "timeout": f"{route.timeout_seconds:g}s", "retry_policy": RETRY}
    action |= _rewritten(match, route.rewrite)
    if protocol == "h2c":
        action["idle_timeout"] = STREAM_IDLE
    else:
        still = {**action, "timeout": "0s", "idle_timeout": "0s"}
        yield {"match": {**match, "headers": [_upgrade(front)]}, "route": still}
    rest = _limited(route.max_body_bytes)
    harmless = {**action, "retry_policy": RETRY_HARMLESS}
    yield {"match": {**match, "headers": [HARMLESS]}, "route": harmless, **rest}
    yield {"match": match, "route": action, **rest}


def _upgrade(front: Front) -> Json:
    words = "|".join(re.escape(each) for each in front.upgrades)
    return {"name": "upgrade", "string_match": {"safe_regex": {"regex": f"(?i)({words})"}}}


def _limited(most: int | None) -> Json:
    if most is None:
        return {}
    limit = typed("extensions.filters.http.buffer.v3.BufferPerRoute", buffer={"max_request_bytes": most})
    return {"typed_per_filter_config": {"envoy.filters.http.buffer": limit}}
