"""What can be done with the data of replicas: look where it lies, take it out, put it back."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import anyio

from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.replicas.keeping import free_name
from fledx.control_plane.store import assignments, deployments
from fledx.control_plane.store import volumes as table
from fledx.control_plane.store.database import Database
from fledx.control_plane.store.deployments import Stored
from fledx.control_plane.store.refs import resolve
from fledx.errors import Conflict, FledxError, InvalidSpec, NotFound, Unavailable
from fledx.models.archive import Unwrapped
from fledx.models.assignment import Assignment
from fledx.models.token import Operator
from fledx.models.volume import Volume
from fledx.tunnel.stream import Stream

log = logging.getLogger(__name__)
ANSWER_BYTES = 4096
SIZES_BYTES = 1 << 20
SIZES_SECS = 10.0
"""How long nodes may take to measure; an engine walks through all files."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A volume of one replica: whose, what the spec calls it, and the node that owns it."""

    deployment_id: str
    deployment: str
    owner: Assignment
    volume: str

    @property
    def meta(self) -> dict[str, Any]:
        """How an agent is told of it."""
        return {
            "deployment_id": self.deployment_id,
            "replica_number": self.owner.replica_number,
            "volume": self.volume,
        }

    @property
    def label(self) -> str:
        """How it is named to operators."""
        return f"volume {self.volume} of {self.deployment}/{self.owner.replica_number} on {self.owner.node}"


class Volumes:
    """Use cases about volumes."""

    def __init__(self, store: Database, changes: Changes, dispatch: Dispatch) -> None:
        self._store = store
        self._changes = changes
        self._dispatch = dispatch

    def page(self, deployment: str | None, *, limit: int, offset: int) -> tuple[list[Volume], int]:
        """A page of volumes by deployment, replica and name; one that is gone is asked for by its name."""
        return self._store.read(lambda sql: table.page(sql, _known(sql, deployment), limit=limit, offset=offset))

    async def measured(self, volumes: list[Volume]) -> list[Volume]:
        """The same with their sizes, where the node is connected and tells them in time."""
        sizes: dict[tuple[str, str], int] = {}
        with anyio.move_on_after(SIZES_SECS):
            async with anyio.create_task_group() as tasks:
                for node_id in {each.node_id for each in volumes}:
                    tasks.start_soon(self._measure, node_id, sizes)
        return [replace(each, size_bytes=sizes.get((each.node_id, each.name))) for each in volumes]

    async def _measure(self, node_id: str, sizes: dict[tuple[str, str], int]) -> None:
        try:
            async with await self._dispatch.open(node_id, "volume_sizes", {}) as stream:
                told = await _answer(stream, SIZES_BYTES)
        except FledxError as problem:
            log.debug("volumes not measured", extra={"node": node_id, "reason": problem.text})
            return
        sizes |= {(node_id, name): size for name, size in told.items() if type(size) is int and size >= 0}

    async def backup(
        self, ref: str, volume: str, *, replica: int | None, mode: str, by: Operator
    ) -> AsyncGenerator[bytes, None]:
        """The content as `models.archive` has it, passed on as fast as it is taken; written down when it begins."""
        slot = self._store.read(lambda sql: _slot(sql, ref, volume, replica))
        async with await self._opened(slot, "volume_backup", {**slot.meta, "mode": mode}) as stream:
            await self._changes.commit(lambda tx: _audit(tx, "volume.backup", slot, by))
            while piece := await stream.receive():
                yield piece

    async def restore(
        self, ref: str, volume: str, *, replica: int | None, pieces: AsyncIterator[bytes], by: Operator
    ) -> Volume:
        """
        Make a backup the content of a volume: the replica gets a new container, which begins with it.

        Nothing is changed before all of it has arrived whole; what was there is kept until the next restore.
        """
        slot = self._store.read(lambda sql: _slot(sql, ref, volume, replica))
        name = self._store.read(lambda sql: _next_name(sql, slot))
        async with await self._opened(slot, "volume_restore", {**slot.meta, "name": name}) as stream:
            answer = await _sent(stream, pieces)
        size = int(answer.get("bytes", 0))
        return await self._changes.commit(lambda tx: _restored(tx, slot, name, size, by))

    async def dropped(self, node_id: str, names: list[str]) -> None:
        """A node has deleted these volumes."""

        def work(tx: Transaction) -> None:
            table.forget(tx.sql, node_id, names)
            tx.touched_nodes.add(node_id)

        await self._changes.commit(work)

    async def _opened(self, slot: Slot, kind: str, meta: dict[str, Any]) -> Stream:
        try:
            return await self._dispatch.open(slot.owner.node_id, kind, meta)
        except Unavailable as problem:
            raise Unavailable(f"{slot.label} cannot be reached: {problem.text}", hint=problem.hint) from None


def _known(sql: sqlite3.Connection, ref: str | None) -> str | None:
    if ref is None:
        return None
    try:
        return resolve(sql, "deployment", ref)
    except NotFound:
        return ref


def _slot(sql: sqlite3.Connection, ref: str, volume: str, number: int | None) -> Slot:
    stored = deployments.by_id(sql, resolve(sql, "deployment", ref))
    if stored is None:
        raise NotFound(f"no deployment {ref!r}")
    named = [mount.name for mount in stored.spec.volumes or () if mount.name is not None]
    if volume not in named:
        there = f"it has {', '.join(named)}" if named else "it has none by name"
        raise NotFound(f"{stored.spec.name} has no volume {volume[:64]!r}; {there}")
    owner = _owner(stored, assignments.of_deployment(sql, stored.id), number)
    return Slot(deployment_id=stored.id, deployment=stored.spec.name, owner=owner, volume=volume)


def _owner(stored: Stored, owned: list[Assignment], number: int | None) -> Assignment:
    found = [given for given in owned if number in (None, given.replica_number)]
    if not found:
        which = "no replica" if number is None else f"no replica {number}"
        raise Conflict(f"{stored.spec.name} has {which} on any node", hint="start it, or wait until it has a place")
    if len(found) > 1:
        raise InvalidSpec("replica", f"{stored.spec.name} has {len(found)} replicas, each with a volume of its own")
    return found[0]


def _next_name(sql: sqlite3.Connection, slot: Slot) -> str:
    return free_name(sql, slot.deployment, slot.owner.replica_number, slot.volume, slot.owner.node_id)


async def _sent(stream: Stream, pieces: AsyncIterator[bytes]) -> dict[str, Any]:
    """Pass a backup on; its digest is looked at here, too, so that a node never gets the end of a false one."""
    backup = Unwrapped()
    async for piece in pieces:
        if ready := backup.take(piece):
            await stream.send_all(ready)
    await stream.send_all(backup.end().last_block())
    await stream.send_eof()
    return await _answer(stream, ANSWER_BYTES)


async def _answer(stream: Stream, most: int) -> dict[str, Any]:
    """What a node says at the end, an object of so many bytes at most."""
    answer = b""
    while (piece := await stream.receive()) and len(answer) < most:
        answer += piece
    try:
        found = json.loads(answer)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Unavailable("the node did not say what became of it")
    return found


def _audit(tx: Transaction, action: str, slot: Slot, by: Operator, **more: Any) -> None:
    told = {"volume": slot.volume, "replica": slot.owner.replica_number, "node": slot.owner.node, **more}
    tx.audit(action, by, id=slot.deployment_id, name=slot.deployment, after=told)


def _restored(tx: Transaction, slot: Slot, name: str, size: int, by: Operator) -> Volume:
    """The new volume is the replica's own; Conflict if the replica is somewhere else by now."""
    number, node_id = slot.owner.replica_number, slot.owner.node_id
    owned = {given.replica_number: given for given in assignments.of_deployment(tx.sql, slot.deployment_id)}
    if number not in owned or owned[number].node_id != node_id:
        raise Conflict(f"replica {number} of {slot.deployment} has left {slot.owner.node} meanwhile", hint="try again")
    before = [
        each
        for each in table.of_deployment(tx.sql, slot.deployment_id)
        if (each.node_id, each.replica_number, each.volume) == (node_id, number, slot.volume)
    ]
    table.set_state(tx.sql, [each for each in before if each.state == table.FORMER], table.DROPPED)
    table.set_state(tx.sql, [each for each in before if each.state == table.CURRENT], table.FORMER)
    made = Volume(
        name=name,
        volume=slot.volume,
        deployment_id=slot.deployment_id,
        deployment=slot.deployment,
        replica_number=number,
        node_id=node_id,
        node=slot.owner.node or "",
        state=table.CURRENT,
        created_at=tx.stamp,
    )
    table.put(tx.sql, made)
    tx.touched_nodes.add(node_id)
    tx.touched.add(slot.deployment_id)
    _audit(tx, "volume.restore", slot, by, bytes=size)
    reason = f"{slot.volume} restored by {by.name}, {size} bytes"
    tx.event(
        "volume.restored",
        slot.deployment,
        reason,
        deployment_id=slot.deployment_id,
        replica_number=number,
        node_id=node_id,
    )
    return made
