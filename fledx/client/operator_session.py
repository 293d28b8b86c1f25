"""An operator's session on the tunnel port: where that is, and how it is dialled."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from anyio.abc import TaskGroup

from fledx import __version__
from fledx.client.api import ControlPlane
from fledx.errors import Denied, FledxError, InvalidSpec, Unavailable
from fledx.tunnel.dial import CONNECT_SECS, dial
from fledx.tunnel.greeting import Hello
from fledx.tunnel.link import Link
from fledx.tunnel.stream import Stream
from fledx.tunnel.tls import client_context

ROLE = "operator"
FIRST_TRY_SECS = 5.0


@dataclass(frozen=True, kw_only=True)
class WayIn:
    """
    Where to dial, in this order, and as whom.

    ``authority`` is the CA to believe, as PEM; None means a tunnel in the clear.
    """

    hosts: tuple[str, ...]
    port: int
    authority: str | None
    token: str = field(repr=False)


def way_in(api: ControlPlane, *, host: str, token: str | None) -> WayIn:
    """
    Ask the API, reached at `host`, for its tunnel and its CA: what proves the API to be the right one proves both.

    The API's own host comes first, as it is known to be reachable from here; then the one that nodes are told.
    """
    told = api.status().get("control_plane", {}).get("tunnel")
    if not isinstance(told, Mapping):
        raise Unavailable("this control plane does not tell where its tunnel is", hint="it may be too old for this")
    if token is None:
        raise Denied("no operator token was given")
    authority = str(api.authority()["pem"]) if told.get("use_tls", True) else None
    hosts = tuple(dict.fromkeys([host, str(told["host"])]))
    return WayIn(hosts=hosts, port=int(told["port"]), authority=authority, token=token)


async def dial_in(way: WayIn, tasks: TaskGroup, *, timeout: float = CONNECT_SECS) -> Link:
    """A session, kept alive in `tasks`; Denied when the token lets nobody in, Unavailable when no host answers."""
    for host in way.hosts:
        last = host == way.hosts[-1]
        try:
            return await _dialled(way, host, tasks, timeout if last else min(timeout, FIRST_TRY_SECS))
        except FledxError as problem:
            if last or not (isinstance(problem, Unavailable) or problem.code == "certificate"):
                raise
    raise Unavailable("this control plane tells no host for its tunnel")


async def _dialled(way: WayIn, host: str, tasks: TaskGroup, timeout: float) -> Link:
    return await dial(
        host,
        way.port,
        tls=None if way.authority is None else client_context(way.authority),
        hello=Hello(role=ROLE, token=way.token, version=__version__),
        tasks=tasks,
        on_stream=_refuse,
        on_message=lambda message: None,
        connect_timeout=timeout,
    )


async def _refuse(stream: Stream) -> None:
    raise InvalidSpec("kind", "an operator serves no streams")


async def opened(link: Link, kind: str, meta: Mapping[str, Any]) -> Stream:
    """A stream into a replica; an error names the request under which the control plane wrote it down."""
    request_id = secrets.token_hex(16)
    try:
        return await link.open(kind, {**meta, "request_id": request_id})
    except FledxError as problem:
        if link.reason is None:
            problem.request_id = request_id
        raise
