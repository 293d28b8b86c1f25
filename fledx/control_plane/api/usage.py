"""Usage over HTTP."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from fledx.control_plane.api.endpoint import Call
from fledx.control_plane.api.params import PAGING, moment, number, word
from fledx.control_plane.api.replies import page_reply
from fledx.control_plane.usage import UsageFilter, UsageHistory
from fledx.errors import InvalidSpec

USAGE_FILTERS = (
    *PAGING,
    word("deployment", "of this deployment (name, id or its beginning)"),
    word("node", "on this node"),
    number("replica", "of this replica", default=None, least=0),
    moment("since", "from this time on, or so long ago [1h]"),
    moment("until", "up to this time, or so long ago [now]"),
    word("deployment_id", "the same as deployment"),
    word("node_id", "the same as node"),
    number("replica_number", "the same as replica", default=None, least=0),
)


class UsageEndpoints:
    """What replicas used."""

    def __init__(self, usage: UsageHistory) -> None:
        self._usage = usage

    async def page(self, call: Call) -> Response:
        """List what replicas used, minute by minute, the newest first; of a deployment, a node or both."""
        limit, offset = call.query["limit"], call.query["offset"]
        wanted = UsageFilter(
            deployment=_either(call, "deployment", "deployment_id"),
            node=_either(call, "node", "node_id"),
            replica_number=_either(call, "replica", "replica_number"),
            since=call.query["since"],
            until=call.query["until"],
        )
        items, total = await self._usage.page(wanted, limit=limit, offset=offset)
        return page_reply(items, limit=limit, offset=offset, total=total)


def _either(call: Call, name: str, other: str) -> Any:
    """One value under our name or fledx-core's."""
    ours, theirs = call.query[name], call.query[other]
    if ours is not None and theirs is not None and ours != theirs:
        raise InvalidSpec(f"query.{other}", f"differs from {name}, and both mean the same")
    return theirs if ours is None else ours
