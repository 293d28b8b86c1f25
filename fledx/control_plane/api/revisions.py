"""A deployment's revisions over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from fledx.control_plane.api.deployments import if_match, ref_of, whole
from fledx.control_plane.api.endpoint import Call
from fledx.control_plane.api.replies import page_reply
from fledx.control_plane.revisions import Revisions
from fledx.models.check import Faults
from fledx.models.codec import decode


@dataclass(frozen=True, kw_only=True)
class RollbackRequest:
    """Where to go back to; null is the last good revision before the present one."""

    to: int | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        if self.to is not None and not 1 <= self.to < 2**53:
            faults.add("to", f"{self.to} is not a revision's number")
        faults.settle()


class RevisionEndpoints:
    """History, and the ways back."""

    def __init__(self, revisions: Revisions) -> None:
        self._revisions = revisions

    def page(self, call: Call) -> Response:
        """List the revisions of a deployment, newest first: when, by whom, what changed, what became of it."""
        limit, offset = call.query["limit"], call.query["offset"]
        items, total = self._revisions.page(ref_of(call), limit=limit, offset=offset)
        return page_reply(items, limit=limit, offset=offset, total=total)

    async def rollback(self, call: Call) -> Response:
        """Go back to an earlier revision, step by step."""
        to, generation = decode(RollbackRequest, call.body).to, if_match(call.headers)
        return whole(await self._revisions.rollback(ref_of(call), by=call.by, to=to, generation=generation))

    async def restart(self, call: Call) -> Response:
        """Replace all containers by new ones of the same template, step by step."""
        return whole(await self._revisions.restart(ref_of(call), by=call.by, generation=if_match(call.headers)))
