"""
The streams `volume_backup` and `volume_restore`: the content of a replica's volume as a tar, out and in; and
`volume_sizes`: how much lies in all of this node's.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio

from fledx.agent.named_volumes import NamedVolumes, labels_for, name_of
from fledx.agent.reconcile.actions import Copy
from fledx.agent.runtime.base import Runtime
from fledx.agent.runtime.containers import ContainerSpec, Mount
from fledx.agent.spec import Key
from fledx.errors import Conflict, FledxError, InvalidSpec, NotFound
from fledx.models.archive import Sum, Unwrapped
from fledx.models.desired import ReplicaDesired
from fledx.tunnel.stream import Stream

logger = logging.getLogger(__name__)
PLACE = "/fledx-volume"
MODES = ("pause", "stop", "live")
STILL_SECS = 900.0
"""For so long a replica is held still at most: whoever reads this slowly is better off with a live backup."""


@dataclass(frozen=True, kw_only=True)
class VolumeRequest:
    """The meta of such a stream; ``name`` is what the engine is to call a restored volume."""

    key: Key
    volume: str
    mode: str = "pause"
    name: str = ""

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> VolumeRequest:
        """Read it; InvalidSpec for what cannot be meant."""
        words = [meta.get(field, default) for field, default in (("volume", None), ("mode", "pause"), ("name", ""))]
        deployment_id, number = meta.get("deployment_id"), meta.get("replica_number")
        if not isinstance(deployment_id, str) or type(number) is not int or not all(isinstance(w, str) for w in words):
            raise InvalidSpec("meta", "a volume's stream names a deployment_id, a replica_number and a volume")
        volume, mode, name = map(str, words)
        if mode not in MODES:
            raise InvalidSpec("mode", f"{mode[:20]!r} is not {', '.join(MODES)}")
        return cls(key=(deployment_id, number), volume=volume, mode=mode, name=name)


class VolumeStreams:
    """
    Serves them through a container that has the volume and is never started.

    `copies` and `wanted` are this node's containers and replicas, `aside` keeps the reconciler's hands off one of them,
    `image` gets a replica's image and gives the name under which the engine has it.
    """

    def __init__(
        self,
        runtime: Runtime,
        node_id: str,
        *,
        copies: Callable[[Key], Sequence[Copy]],
        wanted: Callable[[], Mapping[Key, ReplicaDesired]],
        aside: Callable[[Key, str], AbstractAsyncContextManager[None]],
        image: Callable[[ReplicaDesired], Awaitable[str]],
    ) -> None:
        self._runtime = runtime
        self._owner = f"{node_id}/volume"
        self._volumes = NamedVolumes(runtime, node_id)
        self._copies = copies
        self._wanted = wanted
        self._aside = aside
        self._image = image
        self._busy: set[tuple[Key, str]] = set()
        self._holders: set[str] = set()

    async def measure(self, stream: Stream) -> None:
        """Tell `{name: bytes}` of all volumes; the stream is taken at once, as the engine may need its time."""
        stream.accept()
        await stream.send_all(json.dumps(await self._volumes.sizes()).encode())
        await stream.send_eof()

    async def back_up(self, stream: Stream) -> None:
        """Send the tar and its last block; the replica stands still meanwhile, unless a live backup was asked for."""
        asked = VolumeRequest.of(stream.meta)
        replica = self._replica(asked)
        name = await self._volumes.find(name_of(replica, asked.volume))
        if name is None:
            raise NotFound(f"replica {asked.key[1]} has no volume {asked.volume} on this node yet")
        async with self._alone(asked), self._holder(replica, name) as holder, self._still(asked):
            stream.accept()
            found = Sum()
            async with self._runtime.archive(holder, f"{PLACE}/.") as pieces:
                async for piece in pieces:
                    found.add(piece)
                    await stream.send_all(piece)
            await stream.send_all(found.last_block())
        await stream.send_eof()

    async def restore(self, stream: Stream) -> None:
        """
        Fill a new volume, and tell what is in it; whose it becomes is the control plane's word.

        The replica keeps the volume it has until then. One that could not be filled is deleted.
        """
        asked = VolumeRequest.of(stream.meta)
        replica = self._replica(asked)
        async with self._alone(asked):
            await self._volumes.drop([asked.name])
            name = await self._volumes.make(asked.name, labels_for(replica, asked.volume))
            try:
                async with self._holder(replica, name) as holder:
                    stream.accept()
                    backup = Unwrapped()
                    await self._runtime.unpack(holder, PLACE, _tar(stream, backup))
                    found = backup.end()
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._discard(asked.name)
                raise
        await stream.send_all(json.dumps({"bytes": found.size, "sha256": found.sha256}).encode())
        await stream.send_eof()

    def _replica(self, asked: VolumeRequest) -> ReplicaDesired:
        replica = self._wanted().get(asked.key)
        if replica is None:
            raise NotFound(f"replica {asked.key[1]} of deployment {asked.key[0][:64]} is not on this node")
        if asked.volume not in {mount.name for mount in replica.volumes or ()}:
            raise NotFound(f"{replica.deployment} has no volume {asked.volume[:64]}")
        return replica

    @asynccontextmanager
    async def _alone(self, asked: VolumeRequest) -> AsyncIterator[None]:
        """One backup or restore of a volume at a time."""
        slot = asked.key, asked.volume
        if slot in self._busy:
            raise Conflict(
                f"volume {asked.volume} is being backed up or restored by somebody else", hint="wait for that"
            )
        self._busy.add(slot)
        try:
            yield
        finally:
            self._busy.discard(slot)

    @asynccontextmanager
    async def _holder(self, replica: ReplicaDesired, volume: str) -> AsyncIterator[str]:
        """A container with the volume, from any image that is here; what a crash has left of others goes first."""
        for left in await self._runtime.look(self._owner):
            if left.id not in self._holders:
                await self._runtime.remove(left.id)
        copies = self._copies(replica.key)
        spec = ContainerSpec(
            name=f"fledx-volume-{secrets.token_hex(6)}",
            image=copies[0].container.image if copies else await self._image(replica),
            command=("never started",),
            labels={"fledx.node_id": self._owner},
            mounts=(Mount(source=volume, target=PLACE, volume=True),),
        )
        made = await self._runtime.create(spec)
        self._holders.add(made)
        try:
            yield made
        finally:
            with anyio.CancelScope(shield=True):
                await self._remove(made)

    async def _remove(self, holder: str) -> None:
        self._holders.discard(holder)
        try:
            await self._runtime.remove(holder)
        except FledxError as problem:
            logger.warning("a container for a volume's copy stays for now", extra={"reason": problem.text})

    async def _discard(self, name: str) -> None:
        try:
            await self._volumes.drop([name])
        except FledxError as problem:
            logger.warning("a volume that was not filled stays for now", extra={"volume": name, "reason": problem.text})

    @asynccontextmanager
    async def _still(self, asked: VolumeRequest) -> AsyncIterator[None]:
        """Nothing writes to the volume inside."""
        if asked.mode == "live":
            yield
            return
        async with self._aside(asked.key, f"volume {asked.volume} is being backed up"):
            running = next((copy.container for copy in self._copies(asked.key) if copy.running), None)
            if running is None:
                yield
                return
            if asked.mode == "pause":
                await self._runtime.pause(running.id)
            else:
                await self._runtime.stop(running.id, grace=running.stop_grace)
            try:
                with anyio.move_on_after(STILL_SECS) as limit:
                    yield
            finally:
                with anyio.CancelScope(shield=True):
                    await self._go_on(running.id, asked.mode)
            if limit.cancelled_caught:
                raise Conflict(f"the replica stood still for {STILL_SECS:g} s", hint="back it up with --live")

    async def _go_on(self, container_id: str, mode: str) -> None:
        """What fails here is made good by the reconciler, which finds a replica that does not run."""
        try:
            if mode == "pause":
                await self._runtime.resume(container_id)
            else:
                await self._runtime.start(container_id)
        except FledxError as problem:
            logger.warning("a replica did not go on after a backup", extra={"reason": problem.text})


async def _tar(stream: Stream, backup: Unwrapped) -> AsyncIterator[bytes]:
    """The tar that a peer sends; the last block is held back and looked at afterwards."""
    while piece := await stream.receive():
        if ready := backup.take(piece):
            yield ready
