"""The volumes by name of this node: found again, made where they are missing, deleted where that is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fledx.agent.runtime.base import Runtime
from fledx.agent.runtime.containers import Mount
from fledx.errors import Conflict
from fledx.models.desired import ReplicaDesired


class NamedVolumes:
    """
    Those that carry this node's id; others are never mounted and never deleted.

    A name that somebody else's volume has gets the beginning of the node's id behind it. That form is looked for first:
    data does not vanish when the other one goes.
    """

    def __init__(self, runtime: Runtime, node_id: str) -> None:
        self._runtime = runtime
        self._node_id = node_id

    async def mounts(self, replica: ReplicaDesired) -> tuple[Mount, ...]:
        """What to mount for the volumes by name of this replica; those that are missing are made."""
        found = []
        for mount in replica.volumes or ():
            if mount.name is not None:
                source = await self._at_hand(name_of(replica, mount.name), labels_for(replica, mount.name))
                found.append(
                    Mount(source=source, target=mount.container_path, read_only=bool(mount.read_only), volume=True)
                )
        return tuple(found)

    async def find(self, name: str) -> str | None:
        """What the engine calls this node's volume of that name; None if there is none."""
        for form in self._forms(name):
            if await self._owner(form) == self._node_id:
                return form
        return None

    async def make(self, name: str, labels: Mapping[str, str]) -> str:
        """A new volume; what the engine calls it. Conflict when both of its names are somebody else's."""
        for form in reversed(self._forms(name)):
            if await self._owner(form) is None:
                await self._runtime.make_volume(form, {"fledx.node_id": self._node_id, **labels})
                if await self._owner(form) == self._node_id:
                    return form
        raise Conflict(f"a volume {name} is on this node already and is not fledx's own", hint="rename or remove it")

    async def drop(self, names: Iterable[str]) -> list[str]:
        """Delete these; which of them are gone now. One that a container still has stays for the next try."""
        gone = []
        for name in names:
            form = await self.find(name)
            if form is None or await self._runtime.remove_volume(form):
                gone.append(name)
        return gone

    async def sizes(self) -> dict[str, int]:
        """Bytes in each that the engine can measure, by the control plane's names."""
        found = await self._runtime.volume_sizes(self._node_id)
        return {form.removesuffix(f"-{self._node_id[:8]}"): size for form, size in found.items()}

    async def _at_hand(self, name: str, labels: Mapping[str, str]) -> str:
        return await self.find(name) or await self.make(name, labels)

    def _forms(self, name: str) -> tuple[str, str]:
        return f"{name}-{self._node_id[:8]}", name

    async def _owner(self, form: str) -> str | None:
        """The node that a volume belongs to, empty for a stranger's; None where there is no such volume."""
        labels = await self._runtime.volume(form)
        return None if labels is None else labels.get("fledx.node_id", "")


def name_of(replica: ReplicaDesired, volume: str) -> str:
    """What the control plane calls it on this node."""
    return (replica.volume_names or {}).get(volume) or f"fledx-{replica.deployment}-{volume}-{replica.replica_number}"


def labels_for(replica: ReplicaDesired, volume: str) -> dict[str, str]:
    """By which a human finds out whose data it is."""
    return {
        "fledx.deployment_id": replica.deployment_id,
        "fledx.deployment": replica.deployment,
        "fledx.replica": str(replica.replica_number),
        "fledx.volume": volume,
    }
