"""Deployments over HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import anyio
from starlette.responses import Response

from fledx.control_plane.api.endpoint import Call
from fledx.control_plane.api.params import LABELS, PAGING, choice, flag, reference, word
from fledx.control_plane.api.replies import model_reply, nothing, packed, page_reply, reply
from fledx.control_plane.api.streams import EVENTS, NEWEST_ONLY, Stream, sent
from fledx.control_plane.deployments import Deployments
from fledx.errors import InvalidSpec
from fledx.models.check import shown
from fledx.models.codec import decode, encode
from fledx.models.deployment import STATUSES, Deployment, DeploymentSpec
from fledx.models.filters import DeploymentFilter

DEPLOYMENT_FILTERS = (
    *PAGING,
    choice("status", "only those with this status", STATUSES),
    word("name", "only the one of this name"),
    LABELS,
    word("node", "only those with a replica on this node (name, id or its beginning)"),
)
CREATE = (
    flag("dry_run", "answer what would be done, with the reasons, and do nothing"),
    word("config", "attach this config (name, id or its beginning) at once; may be repeated", many=True),
)
DROPPING = (flag("volumes", "delete the data in its volumes by name, too"),)
MATCHED = {"If-Match": "generation the change was made for; 409 when it has moved on"}
KEYED = {"Idempotency-Key": "1 to 255 printable characters; a repeated create with it has one effect"}
KEY = re.compile(r"[\x20-\x7e]{1,255}")
ETAG = re.compile(r'(W/)?"?([0-9]{1,18})"?')


@dataclass(frozen=True, kw_only=True)
class Created(Deployment):
    """A deployment just made; the ids of its nodes once more, for programs written for fledx-core."""

    assigned_node_ids: tuple[str, ...] = ()


class DeploymentEndpoints:
    """What operators do with deployments."""

    def __init__(self, deployments: Deployments, *, stopping: anyio.Event) -> None:
        self._deployments = deployments
        self._stopping = stopping

    def page(self, call: Call) -> Response:
        """List deployments by name, without their instances."""
        query = call.query
        wanted = DeploymentFilter(
            status=query["status"], name=query["name"], labels=dict(query["label"]), node=query["node"]
        )
        items, total = self._deployments.page(wanted, limit=query["limit"], offset=query["offset"])
        return page_reply(items, limit=query["limit"], offset=query["offset"], total=total)

    async def create(self, call: Call) -> Response:
        """Create a deployment; one that cannot be placed yet is accepted and says why it is pending."""
        key = idempotency_key(call.headers)
        spec = decode(DeploymentSpec, call.body)
        configs = call.query["config"]
        if call.query["dry_run"]:
            return _created(await self._deployments.preview(spec, by=call.by, configs=configs), status=200)
        made = await self._deployments.create(spec, by=call.by, idempotency_key=key, configs=configs)
        return _created(made, status=201)

    def get(self, call: Call) -> Response:
        """Show a deployment: its spec, where it runs, what was observed, and why it is not simply running."""
        return whole(self._deployments.get(ref_of(call)))

    async def patch(self, call: Call) -> Response:
        """Change some fields: null leaves a field as it is, an empty list or object clears it."""
        generation = if_match(call.headers)
        return whole(await self._deployments.patch(ref_of(call), call.body, by=call.by, generation=generation))

    async def put(self, call: Call) -> Response:
        """Replace the whole spec."""
        generation = if_match(call.headers)
        spec = decode(DeploymentSpec, call.body)
        return whole(await self._deployments.replace(ref_of(call), spec, by=call.by, generation=generation))

    async def delete(self, call: Call) -> Response:
        """Delete a deployment; its containers are stopped and removed, its volumes stay unless asked for."""
        generation, drop = if_match(call.headers), call.query["volumes"]
        await self._deployments.delete(ref_of(call), by=call.by, generation=generation, drop_volumes=drop)
        return nothing()

    def watch(self, call: Call) -> Stream[Deployment]:
        """Follow a deployment: as it is, then each change; the event `gone` when it is deleted."""
        return Stream(
            self._deployments.watch(ref_of(call)),
            lambda deployment: sent(packed(deployment)),
            EVENTS,
            last=sent({}, kind="gone"),
            pace=NEWEST_ONLY,
            stopping=self._stopping,
            request_id=call.request_id,
        )


def ref_of(call: Call) -> str:
    """The deployment that the path names."""
    return reference(call.ref, "deployment")


def _created(deployment: Deployment, *, status: int) -> Response:
    body = encode(deployment)
    owners = dict.fromkeys(assignment.node_id for assignment in deployment.assignments)
    body |= {"assigned_node_ids": list(owners)} if owners else {}
    headers = {"etag": f'"{deployment.generation}"'}
    if status == 201:
        headers["location"] = f"/api/v1/deployments/{deployment.deployment_id}"
    return reply(body, status=status, headers=headers)


def whole(deployment: Deployment) -> Response:
    """All of a deployment, with its generation as the tag for If-Match."""
    return model_reply(deployment, headers={"etag": f'"{deployment.generation}"'})


def if_match(headers: Mapping[str, str]) -> int | None:
    """The generation a change was made for; None where any will do."""
    given = headers.get("if-match", "*").strip()
    if given == "*":
        return None
    if (found := ETAG.fullmatch(given)) is None:
        raise InvalidSpec("header.If-Match", f"{shown(given)} is not one generation, such as 7")
    return int(found[2])


def idempotency_key(headers: Mapping[str, str]) -> str | None:
    """What the caller names this create by, so that a repetition has no second effect."""
    given = headers.get("idempotency-key")
    if given is not None and KEY.fullmatch(given) is None:
        raise InvalidSpec("header.Idempotency-Key", f"{shown(given)} is not 1 to 255 printable characters")
    return given
