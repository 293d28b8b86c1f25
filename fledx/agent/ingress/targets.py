"""The decision: where each endpoint is reached, and which of them Envoy is told of; pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from fledx.agent.ingress.envoy_config.shapes import Cluster, Served, Target
from fledx.models.ingress import Backend, Drained, Endpoint, GatewayDesired

NOBODY = Target(address="nobody.sock")
"""There is no such socket: whatever is asked can be tried again then, and is, 40 times, which takes 5 to 9 s."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """One endpoint and the way to it: local, tunnel or direct; ``target`` None is one that is not there now."""

    backend: Backend
    endpoint: Endpoint
    way: str
    target: Target | None
    answers: bool = True

    @property
    def drained(self) -> Drained:
        """As it is told when nothing is under way there any more."""
        each = self.endpoint
        return Drained(
            backend=self.backend.name, replica_number=each.replica_number, fence=each.fence, template=each.template
        )


@dataclass(frozen=True, kw_only=True)
class Sight:
    """
    What this node knows of the ways to endpoints.

    ``local`` gives the host and port of an instance of its own that runs and is ready, ``direct`` an address of one
    elsewhere that was found to answer. ``refused`` says that nobody answers behind a socket.
    """

    node_id: str
    local: Callable[[Backend, Endpoint], tuple[str, int] | None]
    direct: Callable[[Endpoint], tuple[str, int] | None]
    refused: Callable[[str], bool]


def socket_name(backend: Backend, endpoint: Endpoint) -> str:
    """Short, as a socket's path may have 107 bytes; another one for each container of a replica."""
    text = f"{backend.name} {endpoint.replica_number} {endpoint.node_id} {endpoint.fence} {endpoint.template}"
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.sock"


def reached(desired: GatewayDesired, sight: Sight) -> list[Reached]:
    """Every endpoint with the way to it."""
    return [_way(backend, each, sight) for backend in desired.backends for each in backend.endpoints]


def _way(backend: Backend, endpoint: Endpoint, sight: Sight) -> Reached:
    draining = endpoint.draining
    if endpoint.node_id == sight.node_id:
        own = sight.local(backend, endpoint)
        target = Target(address=own[0], port=own[1], draining=draining) if own else None
        return Reached(backend=backend, endpoint=endpoint, way="local", target=target)
    if (found := sight.direct(endpoint)) is not None:
        target = Target(address=found[0], port=found[1], draining=draining)
        return Reached(backend=backend, endpoint=endpoint, way="direct", target=target)
    name = socket_name(backend, endpoint)
    target = Target(address=name, draining=draining)
    return Reached(backend=backend, endpoint=endpoint, way="tunnel", target=target, answers=not sight.refused(name))


def served(desired: GatewayDesired, ways: Sequence[Reached], waits: Collection[str] = ()) -> Served:
    """What Envoy is to serve; what is asked of backends that are named in `waits` waits."""
    return Served(
        routes=desired.routes,
        clusters=tuple(
            Cluster(name=each.name, protocol=each.protocol, targets=(NOBODY,))
            if each.name in waits
            else _cluster(each, ways)
            for each in sorted(desired.backends, key=lambda each: each.name)
        ),
        certificates=desired.certificates,
    )


def _cluster(backend: Backend, ways: Sequence[Reached]) -> Cluster:
    """
    Endpoints that do not answer are left out, unless there is no other.

    Then Envoy is refused a connection, which it tries again for some seconds, and the instance may be back by then.
    """
    mine = [each for each in ways if each.backend.name == backend.name and each.target is not None]
    answering = [each for each in mine if each.answers]
    serving = any(not each.endpoint.draining for each in answering)
    chosen = [each for each in mine if each.answers or not serving]
    unique = dict.fromkeys(each.target for each in chosen if each.target is not None)
    return Cluster(name=backend.name, protocol=backend.protocol, targets=tuple(_once_each(unique)))


def _once_each(targets: dict[Target, None]) -> Iterator[Target]:
    """Envoy takes no address twice: of an old and a new container with the same one, the one that is not draining."""
    kept: dict[str, Target] = {}
    for target in targets:
        if target.shown not in kept or kept[target.shown].draining:
            kept[target.shown] = target
    yield from kept.values()


def with_endpoints(accepted: Served, wanted: Served) -> Served:
    """What was served before, with the endpoints of now: all that may be taken over of a state that is refused."""
    now = {cluster.name: cluster.targets for cluster in wanted.clusters}
    clusters = tuple(
        Cluster(name=each.name, protocol=each.protocol, targets=now.get(each.name, ())) for each in accepted.clusters
    )
    return Served(routes=accepted.routes, clusters=clusters, certificates=accepted.certificates)


def with_leaving(wanted: Served, before: Sequence[Cluster]) -> Served:
    """The same, and the clusters that are on their way out: routes that name them are still being read."""
    names = {cluster.name for cluster in wanted.clusters}
    leaving = tuple(each for each in before if each.name not in names)
    return Served(routes=wanted.routes, clusters=(*wanted.clusters, *leaving), certificates=wanted.certificates)
