"""Host ports that are this node's replicas' own, to tell them from a stranger's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fledx.agent.listening import HostPort
from fledx.agent.reconcile.actions import Copy
from fledx.agent.spec import Key
from fledx.models.desired import ReplicaDesired


class OwnPorts:
    """
    Ports that our containers have, or are about to have: one that starts just now is no stranger.

    What a replica has just failed to get is somebody else's, until something else happens to it.
    """

    def __init__(
        self,
        *,
        copies: Callable[[], Mapping[Key, Sequence[Copy]]],
        wanted: Callable[[], Mapping[Key, ReplicaDesired]],
    ) -> None:
        self._copies = copies
        self._wanted = wanted
        self._missed: dict[Key, set[HostPort]] = {}

    def taken(self, key: Key) -> None:
        """A replica could not have its ports: somebody else has."""
        self._missed[key] = self._wanted_by(key)

    def settled(self, key: Key) -> None:
        """The replica's trouble is another one, or over."""
        self._missed.pop(key, None)

    def now(self) -> set[HostPort]:
        """All of them."""
        found = {
            (port.protocol, port.host_port)
            for copies in self._copies().values()
            for copy in copies
            for port in copy.container.ports
            if port.host_port is not None
        }
        for key in self._wanted():
            found |= self._wanted_by(key) - self._missed.get(key, set())
        return found

    def _wanted_by(self, key: Key) -> set[HostPort]:
        replica = self._wanted().get(key)
        ports = replica.ports or () if replica is not None else ()
        return {(port.protocol, port.host_port) for port in ports if port.host_port is not None}
