"""Which node owns which replica, and which replicas have no place."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from fledx.models.assignment import Assignment
from fledx.models.codec import encode
from fledx.models.deployment import Pending
from fledx.models.port import PortMapping

_text = json.JSONEncoder(separators=(",", ":")).encode  # made once: a dead node's replicas are packed by hundreds
JOINED = (
    "SELECT replica_number, node_id, node.name AS node, fence, revision, ports, leaving, deployment_id, former"
    " FROM assignment JOIN node ON node.id = node_id"
)


def assignment_of(row: sqlite3.Row) -> Assignment:
    """A row of `JOINED` as the model."""
    number, node_id, node, fence, revision, ports, leaving, _, _ = row  # by hundreds: names would cost as much again
    return Assignment(
        replica_number=number,
        node_id=node_id,
        node=node,
        fence=fence,
        revision=revision,
        ports=_unpacked(ports),
        leaving=None if leaving is None else True,
    )


def put(connection: sqlite3.Connection, deployment_id: str, *given: Assignment) -> None:
    """
    Give replicas to their owners, whoever had them before.

    With a new owner it sees that node's configs as they are now; with the same one nothing changes by itself.
    """
    put_each(connection, [(deployment_id, each, False) for each in given])


def put_each(connection: sqlite3.Connection, given: Iterable[tuple[str, Assignment, bool]]) -> None:
    """The same for those of several deployments; with each, whether to remember whom it is taken from."""
    former = "json_object('node_id', node_id, 'fence', fence, 'ports', json(ports))"
    connection.executemany(
        "INSERT INTO assignment (deployment_id, replica_number, node_id, fence, revision, ports, former, content)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, (SELECT value FROM counter WHERE name = 'content'))"
        " ON CONFLICT DO UPDATE SET node_id = excluded.node_id, fence = excluded.fence, revision = excluded.revision,"
        " ports = excluded.ports,"
        f" former = iif(node_id = excluded.node_id, former, iif(excluded.former, {former}, NULL)),"
        " leaving = iif(node_id = excluded.node_id, leaving, NULL),"
        " content = iif(node_id = excluded.node_id, content, excluded.content)",
        [
            (
                deployment_id,
                each.replica_number,
                each.node_id,
                each.fence,
                each.revision,
                _packed(each.ports),
                True if remembered else None,
            )
            for deployment_id, each, remembered in given
        ],
    )


@lru_cache(maxsize=2048)  # a transaction, and who looks after it, read the same rows several times
def _unpacked(text: str) -> tuple[PortMapping, ...]:
    return tuple(PortMapping(**port) for port in json.loads(text))


def _packed(ports: Iterable[PortMapping]) -> str:
    return _text([encode(port) for port in ports])


def set_leaving(connection: sqlite3.Connection, deployment_id: str, number: int, since: float | None) -> None:
    """Show a replica as leaving since then, or not any more."""
    sql = "UPDATE assignment SET leaving = ? WHERE deployment_id = ? AND replica_number = ?"
    connection.execute(sql, (None if since is None else int(since), deployment_id, number))


def set_extra(connection: sqlite3.Connection, deployment_id: str, wanted: int) -> None:
    """Those from the wanted number on are extra, the others are not."""
    extra = "CASE WHEN replica_number >= ? THEN 1 END"
    sql = f"UPDATE assignment SET extra = {extra} WHERE deployment_id = ? AND extra IS NOT {extra}"
    connection.execute(sql, (wanted, deployment_id, wanted))


def leaving(connection: sqlite3.Connection, deployment_id: str) -> dict[int, float]:
    """Since when replicas of a deployment have been leaving, by number."""
    sql = "SELECT replica_number, leaving FROM assignment WHERE deployment_id = ? AND leaving IS NOT NULL"
    return {row[0]: float(row[1]) for row in connection.execute(sql, (deployment_id,))}


def forget_former(connection: sqlite3.Connection, deployment_id: str, number: int) -> None:
    """Whoever it was taken from has no claim on it any more."""
    sql = "UPDATE assignment SET former = NULL WHERE deployment_id = ? AND replica_number = ?"
    connection.execute(sql, (deployment_id, number))


def formerly_of(connection: sqlite3.Connection, node_id: str) -> list[tuple[str, Assignment, Assignment]]:
    """What was taken from a node that did not answer: deployment id, the assignment now, and the one of then."""
    sql = f"{JOINED} WHERE json_extract(former, '$.node_id') = ? ORDER BY deployment_id, replica_number"
    found = []
    for row in connection.execute(sql, (node_id,)).fetchall():
        now, then = assignment_of(row), json.loads(row["former"])
        ports = tuple(PortMapping(**port) for port in then["ports"])
        found.append((row["deployment_id"], now, replace(now, node_id=node_id, fence=then["fence"], ports=ports)))
    return found


def drop(connection: sqlite3.Connection, deployment_id: str, numbers: Iterable[int]) -> None:
    """Take replicas from their owners."""
    rows = [(deployment_id, number) for number in numbers]
    connection.executemany("DELETE FROM assignment WHERE deployment_id = ? AND replica_number = ?", rows)


def of_deployment(connection: sqlite3.Connection, deployment_id: str) -> list[Assignment]:
    """The owners of a deployment's replicas, by number."""
    sql = f"{JOINED} WHERE deployment_id = ? ORDER BY replica_number"
    return [assignment_of(row) for row in connection.execute(sql, (deployment_id,))]


def of_deployments(connection: sqlite3.Connection, ids: list[str]) -> dict[str, list[Assignment]]:
    """The same for several deployments at once, by deployment."""
    found = rows_of_deployments(connection, ids)
    return {deployment_id: [assignment_of(row) for row in rows] for deployment_id, rows in found.items()}


def rows_of_deployments(connection: sqlite3.Connection, ids: list[str]) -> dict[str, list[sqlite3.Row]]:
    """Rows of `JOINED` by deployment, in the order of replicas."""
    marks = ",".join("?" * len(ids))
    found: dict[str, list[sqlite3.Row]] = {deployment_id: [] for deployment_id in ids}
    for row in connection.execute(f"{JOINED} WHERE deployment_id IN ({marks}) ORDER BY replica_number", ids):
        found[row["deployment_id"]].append(row)
    return found


def of_node(connection: sqlite3.Connection, node_id: str) -> list[tuple[str, Assignment]]:
    """What a node owns: deployment id and assignment."""
    sql = f"{JOINED} WHERE node_id = ? ORDER BY deployment_id, replica_number"
    return [(row["deployment_id"], assignment_of(row)) for row in connection.execute(sql, (node_id,))]


def arrived(connection: sqlite3.Connection, deployment_id: str, number: int) -> int:
    """Where the counter of configs and secrets stood when a replica came to its node."""
    sql = "SELECT content FROM assignment WHERE deployment_id = ? AND replica_number = ?"
    row = connection.execute(sql, (deployment_id, number)).fetchone()
    return 0 if row is None else int(row[0])


def deployments_on(connection: sqlite3.Connection, node_id: str) -> set[str]:
    """Deployments that have a replica on this node."""
    rows = connection.execute("SELECT DISTINCT deployment_id FROM assignment WHERE node_id = ?", (node_id,))
    return {row[0] for row in rows}


def limits_of_silent(connection: sqlite3.Connection, stale: float) -> dict[str, frozenset[float]]:
    """By node that does not answer: the times after which deployments want to move from there, by default `stale`."""
    # asked every second; CROSS JOIN has it begin at those few nodes, not at all assignments
    rows = connection.execute(
        "SELECT node.id, json_extract(spec, '$.reschedule.after_seconds') AS after FROM node"
        " CROSS JOIN assignment ON node_id = node.id CROSS JOIN deployment ON deployment.id = deployment_id"
        " WHERE node.status = 'unreachable'"
    )
    found: dict[str, set[float]] = {}
    for node_id, after in rows:
        if after is None or after > 0:
            found.setdefault(node_id, set()).add(float(stale if after is None else after))
    return {node_id: frozenset(limits) for node_id, limits in found.items()}


def everything(connection: sqlite3.Connection) -> list[tuple[str, Assignment]]:
    """All assignments with their deployments."""
    return [(row["deployment_id"], assignment_of(row)) for row in connection.execute(JOINED)]


def set_pending(connection: sqlite3.Connection, deployment_id: str, reasons: dict[int, str], now: str) -> None:
    """Replace the list of replicas without a place; one that was there already keeps its time."""
    known = connection.execute("SELECT replica_number, since FROM pending WHERE deployment_id = ?", (deployment_id,))
    had = {row[0]: row[1] for row in known}
    connection.execute("DELETE FROM pending WHERE deployment_id = ?", (deployment_id,))
    rows = [(deployment_id, number, reason, had.get(number, now)) for number, reason in reasons.items()]
    connection.executemany("INSERT INTO pending VALUES (?, ?, ?, ?)", rows)


def pending_of(connection: sqlite3.Connection, deployment_id: str) -> list[Pending]:
    """Replicas without a place, each with its reason."""
    return pending_of_deployments(connection, [deployment_id])[deployment_id]


def pending_of_deployments(connection: sqlite3.Connection, ids: list[str]) -> dict[str, list[Pending]]:
    """The same for several deployments at once, by deployment."""
    marks = ",".join("?" * len(ids))
    sql = f"SELECT * FROM pending WHERE deployment_id IN ({marks}) ORDER BY replica_number"
    found: dict[str, list[Pending]] = {deployment_id: [] for deployment_id in ids}
    for row in connection.execute(sql, ids):
        found[row["deployment_id"]].append(Pending(replica_number=row["replica_number"], reason=row["reason"]))
    return found


def waiting(connection: sqlite3.Connection) -> list[str]:
    """Deployments that have a replica without a place."""
    return [row[0] for row in connection.execute("SELECT DISTINCT deployment_id FROM pending")]
