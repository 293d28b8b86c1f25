"""Everything over HTTP as it changes, for live views."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from fledx.control_plane.api.endpoint import Call
from fledx.control_plane.api.streams import EVENTS, Stream
from fledx.control_plane.watching import Watching


@dataclass(frozen=True, kw_only=True)
class Gone:
    """What was shown before and is no more."""

    id: str


class WatchEndpoints:
    """One stream instead of many looks."""

    def __init__(self, watching: Watching, *, stopping: anyio.Event) -> None:
        self._watching = watching
        self._stopping = stopping

    def watch(self, call: Call) -> Stream[tuple[str, bytes]]:
        """
        Follow everything: `node` and `deployment` as lists show them, `whole`, then changes; `gone` has an id.

        `problems` has all sentences about what else needs attention, and comes again when they change.
        """
        return Stream(self._watching.follow(), _written, EVENTS, stopping=self._stopping, request_id=call.request_id)


def _written(change: tuple[str, bytes]) -> bytes:
    kind, body = change
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), body)
