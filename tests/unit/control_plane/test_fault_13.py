"""All agents reconnect at once, and operators go on (fault 13); the tunnel's part is in `tests/unit/tunnel`."""

from __future__ import annotations

import sqlite3
import threading

import anyio
import pytest

from tests.unit.control_plane.conftest import Stage

pytestmark = pytest.mark.anyio

NODES = 50


async def test_fault_13_what_an_operator_writes_does_not_wait_behind_all_who_come_back(stage: Stage) -> None:
    written: list[str] = []
    may_go_on = threading.Event()

    async def write(word: str, *, durable: bool) -> None:
        def work(sql: sqlite3.Connection) -> None:
            may_go_on.wait()
            written.append(word)

        await stage.store.write(work, durable=durable)

    async with anyio.create_task_group() as tasks:
        for number in range(NODES):
            tasks.start_soon(lambda word: write(word, durable=False), f"node {number}")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(lambda: write("operator", durable=True))
        await anyio.wait_all_tasks_blocked()
        may_go_on.set()

    nodes = [f"node {number}" for number in range(NODES)]
    assert written == [nodes[0], "operator", *nodes[1:]]
