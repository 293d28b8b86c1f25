"""What happened, read from a time on and followed."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest

from fledx.control_plane.events import EventFilter
from fledx.control_plane.store import events as table
from fledx.models.event import Event
from fledx.models.moment import stamp
from fledx.models.node import NodeFacts
from tests.builders import facts
from tests.unit.control_plane.conftest import Stage

pytestmark = pytest.mark.anyio
LIMIT = 60.0


async def joined(stage: Stage, *ages: int) -> float:
    """A node joins so many seconds ago each, the oldest first; returns the present."""
    now = stage.now
    for age in ages:
        stage.now = now - age
        await stage.nodes.register(node(age), by="test")
    stage.now = now
    return now


def node(age: int) -> NodeFacts:
    """It is called after its age."""
    return facts(name=f"node-{age}", host_key=f"key-{age}")


def since(seconds: float) -> EventFilter:
    return EventFilter(kind="node.registered", since=stamp(seconds))


def subjects(found: list[Event]) -> list[str]:
    return [event.subject for event in found]


async def test_only_what_happened_from_a_time_on_is_told(stage: Stage) -> None:
    now = await joined(stage, 7200, 3600, 600, 60)
    for age, count in ((10_000, 4), (7200, 4), (7199, 3), (3600, 3), (600, 2), (599, 1), (60, 1), (59, 0)):
        names = [f"node-{each}" for each in (7200, 3600, 600, 60)[4 - count :]]
        assert names == subjects(stage.events.page(since(now - age)))
        assert names == subjects(stage.events.page(since(now - age), after=-1))


async def test_nothing_has_happened_since_any_time_where_nothing_ever_has(stage: Stage) -> None:
    assert stage.events.page(EventFilter(since=stamp(0))) == []


async def test_the_newest_since_then_are_told_and_a_number_narrows_further(stage: Stage) -> None:
    now = await joined(stage, 7200, 3600, 600, 60)
    assert ["node-60"] == subjects(stage.events.page(since(now - 3600), limit=1))
    first = stage.events.page(since(now - 3600), after=-1, limit=1)
    assert ["node-3600"] == subjects(first)
    assert ["node-600", "node-60"] == subjects(stage.events.page(since(now - 3600), after=first[0].id))


async def test_a_time_with_an_offset_is_the_moment_that_it_means(stage: Stage) -> None:
    await joined(stage, 600, 60)
    a_minute_ago = EventFilter(kind="node.registered", since="2025-11-25T13:59:00+02:00")
    assert stamp(stage.now) == "2025-11-25T12:00:00.000Z"
    assert ["node-60"] == subjects(stage.events.page(a_minute_ago))


async def test_numbers_that_were_forgotten_are_stepped_over(stage: Stage) -> None:
    now = await joined(stage, 7200, 3600, 600, 60)
    await stage.store.write(lambda sql: table.prune(sql, stamp(now - 7000)))
    await stage.store.write(lambda sql: sql.execute("DELETE FROM event WHERE subject = 'node-600'"))
    assert ["node-3600", "node-60"] == subjects(stage.events.page(since(now - 3600)))
    assert ["node-60"] == subjects(stage.events.page(since(now - 3000)))


async def test_following_begins_at_a_time_and_goes_on(stage: Stage) -> None:
    now = await joined(stage, 7200, 600)
    found = []
    with anyio.fail_after(LIMIT):
        async with aclosing(stage.events.follow(since(now - 3600), after=None)) as coming:
            found.append((await anext(coming)).subject)
            await stage.nodes.register(node(0), by="test")
            found.append((await anext(coming)).subject)
    assert ["node-600", "node-0"] == found


async def test_what_is_followed_from_a_time_to_come_begins_then(stage: Stage) -> None:
    heard: list[str] = []
    async with anyio.create_task_group() as tasks:

        async def listen() -> None:
            async for event in stage.events.follow(since(stage.now + 60), after=None):
                heard.append(event.subject)
                tasks.cancel_scope.cancel()

        tasks.start_soon(listen)
        await anyio.wait_all_tasks_blocked()
        await stage.node("too-early")
        stage.now += 120
        await stage.node("in-time")
        with anyio.fail_after(60):
            await anyio.sleep_forever()
    assert ["in-time"] == heard
