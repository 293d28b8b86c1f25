"""What is seen of the replicas of this node: the containers of the last look, and what is known besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fledx.agent.instances import Known, instance_of
from fledx.agent.reconcile.actions import Copy
from fledx.agent.reconcile.loop import Reconciler
from fledx.agent.spec import Key
from fledx.models.desired import ReplicaDesired
from fledx.models.health import HealthStatus
from fledx.models.instance import Instance


class Observed:
    """
    Shows the reconciler's copies as the rest of the agent asks for them.

    `host` is the address under which published ports are reached, `health` the last probes by container id.
    """

    def __init__(
        self, loop: Reconciler, *, node_id: str, host: str, health: Callable[[], Mapping[str, HealthStatus]]
    ) -> None:
        self._loop = loop
        self._node_id = node_id
        self._host = host
        self._health = health

    def copies(self, key: Key) -> Sequence[Copy]:
        """The containers of a replica."""
        return self._loop.copies.get(key, ())

    def running(self) -> list[tuple[Key, Copy]]:
        """Every copy that runs, old and new."""
        return [(key, copy) for key, copies in self._loop.copies.items() for copy in copies if copy.running]

    def probed(self) -> list[tuple[Key, ReplicaDesired, Copy]]:
        """Copies that run as they should: an old one, which is on its way out, is not asked any more."""
        wanted = self._loop.wanted()
        found = ((key, wanted.get(key), copy) for key, copy in self.running())
        return [(key, replica, copy) for key, replica, copy in found if replica is not None and copy.fits(replica)]

    def images(self) -> list[str]:
        """The image of each container, running or not."""
        return [copy.container.image for copies in self._loop.copies.values() for copy in copies]

    def templates(self) -> set[tuple[Key, str]]:
        """Replica and template of whatever is here or is to be."""
        here = {(key, copy.marks.template) for key, copies in self._loop.copies.items() for copy in copies}
        return here | {(key, replica.template) for key, replica in self._loop.wanted().items()}

    def instances(self) -> Mapping[Key, Instance] | None:
        """Each replica as it is told, without its stamp; None before the engine has been asked once."""
        if not self._loop.asked:
            return None
        wanted = self._loop.wanted()
        found = {key: instance_of(self._known(key, wanted.get(key))) for key in {*wanted, *self._loop.copies}}
        return {key: instance for key, instance in found.items() if instance is not None}

    def _known(self, key: Key, replica: ReplicaDesired | None) -> Known:
        loop = self._loop
        return Known(
            key=key,
            node_id=self._node_id,
            replica=replica,
            copies=self.copies(key),
            history=loop.histories.get(key),
            pace=loop.pace,
            host=self._host,
            doing=loop.doing(key),
            waiting=loop.waiting(key),
            trouble=loop.trouble,
            health=self._health(),
            record=loop.jobs.records.get(key),
        )
