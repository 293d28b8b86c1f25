"""Registries' logins over HTTP: passwords go in, and never come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from fledx.control_plane.api.endpoint import Call
from fledx.control_plane.api.params import PAGING, reference
from fledx.control_plane.api.replies import model_reply, nothing, page_reply
from fledx.control_plane.registries import Registries
from fledx.errors import InvalidSpec
from fledx.models.registry import RegistryLogin

REGISTRY_FILTERS = PAGING


@dataclass(frozen=True, kw_only=True)
class LoginInput:
    """Who one is at a registry."""

    username: str
    password: str = field(repr=False)


class RegistryEndpoints:
    """What operators do with registries."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries

    def page(self, call: Call) -> Response:
        """List registries by host, without their passwords."""
        limit, offset = call.query["limit"], call.query["offset"]
        items, total = self._registries.page(limit=limit, offset=offset)
        return page_reply(items, limit=limit, offset=offset, total=total)

    def get(self, call: Call) -> Response:
        """Show a registry's login without its password: whose it is, and which deployments pull from there."""
        return model_reply(self._registries.get(reference(call.ref, "registry")))

    async def put(self, call: Call) -> Response:
        """Keep the login of a registry; 201 when it is new. It counts from the next pull on and restarts nothing."""
        login = login_of(reference(call.ref, "registry"), call.body)
        made, new = await self._registries.put(login, by=call.by)
        return model_reply(made, status=201 if new else 200)

    async def delete(self, call: Call) -> Response:
        """Forget the login of a registry; containers keep running."""
        await self._registries.delete(reference(call.ref, "registry"), by=call.by)
        return nothing()


def login_of(host: str, body: Mapping[str, Any]) -> RegistryLogin:
    """The login in a body; by hand, for the refusals of the codec show what was wrong."""
    problems = [(key[:60], "is not a known field") for key in body if key not in ("username", "password")]
    for name in ("username", "password"):
        if body.get(name) is None:
            problems.append((name, "is missing"))
        elif not isinstance(body[name], str):
            problems.append((name, "is not a text"))
    if problems:
        raise InvalidSpec.of(problems)
    return RegistryLogin(host=host, username=body["username"], password=body["password"])
