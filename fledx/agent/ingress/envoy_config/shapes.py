"""The nouns that the files are made from, and the small forms they all have."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from fledx.agent.ingress.envoy_config.upgrades import ALWAYS
from fledx.models.ingress import GatewayCertificate, Route

Json = dict[str, Any]

TYPES = "type.googleapis.com/envoy."
BUFFER_BYTES = 256 * 1024
"""Of one connection, each way; with 32 KiB a download through the tunnel is a tenth slower."""
CONF, SOCKETS = "/conf", "/sock"
"""Where the container sees the two directories that it shares with the agent."""
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class Front:
    """
    How Envoy listens, for as long as it lives.

    ``https_port`` None serves no TLS. ``hops`` is how many proxies before it are trusted to say who the client is.
    ``proxy_protocol`` expects the PROXY header at the start of every connection, and refuses those without it.
    ``direct`` says that other nodes are reached without the tunnel: such a way may end without a word. ``upgrades`` are
    the protocols that a client may change to, see `upgrades.py`.
    """

    address: str = "0.0.0.0"
    http_port: int = 10000
    https_port: int | None = 10443
    proxy_protocol: bool = False
    hops: int = 0
    max_connections: int = 12000
    direct: bool = False
    upgrades: tuple[str, ...] = ALWAYS


@dataclass(frozen=True, kw_only=True)
class Target:
    """
    Where one instance is reached: a host and a port, or, with ``port`` None, a socket of the agent by its file name.

    ``draining`` gets nothing new. Envoy itself checks hosts; of a socket the agent knows more.
    """

    address: str
    port: int | None = None
    draining: bool = False

    @property
    def shown(self) -> str:
        """As Envoy names it in its statistics."""
        if self.port is None:
            return f"{SOCKETS}/{self.address}"
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A backend and where its instances are."""

    name: str
    protocol: str = "http"
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Served:
    """Everything an Envoy serves at one moment."""

    routes: tuple[Route, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    certificates: tuple[GatewayCertificate, ...] = ()


def typed(kind: str, **fields: Any) -> Json:
    """A message of Envoy's with the name of its type."""
    return {"@type": TYPES + kind, **fields}


def named(name: str, kind: str, **fields: Any) -> Json:
    """An extension, configured."""
    return {"name": name, "typed_config": typed(kind, **fields)}


def from_file(name: str) -> Json:
    """
    A source that is read again when a file is renamed onto this very name.

    Without `watched_directory` on purpose: with it a rename of any file there would reload this one.
    """
    return {"path_config_source": {"path": f"{CONF}/{name}"}, "resource_api_version": "V3"}


def word(name: str) -> str:
    """A name as it may stand in a file's name and in a statistic."""
    return name if SAFE.fullmatch(name) else hashlib.sha256(name.encode()).hexdigest()[:16]
