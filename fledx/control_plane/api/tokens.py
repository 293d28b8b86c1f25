"""Operators' tokens over HTTP."""

from __future__ import annotations

from starlette.responses import Response

from fledx.control_plane.api.endpoint import Call
from fledx.control_plane.api.params import PAGING, reference
from fledx.control_plane.api.replies import model_reply, nothing, page_reply
from fledx.control_plane.trust.operator_tokens import NewToken, OperatorTokens
from fledx.models.codec import decode

TOKEN_FILTERS = PAGING


class TokenEndpoints:
    """What admins do with operators' tokens."""

    def __init__(self, tokens: OperatorTokens) -> None:
        self._tokens = tokens

    def page(self, call: Call) -> Response:
        """List the tokens that were made here, without the tokens themselves, revoked ones last."""
        limit, offset = call.query["limit"], call.query["offset"]
        items, total = self._tokens.page(limit=limit, offset=offset)
        return page_reply(items, limit=limit, offset=offset, total=total)

    async def create(self, call: Call) -> Response:
        """Make a token with a role; it is shown this once."""
        return model_reply(await self._tokens.create(decode(NewToken, call.body), by=call.by), status=201)

    async def revoke(self, call: Call) -> Response:
        """Revoke a token; one that is revoked already stays so."""
        await self._tokens.revoke(reference(call.ref, "token"), by=call.by)
        return nothing()
