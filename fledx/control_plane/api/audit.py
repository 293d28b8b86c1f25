"""The audit log over HTTP, and what requests are called in it."""

from __future__ import annotations

from starlette.responses import Response

from fledx.control_plane.api.endpoint import Call
from fledx.control_plane.api.params import PAGING, choice, moment, number, word
from fledx.control_plane.api.replies import model_reply, page_reply
from fledx.control_plane.audit import AuditFilter, AuditLog
from fledx.models.audit import RESULTS

AUDIT_FILTERS = (
    *PAGING,
    word("action", "only this action, or all below it: `deployment` is `deployment.*`"),
    word("resource_type", "only about things of this kind, such as deployment, config or node"),
    word("resource_id", "only about the thing of this id"),
    word("name", "only about things of this name"),
    word("operator", "only what was done with the token of this name"),
    choice("status", "only what was done, or only what was not", RESULTS),
    moment("since", "from this time on, or so long ago"),
    moment("until", "up to this time, or so long ago"),
    number("after", "only lines with a higher number, oldest first", default=None, least=0),
)


class AuditEndpoints:
    """Who did what."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    async def page(self, call: Call) -> Response:
        """List who did what, the newest first; with `after`, what came after a line, oldest first."""
        query = call.query
        words = ("action", "resource_type", "resource_id", "operator", "status", "since", "until", "after")
        wanted = AuditFilter(resource_name=query["name"], **{name: query[name] for name in words})
        items, total = await self._audit.page(wanted, limit=query["limit"], offset=query["offset"])
        return page_reply(items, limit=query["limit"], offset=query["offset"], total=total)

    async def verify(self, call: Call) -> Response:
        """Check that no line of the audit log was changed, removed or put in between."""
        return model_reply(await self._audit.verify())
