"""Everything as it is now, and then whatever changes: what a live view is fed with."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

import anyio

from fledx.control_plane.bell import Bell
from fledx.control_plane.changes import OVERVIEW
from fledx.control_plane.listing import deployment_item, node_item
from fledx.control_plane.store import assignments, deployments, nodes
from fledx.control_plane.store.database import Database
from fledx.models.filters import DeploymentFilter, NodeFilter

ALL = 1_000_000
SLICE = 1000
GATHER_SECONDS = 0.1
REST = 10.0
"""A look at everything is followed by ten times as long a rest, so that watchers never take more than a tenth."""
SEEN = re.compile(rb',"last_seen":"[^"]*"')
Items = Mapping[str, bytes]


class Watching:
    """
    Looks at nodes and deployments for one watcher at a time, whenever something has changed.

    `problems` are sentences about what else needs attention; it is asked in the loop.
    """

    def __init__(
        self, store: Database, bell: Bell, public_host: str | None, *, problems: Callable[[], Sequence[str]]
    ) -> None:
        self._store = store
        self._bell = bell
        self._public_host = public_host
        self._problems = problems

    async def follow(self) -> AsyncGenerator[tuple[str, bytes], None]:
        """
        Pairs of a word and JSON, for ever.

        First a `node` and a `deployment`, as lists show them, for each there is, `problems` if there are any, and one
        `whole`; then those that are new or differ, and `gone` with `{"id"}`. That a node is alive is no difference:
        `last_seen` comes along with others only.
        """
        known: Items = {}
        told: list[str] = []
        first = True
        with self._bell.listen(OVERVIEW) as ear:
            while True:
                began = time.monotonic()
                found = await self._store.read_far(self._look)
                for change in differences(known, found):
                    yield change
                if (problems := list(self._problems())) != told:
                    told = problems
                    yield "problems", json.dumps({"problems": told}).encode()
                if first:
                    yield "whole", b"{}"
                known, first = found, False
                rest = max(GATHER_SECONDS, REST * (time.monotonic() - began))
                await ear.wait()
                await anyio.sleep(rest)

    def _look(self, sql: sqlite3.Connection) -> Items:
        rows, _ = nodes.page(sql, NodeFilter(), limit=ALL, offset=0)
        found = {f"node {row['id']}": node_item(row) for row in rows}
        rows, _ = deployments.page(sql, DeploymentFilter(), limit=ALL, offset=0)
        for start in range(0, len(rows), SLICE):
            some = rows[start : start + SLICE]
            owners = assignments.rows_of_deployments(sql, [row["id"] for row in some])
            for row in some:
                found[f"deployment {row['id']}"] = deployment_item(row, owners[row["id"]], self._public_host)
        return found


def differences(known: Items, found: Items) -> list[tuple[str, bytes]]:
    """What to tell one who knows the first of the second; ids are UUIDs, which need no escaping in JSON."""
    changed = [
        (key.partition(" ")[0], item)
        for key, item in found.items()
        if SEEN.sub(b"", known.get(key, b"")) != SEEN.sub(b"", item)
    ]
    gone = [("gone", b'{"id":"%s"}' % key.partition(" ")[2].encode()) for key in known if key not in found]
    return [*changed, *gone]
