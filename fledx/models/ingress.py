"""Public ingress: the rule a deployment asks for, what a gateway is to serve, and what it tells of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fledx.errors import InvalidSpec
from fledx.models.check import Faults, line, shown

PATH_TYPES = ("prefix", "exact")
PROTOCOLS = ("http", "h2c")
HOST = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
MAX_HOST = 253
MAX_PATH = 512
MAX_BODY_BYTES = 1 << 30
MAX_RULES = 100
WATCHES_WANTED = 8192
"""
`fs.inotify.max_user_instances` of a gateway. Envoy takes one instance a file it watches, half of them are used, and a
file is needed for each backend and each certificate: enough for 4,000; the kernel's default of 128 is, for 54.
"""
AWAY = "away"
"""
Code with which the control plane refuses a `backend` stream whose owner node has no link to it right now. The gateway
waits for that one a few seconds; any other refusal means that nobody answers there, and takes the endpoint out.
"""


@dataclass(frozen=True, kw_only=True)
class IngressRule:
    """
    Requests for ``host`` and ``path`` go to a deployment's ready replicas, at their container port ``port``.

    ``host`` is a DNS name, ``*.example.com`` for every name below it. Of several rules of a host the exact path wins,
    then the longest prefix; a prefix ends at a slash (``/api`` is not ``/apix``, ``/api/`` is the same). ``rewrite``
    replaces the matched path. ``port`` None is the only container port there is. ``protocol`` h2c is what gRPC servers
    speak. ``timeout_seconds`` bounds a whole response, 0 does not. ``max_body_bytes`` None is no limit.
    ``https_redirect`` sends cleartext requests to the TLS listener, where a certificate covers the host.
    """

    host: str
    path: str = "/"
    path_type: str = "prefix"
    port: int | None = None
    protocol: str = "http"
    rewrite: str | None = None
    timeout_seconds: float = 0.0
    max_body_bytes: int | None = None
    https_redirect: bool = True

    def __post_init__(self) -> None:
        faults = Faults()
        object.__setattr__(self, "host", self.host.strip().lower().rstrip("."))
        faults.add("host", host_fault(self.host))
        faults.add("path", path_fault(self.path))
        if self.rewrite is not None:
            faults.add("rewrite", path_fault(self.rewrite))
        if self.path_type not in PATH_TYPES:
            faults.add("path_type", f"{shown(self.path_type)} is not prefix or exact")
        if self.protocol not in PROTOCOLS:
            faults.add("protocol", f"{shown(self.protocol)} is not http or h2c")
        if self.port is not None and not 1 <= self.port <= 65535:
            faults.add("port", f"{self.port} is not between 1 and 65535")
        if not 0 <= self.timeout_seconds <= 86400:
            faults.add("timeout_seconds", f"{self.timeout_seconds:g} is not between 0 and 86400")
        if self.max_body_bytes is not None and not 0 < self.max_body_bytes <= MAX_BODY_BYTES:
            faults.add("max_body_bytes", f"{self.max_body_bytes} is not between 1 and {MAX_BODY_BYTES}")
        faults.settle()
        if self.path_type == "prefix":
            object.__setattr__(self, "path", self.path.rstrip("/") or "/")

    @property
    def claim(self) -> tuple[str, str, str]:
        """What only one deployment can have: host, kind of path, path."""
        return self.host, self.path_type, self.path

    @classmethod
    def parse(cls, text: str) -> IngressRule:
        """Read the command line form ``HOST[/PATH][:CONTAINER-PORT]``, such as `shop.example.com/api:8080`."""
        rest, colon, digits = text.rpartition(":")
        if not colon:
            rest, digits = text, ""
        elif not (digits.isascii() and digits.isdigit()):
            raise InvalidSpec(
                "ingress", f"{shown(text)} is not HOST[/PATH][:CONTAINER-PORT], such as shop.example.com/api:8080"
            )
        host, slash, path = rest.partition("/")
        return cls(host=host, path=slash + path or "/", port=int(digits[:9]) if digits else None)

    def __str__(self) -> str:
        return f"{self.host}{self.path}{'' if self.port is None else f':{self.port}'}"


def settled_port(rule: IngressRule, container_ports: Sequence[int]) -> int | None:
    """The container port a rule leads to; None where it names none and there is not exactly one to be meant."""
    if rule.port is not None:
        return rule.port
    return container_ports[0] if len(container_ports) == 1 else None


def rule_faults(rules: Sequence[IngressRule], container_ports: Sequence[int]) -> list[tuple[str, str]]:
    """What is wrong with the rules of one deployment together, by path; `container_ports` are its TCP ones."""
    faults: list[tuple[str, str]] = []
    seen: set[tuple[str, str, str]] = set()
    for i, rule in enumerate(rules):
        if settled_port(rule, container_ports) is None:
            listed = ", ".join(map(str, container_ports))
            which = f"there are {listed}" if container_ports else "the deployment has no port"
            example = container_ports[0] if container_ports else 8080
            faults.append((f"ingress[{i}].port", f"is needed, as {which}: such as {rule.host}{rule.path}:{example}"))
        if rule.claim in seen:
            faults.append((f"ingress[{i}]", f"{rule.host}{rule.path} ({rule.path_type}) is listed twice"))
        seen.add(rule.claim)
    if len(rules) > MAX_RULES:
        faults.append(("ingress", f"has {len(rules)} rules, and {MAX_RULES} is the most"))
    return faults


def host_fault(host: str) -> str | None:
    """What is wrong with a host to serve: a DNS name, perhaps with `*.` before it."""
    if (fault := line(host, most=MAX_HOST)) is not None:
        return fault
    return (
        None if HOST.fullmatch(host) else f"{shown(host)} is not a DNS name such as shop.example.com or *.example.com"
    )


def path_fault(path: str) -> str | None:
    """What is wrong with a path to match: it begins with a slash and is as clean as Envoy makes it before matching."""
    if (fault := line(path, most=MAX_PATH)) is not None:
        return fault
    if not path.startswith("/"):
        return f"{shown(path)} does not begin with '/'"
    if any(character in path for character in "?#% \\") or not path.isascii():
        return f"{shown(path)} has a character that a path to match cannot have"
    if "//" in path or any(part in (".", "..") for part in path.split("/")):
        return f"{shown(path)} contains '//', '.' or '..'"
    return None


@dataclass(frozen=True, kw_only=True)
class GatewayFacts:
    """
    What a node that is a gateway tells of it: the ports it listens on; ``https_port`` None serves no TLS.

    ``image`` is that of its Envoy: a login that there is for its registry is sent along.
    """

    http_port: int
    https_port: int | None = None
    image: str | None = None


@dataclass(frozen=True, kw_only=True)
class Route:
    """One rule on its way to a gateway; ``backend`` names the `Backend` that answers."""

    host: str
    path: str
    path_type: str
    backend: str
    rewrite: str | None = None
    timeout_seconds: float = 0.0
    max_body_bytes: int | None = None
    https_redirect: bool = True


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One ready instance behind a gateway; ``draining`` gets nothing new. ``node_id`` says where it runs."""

    replica_number: int
    node_id: str
    fence: int
    template: str
    draining: bool = False
    addresses: tuple[str, ...] = ()
    """``host:port`` under which the backend may be reached without a tunnel; tried only where that is allowed."""


@dataclass(frozen=True, kw_only=True)
class Backend:
    """
    The instances of one deployment at one container port; ``name`` is ``<deployment_id>-<port>``.

    ``awaited`` says that all there are drain, if there are any, and that another is to come.
    """

    name: str
    deployment_id: str
    deployment: str
    port: int
    protocol: str
    endpoints: tuple[Endpoint, ...] = ()
    awaited: bool = False


@dataclass(frozen=True, kw_only=True)
class GatewayCertificate:
    """A certificate chain with its private key, both PEM, and the hosts it is shown for. The key is a secret."""

    name: str
    hosts: tuple[str, ...]
    chain: str
    key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class GatewayDesired:
    """All that a gateway is to serve. It belongs to the revision of the `NodeDesiredState` it came in."""

    routes: tuple[Route, ...] = ()
    backends: tuple[Backend, ...] = ()
    certificates: tuple[GatewayCertificate, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Held:
    """
    A replica whose present container is to be left alone for now: gateways still send it what they had begun.

    It ends with a state that does not name it any more, or ``seconds`` after this one came.
    """

    deployment_id: str
    replica_number: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Drained:
    """An endpoint that was told to drain and has nothing under way at this gateway any more."""

    backend: str
    replica_number: int
    fence: int
    template: str


@dataclass(frozen=True, kw_only=True)
class GatewayStatus:
    """
    What a gateway serves: ``state`` is starting, serving or failed, ``reason`` why not or why not the newest.

    ``revision`` is the newest desired state that Envoy has taken over whole. ``refused`` is what Envoy or the check
    before it said against a newer one, which is then not served: the old one is. ``ways`` tells for each backend and
    replica number (``"<backend>/<replica>"``) how it is reached: local, tunnel or direct.
    """

    state: str
    revision: int = 0
    reason: str | None = None
    refused: str | None = None
    drained: tuple[Drained, ...] = ()
    ways: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GatewayView:
    """
    A gateway as operators see it: ``state`` is that of `GatewayStatus`, away, or silent where nothing was told yet.

    ``ways`` tells how it reaches each replica of the deployment that is looked at, by number: local, tunnel or direct.
    """

    node_id: str
    node: str
    state: str
    reason: str | None = None
    refused: str | None = None
    ways: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Serving:
    """How a deployment is served to the world: where, by which gateways, and why it is not if it is not."""

    urls: tuple[str, ...]
    gateways: tuple[GatewayView, ...] = ()
    reason: str | None = None
