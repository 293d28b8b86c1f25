"""Configs over HTTP, with fledx-core's paths and shapes."""

from __future__ import annotations

from starlette.responses import Response

from fledx.control_plane.api.endpoint import Call
from fledx.control_plane.api.params import PAGING, number, reference, word
from fledx.control_plane.api.replies import model_reply, page_reply
from fledx.control_plane.configs import Configs
from fledx.models.codec import decode
from fledx.models.config import ConfigSpec

CONFIG_FILTERS = (*PAGING, word("name", "only the one of this name"))
REPLICA = (number("replica", "the replica whose node counts", default=0, least=0),)


class ConfigEndpoints:
    """What operators do with configs."""

    def __init__(self, configs: Configs) -> None:
        self._configs = configs

    def page(self, call: Call) -> Response:
        """List configs, the last changed first, with how much is in them."""
        limit, offset = call.query["limit"], call.query["offset"]
        items, total = self._configs.page(name=call.query["name"], limit=limit, offset=offset)
        return page_reply(items, limit=limit, offset=offset, total=total)

    async def create(self, call: Call) -> Response:
        """Create a config: variables and files under a name."""
        made = await self._configs.create(decode(ConfigSpec, call.body), by=call.by)
        return model_reply(made, status=201, headers={"location": f"/api/v1/configs/{made.metadata.config_id}"})

    def get(self, call: Call) -> Response:
        """Show a config and what it is attached to."""
        return model_reply(self._configs.get(_ref(call)))

    async def put(self, call: Call) -> Response:
        """Change a config: entries and files are replaced as a whole where given; who uses it rolls."""
        return model_reply(await self._configs.update(_ref(call), call.body, by=call.by))

    async def delete(self, call: Call) -> Response:
        """Delete a config; it is detached everywhere, and who used it rolls."""
        return model_reply(await self._configs.delete(_ref(call), by=call.by))

    async def attach_deployment(self, call: Call) -> Response:
        """Attach a config to a deployment, which rolls; one that is attached already stays as it is."""
        return await self._attach(call, "deployment")

    async def attach_node(self, call: Call) -> Response:
        """Attach a config to a node; what runs there rolls."""
        return await self._attach(call, "node")

    async def detach_deployment(self, call: Call) -> Response:
        """Detach a config from a deployment, which rolls; one that is not attached is fine."""
        return model_reply(await self._configs.detach(_ref(call), "deployment", _target(call), by=call.by))

    async def detach_node(self, call: Call) -> Response:
        """Detach a config from a node; what runs there rolls."""
        return model_reply(await self._configs.detach(_ref(call), "node", _target(call), by=call.by))

    async def _attach(self, call: Call, kind: str) -> Response:
        made, new = await self._configs.attach(_ref(call), kind, _target(call), by=call.by)
        return model_reply(made, status=201 if new else 200)

    def environment(self, call: Call) -> Response:
        """Show where each variable and file of a replica comes from, values masked."""
        found = self._configs.environment(reference(call.ref, "deployment"), call.query["replica"])
        return model_reply(found)


def _ref(call: Call) -> str:
    return reference(call.ref, "config")


def _target(call: Call) -> str:
    return reference(call.target, "deployment or node")
