"""The data of replicas over HTTP: a list, and tars that stream out and in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
from starlette.responses import Response

from fledx.control_plane.api.deployments import ref_of
from fledx.control_plane.api.endpoint import Call
from fledx.control_plane.api.params import PAGING, choice, flag, number, reference, word
from fledx.control_plane.api.replies import model_reply, packed, page_reply
from fledx.control_plane.api.streams import Framing, Pace, Stream
from fledx.control_plane.volumes import Volumes
from fledx.models.archive import MEDIA, failure

VOLUME_FILTERS = (
    *PAGING,
    word("deployment", "only of this one (name, id or its beginning), which may be gone"),
    flag("sizes", "have the nodes measure them, which may take ten seconds"),
)
WHICH = (number("replica", "of this replica; needed where there are several", default=None, least=0),)
HOW = (
    *WHICH,
    choice("mode", "pause or stop the replica meanwhile, or take it as it is (live)", ("pause", "stop", "live")),
)


def _broken(body: dict[str, Any]) -> bytes:
    return failure(str(body.get("error", "")))


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


#: A replica may take its time to stop: until then an error is an error, and not the end of a stream.
PATIENT = Pace(head=20.0)
TAR = Framing(media=MEDIA, idle=b"", fault=_broken)


class VolumeEndpoints:
    """What operators do with volumes."""

    def __init__(self, volumes: Volumes, *, stopping: anyio.Event) -> None:
        self._volumes = volumes
        self._stopping = stopping

    async def page(self, call: Call) -> Response:
        """List where the data of replicas lies, by deployment, replica and volume."""
        query = call.query
        items, total = self._volumes.page(query["deployment"], limit=query["limit"], offset=query["offset"])
        shown = [packed(each) for each in (await self._volumes.measured(items) if query["sizes"] else items)]
        return page_reply(shown, limit=query["limit"], offset=query["offset"], total=total)

    def backup(self, call: Call) -> Stream[bytes]:
        """Back a volume up: a tar, and behind it a block of 512 bytes with its size and digest."""
        query = call.query
        items = self._volumes.backup(
            ref_of(call),
            reference(call.target, "volume"),
            replica=query["replica"],
            mode=query["mode"] or "pause",
            by=call.by,
        )
        return Stream(
            items, lambda piece: piece, TAR, stopping=self._stopping, request_id=call.request_id, pace=PATIENT
        )

    async def restore(self, call: Call) -> Response:
        """Make a backup the content of a volume; nothing is changed before all of it has arrived whole."""
        made = await self._volumes.restore(
            ref_of(call),
            reference(call.target, "volume"),
            replica=call.query["replica"],
            pieces=call.pieces or _nothing(),
            by=call.by,
        )
        return model_reply(made)
