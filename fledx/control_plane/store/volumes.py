"""Where the data of replicas lies, and what became of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from fledx.models.volume import Volume

CURRENT, FORMER, LEFT, DROPPED = "current", "former", "left", "dropped"
SHOWN = "SELECT volume.*, node.name AS node FROM volume JOIN node ON node.id = node_id"


def volume_of(row: sqlite3.Row) -> Volume:
    """A row as the model."""
    return Volume(
        name=row["name"],
        volume=row["volume"],
        deployment_id=row["deployment_id"],
        deployment=row["deployment"],
        replica_number=row["replica_number"],
        node_id=row["node_id"],
        node=row["node"],
        state=row["state"],
        created_at=row["created_at"],
    )


def put(connection: sqlite3.Connection, volume: Volume) -> None:
    """A volume that is new, or that is a replica's own again."""
    connection.execute(
        "INSERT INTO volume VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (node_id, name) DO UPDATE SET deployment_id = excluded.deployment_id,"
        " deployment = excluded.deployment, state = excluded.state",
        (
            *(volume.node_id, volume.name, volume.deployment_id, volume.deployment, volume.replica_number),
            *(volume.volume, volume.state, volume.created_at),
        ),
    )


def of_deployment(connection: sqlite3.Connection, deployment_id: str) -> list[Volume]:
    """All volumes of a deployment, whatever became of them, the eldest of a replica first."""
    sql = f"{SHOWN} WHERE deployment_id = ? ORDER BY replica_number, volume, volume.created_at, volume.name"
    return [volume_of(row) for row in connection.execute(sql, (deployment_id,))]


def current(connection: sqlite3.Connection, deployment_id: str, number: int) -> dict[str, Volume]:
    """A replica's own volumes by what the spec calls them."""
    sql = f"{SHOWN} WHERE deployment_id = ? AND replica_number = ? AND state = 'current'"
    return {row["volume"]: volume_of(row) for row in connection.execute(sql, (deployment_id, number))}


def on_node(connection: sqlite3.Connection, node_id: str, name: str) -> Volume | None:
    """The volume of this name on a node."""
    row = connection.execute(f"{SHOWN} WHERE node_id = ? AND volume.name = ?", (node_id, name)).fetchone()
    return None if row is None else volume_of(row)


def to_drop(connection: sqlite3.Connection, node_id: str) -> list[str]:
    """Names of those that a node is to delete."""
    sql = "SELECT name FROM volume WHERE node_id = ? AND state = 'dropped' ORDER BY name"
    return [row[0] for row in connection.execute(sql, (node_id,))]


def set_state(connection: sqlite3.Connection, volumes: Iterable[Volume], state: str) -> set[str]:
    """Note what became of these; the ids of their nodes."""
    found = list(volumes)
    rows = [(state, each.node_id, each.name) for each in found]
    connection.executemany("UPDATE volume SET state = ? WHERE node_id = ? AND name = ?", rows)
    return {each.node_id for each in found}


def rename(connection: sqlite3.Connection, deployment_id: str, deployment: str) -> None:
    """Their deployment has another name now."""
    connection.execute("UPDATE volume SET deployment = ? WHERE deployment_id = ?", (deployment, deployment_id))


def left_by(connection: sqlite3.Connection, deployment: str) -> list[Volume]:
    """What deployments of this name that are gone have left, the youngest of a replica first."""
    sql = (
        f"{SHOWN} WHERE deployment = ? COLLATE NOCASE AND state = 'left'"
        " AND deployment_id NOT IN (SELECT id FROM deployment) ORDER BY volume.created_at DESC, volume.name"
    )
    return [volume_of(row) for row in connection.execute(sql, (deployment,))]


def forget(connection: sqlite3.Connection, node_id: str, names: Iterable[str]) -> None:
    """A node has deleted what it was to delete."""
    rows = [(node_id, name) for name in names]
    connection.executemany("DELETE FROM volume WHERE node_id = ? AND name = ? AND state = 'dropped'", rows)


def page(
    connection: sqlite3.Connection, deployment: str | None, *, limit: int, offset: int
) -> tuple[list[Volume], int]:
    """A part of the list by deployment, replica and volume; `deployment` is a name or an id, None is all."""
    where = "volume.state <> 'dropped' AND (:ref IS NULL OR deployment_id = :ref OR deployment = :ref COLLATE NOCASE)"
    values = {"ref": deployment, "limit": limit, "offset": offset}
    total = connection.execute(f"SELECT count(*) FROM volume WHERE {where}", values).fetchone()[0]
    order = "deployment, replica_number, volume, volume.created_at, volume.name"
    sql = f"{SHOWN} WHERE {where} ORDER BY {order} LIMIT :limit OFFSET :offset"
    return [volume_of(row) for row in connection.execute(sql, values)], total
