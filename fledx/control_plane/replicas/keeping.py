"""The data of replicas keeps its place: volumes are given to replicas, taken from them, found again and dropped."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from fledx.control_plane.store import volumes
from fledx.control_plane.store.deployments import Stored
from fledx.models.deployment import DeploymentSpec
from fledx.models.permission import data_of
from fledx.models.volume import Volume


class Keeping(Protocol):
    """The part of a transaction that keeping data needs."""

    sql: sqlite3.Connection
    stamp: str
    touched_nodes: set[str]


def stays(spec: DeploymentSpec) -> bool:
    """Whether replicas stay with their node because their data lies there."""
    return bool(data_of(spec)) and not spec.reschedule.abandon_volumes


def data_words(spec: DeploymentSpec) -> str:
    """`volume data, /srv/web`."""
    named = {mount.name for mount in spec.volumes or ()}
    return ", ".join(f"volume {source}" if source in named else source for source in data_of(spec))


def homes(tx: Keeping, stored: Stored, numbers: Iterable[int]) -> dict[int, str]:
    """The nodes to which replicas without a place are bound, as their data lies there."""
    named = set(_named(stored))
    if not named or stored.spec.reschedule.abandon_volumes:
        return {}
    wanted = set(numbers)
    return {
        each.replica_number: each.node_id
        for each in volumes.of_deployment(tx.sql, stored.id)
        if each.state == volumes.CURRENT and each.volume in named and each.replica_number in wanted
    }


def settle_in(tx: Keeping, stored: Stored, number: int, node_id: str) -> None:
    """
    A replica has its place on a node: each of its volumes is there, too.

    What lay elsewhere is left there; what the replica had left on this node before is its own again.
    """
    for volume in _named(stored):
        own = volumes.current(tx.sql, stored.id, number).get(volume)
        if own is not None and own.node_id == node_id:
            continue
        if own is not None:
            volumes.set_state(tx.sql, [own], volumes.LEFT)
        volumes.put(tx.sql, _found_or_new(tx, stored, number, volume, node_id))


def _named(stored: Stored) -> list[str]:
    return [mount.name for mount in stored.spec.volumes or () if mount.name is not None]


def _found_or_new(tx: Keeping, stored: Stored, number: int, volume: str, node_id: str) -> Volume:
    before = [each for each in volumes.of_deployment(tx.sql, stored.id) if each.state == volumes.LEFT]
    for each in reversed(before):
        if (each.node_id, each.replica_number, each.volume) == (node_id, number, volume):
            return replace(each, state=volumes.CURRENT)
    return Volume(
        name=free_name(tx.sql, stored.spec.name, number, volume, node_id),
        volume=volume,
        deployment_id=stored.id,
        deployment=stored.spec.name,
        replica_number=number,
        node_id=node_id,
        node="",
        state=volumes.CURRENT,
        created_at=tx.stamp,
    )


def free_name(sql: sqlite3.Connection, deployment: str, number: int, volume: str, node_id: str) -> str:
    """`fledx-<deployment>-<volume>-<replica>`; where the node has one of that name, with a number behind it."""
    first = name = f"fledx-{deployment}-{volume}-{number}"
    attempt = 1
    while volumes.on_node(sql, node_id, name) is not None:
        attempt += 1
        name = f"{first}-r{attempt}"
    return name


def leave(tx: Keeping, stored: Stored, number: int) -> None:
    """A replica goes on without its data, which stays where it lies."""
    volumes.set_state(tx.sql, volumes.current(tx.sql, stored.id, number).values(), volumes.LEFT)


def give_up(tx: Keeping, stored: Stored, *, drop: bool) -> int:
    """A deployment is deleted: its data is deleted with it, or stays where it lies; how many volumes are to go."""
    found = volumes.of_deployment(tx.sql, stored.id)
    if not drop:
        volumes.set_state(tx.sql, [each for each in found if each.state == volumes.CURRENT], volumes.LEFT)
        return 0
    tx.touched_nodes |= volumes.set_state(tx.sql, found, volumes.DROPPED)
    return len(found)


def take_over(tx: Keeping, deployment_id: str, spec: DeploymentSpec) -> list[Volume]:
    """A new deployment gets what one of its name has left, as far as it has volumes called so; those volumes."""
    wanted = {mount.name for mount in spec.volumes or ()} - {None}
    if not wanted:
        return []
    taken: dict[tuple[int, str], Volume] = {}
    for each in volumes.left_by(tx.sql, spec.name):
        slot = each.replica_number, each.volume
        if each.volume in wanted and slot not in taken:
            taken[slot] = replace(each, deployment_id=deployment_id, deployment=spec.name, state=volumes.CURRENT)
    for each in taken.values():
        volumes.put(tx.sql, each)
    return list(taken.values())
