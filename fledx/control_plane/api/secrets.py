"""Secrets over HTTP: values go in, and never come out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from fledx.control_plane.api.endpoint import Call
from fledx.control_plane.api.params import PAGING, flag, reference
from fledx.control_plane.api.replies import model_reply, nothing, page_reply
from fledx.control_plane.secrets import Secrets
from fledx.errors import InvalidSpec

SECRET_FILTERS = PAGING
FORCE = (flag("force", "even while deployments use it: they keep the value they have, their next change waits"),)
RAW = "value_base64"


@dataclass(frozen=True, kw_only=True)
class SecretInput:
    """A value as text or in base64; a body of the type application/octet-stream is the value itself."""

    value: str | None = field(default=None, repr=False)
    value_base64: str | None = field(default=None, repr=False)


class SecretEndpoints:
    """What operators do with secrets."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def page(self, call: Call) -> Response:
        """List secrets by name, without their values."""
        limit, offset = call.query["limit"], call.query["offset"]
        items, total = self._secrets.page(limit=limit, offset=offset)
        return page_reply(items, limit=limit, offset=offset, total=total)

    def get(self, call: Call) -> Response:
        """Show a secret without its value: its version, and who uses it."""
        return model_reply(self._secrets.get(reference(call.ref, "secret")))

    async def put(self, call: Call) -> Response:
        """Keep a value under a name; 201 when it is new. With another value than before, who uses it rolls."""
        made, new = await self._secrets.put(reference(call.ref, "secret"), value_of(call.body), by=call.by)
        return model_reply(made, status=201 if new else 200)

    async def delete(self, call: Call) -> Response:
        """Delete a secret; 409 while deployments use it, unless forced."""
        await self._secrets.delete(reference(call.ref, "secret"), force=call.query["force"], by=call.by)
        return nothing()


def value_of(body: Mapping[str, Any]) -> bytes:
    """The value in a body; by hand, for the refusals of the codec show what was wrong."""
    problems = [(key[:60], "is not a known field") for key in body if key not in ("value", RAW)]
    given = {key: value for key, value in body.items() if value is not None}
    problems += [(key, "is not a text") for key, value in given.items() if not isinstance(value, str)]
    if not problems and len(given) != 1:
        problems.append(("", f"either value or {RAW} has to be there"))
    if problems:
        raise InvalidSpec.of(problems)
    if "value" in given:
        return str(given["value"]).encode()
    try:
        return base64.b64decode(given[RAW], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidSpec(RAW, "is not base64") from None
