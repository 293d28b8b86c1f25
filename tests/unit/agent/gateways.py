"""What a gateway is to serve, with what a test does not care about filled in."""

from __future__ import annotations

from typing import Any

import trustme

from fledx.agent.ingress.envoy_config.shapes import Cluster, Served, Target
from fledx.models.ingress import Backend, Endpoint, GatewayCertificate, Route

SHOP, CHAT = "d-shop-8080", "d-chat-50051"


def route(path: str = "/", **changes: Any) -> Route:
    """A rule of shop.example.com."""
    fields = {"host": "shop.example.com", "path": path, "path_type": "prefix", "backend": SHOP, **changes}
    return Route(**fields)


def certificate(*hosts: str, name: str = "shop", authority: trustme.CA | None = None) -> GatewayCertificate:
    """A certificate that really fits its key."""
    issued = (authority or trustme.CA()).issue_cert(*hosts)
    chain = "".join(part.bytes().decode() for part in issued.cert_chain_pems)
    return GatewayCertificate(name=name, hosts=hosts, chain=chain, key=issued.private_key_pem.bytes().decode())


def served(*routes: Route, certificates: tuple[GatewayCertificate, ...] = (), **clusters: tuple[Target, ...]) -> Served:
    """The routes with the two backends they may name; `shop` and `chat` are where these are."""
    return Served(
        routes=routes,
        clusters=(
            Cluster(name=SHOP, targets=clusters.get("shop", ())),
            Cluster(name=CHAT, protocol="h2c", targets=clusters.get("chat", ())),
        ),
        certificates=certificates,
    )


def backend(*endpoints: Endpoint, **changes: Any) -> Backend:
    """The instances of the shop."""
    fields = {
        "name": SHOP,
        "deployment_id": "d-shop",
        "deployment": "shop",
        "port": 8080,
        "protocol": "http",
        "endpoints": endpoints,
        **changes,
    }
    return Backend(**fields)


def endpoint(number: int = 0, **changes: Any) -> Endpoint:
    """One instance of it, on another node."""
    fields: dict[str, Any] = {"replica_number": number, "node_id": "other", "fence": 1, "template": "t1", **changes}
    return Endpoint(**fields)
