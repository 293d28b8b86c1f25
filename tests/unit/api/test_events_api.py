"""Events over HTTP."""

from __future__ import annotations

import time

import pytest

from fledx.control_plane.events import EventFilter
from fledx.errors import LimitExceeded
from fledx.models.moment import stamp
from tests.unit.api.site import Site

pytestmark = pytest.mark.anyio
EVENTS = "/api/v1/events"


async def test_the_newest_events_come_last(site: Site) -> None:
    for kind in ("a", "b", "c"):
        site.events.happen(kind)

    page = (await site.call("GET", f"{EVENTS}?limit=2")).json()

    assert (page["limit"], page["after"], [item["kind"] for item in page["items"]]) == (2, 0, ["b", "c"])


async def test_all_from_the_first_on_can_be_read_in_pages(site: Site) -> None:
    for kind in ("a", "b", "c"):
        site.events.happen(kind)

    first = (await site.call("GET", f"{EVENTS}?after=0&limit=2")).json()["items"]
    second = (await site.call("GET", f"{EVENTS}?after={first[-1]['id']}&limit=2")).json()["items"]

    assert [item["kind"] for item in (*first, *second)] == ["a", "b", "c"]


async def test_events_are_narrowed(site: Site) -> None:
    await site.call("GET", f"{EVENTS}?deployment=web&node=edge-1&kind=replica")

    wanted = site.events.wanted
    assert wanted is not None
    assert (wanted.deployment, wanted.node, wanted.kind) == ("web", "edge-1", "replica")


async def test_a_time_is_given_as_such_or_by_how_long_ago(site: Site) -> None:
    await site.call("GET", f"{EVENTS}?since=2026-11-25T12:00:00%2B02:00")
    assert site.events.wanted == EventFilter(since="2026-11-25T12:00:00+02:00")

    before = time.time()
    await site.call("GET", f"{EVENTS}?since=10m")
    wanted = site.events.wanted
    assert wanted is not None
    assert wanted.since is not None
    assert stamp(before - 600) <= wanted.since <= stamp(time.time() - 600)


async def test_a_time_that_is_none_is_refused(site: Site) -> None:
    answer = await site.call("GET", f"{EVENTS}?since=yesterday")

    assert (answer.status, answer.json()["problems"][0]["path"]) == (400, "query.since")


async def test_a_stream_that_is_taken_up_again_does_not_begin_at_its_time_anew(site: Site) -> None:
    """`10m` ago is later by then, and what happened between would be lost."""
    site.events.happen("a")
    site.events.happen("b")

    async with site.call.reading(f"{EVENTS}?follow&since=10m", headers={"last-event-id": "1"}) as reading:
        found = await reading.until(b"id: 2")

    assert found.startswith(b"id: 2\n")
    assert site.events.wanted == EventFilter()


@pytest.mark.parametrize("how", ["follow=true", "accept"])
async def test_following_tells_what_happens_from_now_on_with_numbers(site: Site, how: str) -> None:
    site.events.happen("old")
    headers = {"accept": "text/event-stream"} if how == "accept" else {}

    async with site.call.reading(f"{EVENTS}?{'' if headers else how}", headers=headers) as reading:
        site.events.happen("new")
        found = await reading.until(b"\n\n")
        while b"data" not in found:
            found = await reading.until(b"\n\n")

    assert found.startswith(b'id: 2\ndata: {"id":2,')
    assert b'"kind":"new"' in found


async def test_following_may_begin_with_the_newest(site: Site) -> None:
    for kind in ("a", "b", "c"):
        site.events.happen(kind)

    async with site.call.reading(f"{EVENTS}?follow&limit=2") as reading:
        found = await reading.until(b"id: 3")
        site.events.happen("d")
        found += await reading.until(b"id: 4")

    assert b"id: 1" not in found
    assert b"id: 2" in found
    assert found.count(b"data:") == 3


@pytest.mark.parametrize("how", ["last-event-id", "after"])
async def test_a_stream_is_taken_up_where_it_broke(site: Site, how: str) -> None:
    for kind in ("a", "b", "c"):
        site.events.happen(kind)
    headers = {"last-event-id": "1"} if how == "last-event-id" else {}

    async with site.call.reading(f"{EVENTS}?follow{'' if headers else '&after=1'}", headers=headers) as reading:
        found = await reading.until(b"id: 3")

    assert found.startswith(b"id: 2\n")


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "9" * 40, "²"])
async def test_a_last_event_id_that_is_none_is_refused(site: Site, given: str) -> None:
    answer = await site.call("GET", EVENTS, headers={"last-event-id": given})

    assert (answer.status, answer.json()["problems"][0]["path"]) == (400, "header.Last-Event-ID")


async def test_a_stream_that_fails_says_so_as_its_last_event(site: Site) -> None:
    site.events.happen("a")
    site.events.failure = LimitExceeded("this reader is too slow")

    answer = await site.call("GET", f"{EVENTS}?follow&after=0")

    assert answer.status == 200
    assert b'event: error\ndata: {"error":"this reader is too slow"' in answer.body
