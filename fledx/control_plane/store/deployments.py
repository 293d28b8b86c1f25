"""Deployments: their specs as they are now, and what follows from them."""

from __future__ import annotations

import json
import operator
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from fledx.control_plane.store import revisions
from fledx.control_plane.store.latest import Latest
from fledx.models.codec import decode_lenient, encode
from fledx.models.deployment import DeploymentSpec
from fledx.models.filters import DeploymentFilter


class Stored(NamedTuple):
    """
    A deployment's row; `rollout` is the state that `rollout/` keeps between two looks.

    `wanted` is how many replicas a global deployment has and waits for, `job` what is shown of a job beside its status;
    None for others.
    """

    id: str
    spec: DeploymentSpec
    generation: int
    revision: int
    status: str
    reason: str | None
    ready: int
    rollout: dict[str, Any] | None
    created_at: str
    updated_at: str
    wanted: int | None = None
    job: dict[str, str] | None = None

    def is_extra(self, number: int) -> bool:
        """Whether a replica is one beyond the wanted number, which a rollout started first."""
        return self.spec.mode != "global" and number >= self.spec.replicas


STORED = f"SELECT {', '.join(Stored._fields)} FROM deployment"
_SPECS = Latest[str, DeploymentSpec](operator.eq)
"""By their stored texts: a transaction and the looks after it read the same one; what was just written is known."""


def stored_of(row: sqlite3.Row) -> Stored:
    """A row of `STORED` as facts."""
    id, spec, generation, revision, status, reason, ready, rollout, created_at, updated_at, wanted, job = row
    return Stored(
        id,
        _SPECS.of(id, spec, _decoded),
        generation,
        revision,
        status,
        reason,
        ready,
        None if rollout is None else json.loads(rollout),
        created_at,
        updated_at,
        wanted,
        None if job is None else json.loads(job),
    )


def _decoded(text: str) -> DeploymentSpec:
    return decode_lenient(DeploymentSpec, json.loads(text))


def _packed(deployment_id: str, spec: DeploymentSpec, body: Mapping[str, Any]) -> str:
    """A spec as it is stored; `body` is the same, encoded."""
    text = json.dumps(body, separators=(",", ":"))
    _SPECS.keep(deployment_id, text, spec)
    return text


def insert(connection: sqlite3.Connection, deployment_id: str, spec: DeploymentSpec, by: str, now: str) -> None:
    """A new deployment, generation and revision 1."""
    body = encode(spec)
    connection.execute(
        "INSERT INTO deployment (id, name, spec, generation, revision, status, created_at, updated_at)"
        " VALUES (?, ?, ?, 1, 1, 'pending', ?, ?)",
        (deployment_id, spec.name, _packed(deployment_id, spec, body), now, now),
    )
    revisions.add(connection, deployment_id, 1, body, by, now)


def replica_counts(connection: sqlite3.Connection) -> dict[str, int]:
    """How many replicas of running deployments are wanted, ready, and without a place."""
    sql = (
        "SELECT coalesce(sum(json_extract(spec, '$.replicas')), 0), coalesce(sum(ready), 0)"
        " FROM deployment WHERE json_extract(spec, '$.desired_state') = 'running'"
    )
    wanted, ready = connection.execute(sql).fetchone()
    unplaced = connection.execute("SELECT count(*) FROM pending").fetchone()[0]
    return {"wanted": int(wanted), "ready": int(ready), "unplaced": int(unplaced)}


def on_their_way(connection: sqlite3.Connection) -> list[str]:
    """Deployments whose rollout has not ended, or has never been looked at, or that have a replica left behind."""
    rows = connection.execute(
        "SELECT id FROM deployment WHERE rollout IS NULL OR json_extract(rollout, '$.state') = 'progressing'"
        " UNION SELECT deployment.id FROM deployment JOIN assignment ON deployment_id = deployment.id"
        " WHERE assignment.revision <> deployment.revision"
        " UNION SELECT deployment_id FROM assignment WHERE extra IS NOT NULL OR leaving IS NOT NULL"
        " UNION SELECT deployment_id FROM assignment JOIN node ON node.id = node_id WHERE availability = 'draining'"
    )
    return [row[0] for row in rows]


HEADING = (
    "SELECT id, name, generation, json_extract(spec, '$.desired_state') AS desired_state,"
    " iif(json_extract(spec, '$.mode') = 'job', spec, NULL) AS job FROM deployment"
)


def heading(connection: sqlite3.Connection, deployment_id: str) -> sqlite3.Row:
    """Id, name, generation and desired state of a deployment that exists; `job` is its spec if it is one."""
    row: sqlite3.Row = connection.execute(f"{HEADING} WHERE id = ?", (deployment_id,)).fetchone()
    return row


def headings(connection: sqlite3.Connection, ids: set[str]) -> dict[str, sqlite3.Row]:
    """The same for several, by id."""
    marks = ",".join("?" * len(ids))
    rows = connection.execute(f"{HEADING} WHERE id IN ({marks})", sorted(ids))
    return {row["id"]: row for row in rows}


def globals_that_run(connection: sqlite3.Connection) -> list[str]:
    """Deployments that want a replica on each node that suits."""
    wanted = "json_extract(spec, '$.mode') = 'global' AND json_extract(spec, '$.desired_state') = 'running'"
    return [row[0] for row in connection.execute(f"SELECT id FROM deployment WHERE wanted IS NOT NULL AND {wanted}")]


def names(connection: sqlite3.Connection) -> dict[str, str]:
    """What each deployment is called, by id."""
    return {row[0]: row[1] for row in connection.execute("SELECT id, name FROM deployment")}


def update(
    connection: sqlite3.Connection,
    deployment_id: str,
    spec: DeploymentSpec,
    *,
    generation: int,
    revision: int,
    now: str,
) -> None:
    """Replace a deployment's spec and counters."""
    connection.execute(
        "UPDATE deployment SET name = ?, spec = ?, generation = ?, revision = ?, updated_at = ? WHERE id = ?",
        (spec.name, _packed(deployment_id, spec, encode(spec)), generation, revision, now, deployment_id),
    )


def set_statuses(connection: sqlite3.Connection, found: Iterable[tuple[str, str, str | None, int]]) -> None:
    """Store what follows from assignments and instances: id, status, reason, and how many replicas are ready."""
    rows = [(status, reason, ready, deployment_id) for deployment_id, status, reason, ready in found]
    connection.executemany("UPDATE deployment SET status = ?, reason = ?, ready = ? WHERE id = ?", rows)


def set_mode_facts(
    connection: sqlite3.Connection, deployment_id: str, wanted: int | None, job: dict[str, str] | None
) -> None:
    """Store what follows of that for a global deployment, and for a job."""
    text = None if job is None else json.dumps(job, separators=(",", ":"))
    connection.execute("UPDATE deployment SET wanted = ?, job = ? WHERE id = ?", (wanted, text, deployment_id))


def set_rollout(connection: sqlite3.Connection, deployment_id: str, rollout: dict[str, Any] | None) -> None:
    """Store how far the current revision has got."""
    text = None if rollout is None else json.dumps(rollout, separators=(",", ":"))
    connection.execute("UPDATE deployment SET rollout = ? WHERE id = ?", (text, deployment_id))


def by_id(connection: sqlite3.Connection, deployment_id: str) -> Stored | None:
    """One deployment."""
    row = connection.execute(f"{STORED} WHERE id = ?", (deployment_id,)).fetchone()
    return None if row is None else stored_of(row)


def several(connection: sqlite3.Connection, ids: Collection[str]) -> dict[str, Stored]:
    """Those of these that there are, by id."""
    marks = ",".join("?" * len(ids))
    rows = connection.execute(f"{STORED} WHERE id IN ({marks})", sorted(ids))
    return {row["id"]: stored_of(row) for row in rows}


def id_of_name(connection: sqlite3.Connection, name: str) -> str | None:
    """The id of the deployment called so."""
    row = connection.execute("SELECT id FROM deployment WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def ids_of(connection: sqlite3.Connection, names: Collection[str]) -> dict[str, str]:
    """The ids of the deployments of these names, as far as there are any."""
    marks = ",".join("?" * len(names))
    rows = connection.execute(f"SELECT name, id FROM deployment WHERE name IN ({marks})", sorted(names))
    return {row[0]: row[1] for row in rows}


def with_peers(connection: sqlite3.Connection) -> list[Stored]:
    """Those that must be near or apart from named ones; an index knows them."""
    named = "coalesce(json_extract(spec, '$.placement.near'), json_extract(spec, '$.placement.apart'))"
    return [stored_of(row) for row in connection.execute(f"{STORED} WHERE {named} IS NOT NULL")]


def everyone(connection: sqlite3.Connection) -> list[Stored]:
    """All deployments by name."""
    return [stored_of(row) for row in connection.execute(f"{STORED} ORDER BY name")]


def ids(connection: sqlite3.Connection) -> list[str]:
    """The ids of all deployments."""
    return [row[0] for row in connection.execute("SELECT id FROM deployment")]


def page(
    connection: sqlite3.Connection, wanted: DeploymentFilter, *, limit: int, offset: int
) -> tuple[list[sqlite3.Row], int]:
    """Rows of a page by name, with `replicas` and `desired_state` of the spec, and how many there are in all."""
    where: list[str] = ["1"]
    values: list[Any] = []
    for column in ("status", "name"):
        if (value := getattr(wanted, column)) is not None:
            where.append(f"{column} = ?")
            values.append(value)
    for key, value in (wanted.labels or {}).items():
        where.append("EXISTS (SELECT 1 FROM json_each(deployment.spec, '$.labels') WHERE key = ? AND value = ?)")
        values += [key, value]
    if wanted.node is not None:
        where.append("id IN (SELECT deployment_id FROM assignment WHERE node_id = ?)")
        values.append(wanted.node)
    condition = " AND ".join(where)
    total = connection.execute(f"SELECT count(*) FROM deployment WHERE {condition}", values).fetchone()[0]
    more = (
        "coalesce(wanted, json_extract(spec, '$.replicas')) AS replicas,"
        " json_extract(spec, '$.desired_state') AS desired_state, json_extract(spec, '$.mode') AS mode,"
        " iif(wanted IS NULL AND job IS NULL, NULL,"
        " (SELECT count(*) FROM pending WHERE deployment_id = deployment.id)) AS waiting"
    )
    sql = f"SELECT *, {more} FROM deployment WHERE {condition} ORDER BY name LIMIT ? OFFSET ?"
    return connection.execute(sql, (*values, limit, offset)).fetchall(), total


def delete(connection: sqlite3.Connection, deployment_id: str) -> None:
    """Remove a deployment with its revisions, assignments and pending replicas."""
    connection.execute("DELETE FROM deployment WHERE id = ?", (deployment_id,))


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """How many deployments there are of each status."""
    return {row[0]: row[1] for row in connection.execute("SELECT status, count(*) FROM deployment GROUP BY status")}
