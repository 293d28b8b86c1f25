"""Which deployment serves a host and path: at most one each, kept so by the table's own key."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from fledx.models.ingress import IngressRule


def taken(connection: sqlite3.Connection, rules: Iterable[IngressRule], but: str) -> tuple[IngressRule, str] | None:
    """The first rule that another deployment than `but` has claimed, with that one's name."""
    sql = (
        "SELECT name FROM ingress_claim JOIN deployment ON id = deployment_id"
        " WHERE host = ? AND path_type = ? AND path = ? AND deployment_id <> ?"
    )
    for rule in rules:
        row = connection.execute(sql, (*rule.claim, but)).fetchone()
        if row is not None:
            return rule, row["name"]
    return None


def put(connection: sqlite3.Connection, deployment_id: str, rules: Iterable[IngressRule]) -> None:
    """Give a deployment these claims and no others; those of a deleted one go with it."""
    connection.execute("DELETE FROM ingress_claim WHERE deployment_id = ?", (deployment_id,))
    rows = [(*rule.claim, deployment_id) for rule in rules]
    connection.executemany("INSERT INTO ingress_claim VALUES (?, ?, ?, ?)", rows)


def everything(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Each host that is claimed, with the name of the deployment."""
    sql = "SELECT DISTINCT host, name FROM ingress_claim JOIN deployment ON id = deployment_id ORDER BY host, name"
    return [(row[0], row[1]) for row in connection.execute(sql)]
