"""What happened, over HTTP: a page of it, or a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import anyio
from starlette.responses import Response

from fledx.control_plane.api.endpoint import Answer, Call
from fledx.control_plane.api.params import flag, moment, number, word
from fledx.control_plane.api.replies import dumped, packed, reply
from fledx.control_plane.api.streams import EVENTS, Stream, sent
from fledx.control_plane.events import EventFilter, Events
from fledx.errors import InvalidSpec
from fledx.models.check import shown
from fledx.models.event import Event

PAGE = 50
EVENT_FILTERS = (
    number("limit", "how many at most; of a stream: how many of the newest first", default=None, least=0, most=500),
    number("after", "only those with a higher number; without it the newest", default=None, least=0),
    moment("since", "only those from this time on, RFC 3339, or so long ago: 90s, 10m, 2h"),
    word("deployment", "only those about this deployment (name, id or its beginning)"),
    word("node", "only those about this node"),
    word("kind", "only this kind, or all below it: `replica` is `replica.*`"),
    flag("follow", "go on with what happens from now on, as server-sent events"),
)
RESUMED = {"Last-Event-ID": "number of the last event that was seen, when a stream is taken up again"}


@dataclass(frozen=True, kw_only=True)
class EventPage:
    """Events, the newest last."""

    limit: int
    after: int
    items: tuple[Event, ...]


class EventEndpoints:
    """The stored reasons."""

    def __init__(self, events: Events, *, stopping: anyio.Event) -> None:
        self._events = events
        self._stopping = stopping

    def read(self, call: Call) -> Answer:
        """List events, the newest last; with `follow`, or where text/event-stream is accepted, go on with new ones."""
        query = call.query
        after, resumed = _after(call)
        wanted = EventFilter(
            deployment=query["deployment"],
            node=query["node"],
            kind=query["kind"],
            since=None if resumed else query["since"],
        )
        if query["follow"] or EVENTS.media in call.headers.get("accept", ""):
            items = self._following(wanted, after, query["limit"] or 0)
            return Stream(items, _written, EVENTS, stopping=self._stopping, request_id=call.request_id)
        limit = PAGE if query["limit"] is None else query["limit"]
        # 0 means the newest to the use case, so that all from the first on are those after -1.
        found = self._events.page(wanted, after=0 if after is None else after or -1, limit=limit)
        return _page(found, limit=limit, after=after or 0)

    async def _following(self, wanted: EventFilter, after: int | None, newest: int) -> AsyncGenerator[Event, None]:
        """The `newest` so many first where the reader named no number to go on from, then what comes."""
        if after is None and newest:
            found = self._events.page(wanted, after=0, limit=newest)
            for event in found:
                yield event
            after = found[-1].id if found else 0
        async with aclosing(self._events.follow(wanted, after=after)) as coming:
            async for event in coming:
                yield event


def _after(call: Call) -> tuple[int | None, bool]:
    """
    The number to go on from, and whether a broken stream goes on.

    What is asked for again then has the same text, but `10m` ago is later by now: nothing between may be lost.
    """
    given = call.headers.get("last-event-id", "")
    if not given:
        return call.query["after"], False
    if not given.isdecimal() or len(given) > 18:
        raise InvalidSpec("header.Last-Event-ID", f"{shown(given)} is not the number of an event")
    return int(given), True


def _page(found: list[Event], *, limit: int, after: int) -> Response:
    items = b",".join([packed(event) for event in found])
    return reply(b'{"limit":%d,"after":%d,"items":[%s]}' % (limit, after, items))


def _written(event: Event) -> bytes:
    return sent(dumped(packed(event)), number=event.id)
