"""One line of the route table, and the road of a request to its handler: access, parameters, body, limits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, MISSING, dataclass, fields, is_dataclass, replace
from inspect import isawaitable
from typing import Any

import anyio
import anyio.lowlevel
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from fledx.control_plane.api.auth import READING, Access, Forbidden, Gate
from fledx.control_plane.api.body import read_object, uploaded
from fledx.control_plane.api.params import Param, parse
from fledx.control_plane.api.streams import Stream
from fledx.control_plane.audit import AuditLog
from fledx.errors import Denied, FledxError
from fledx.models.token import Operator

VERBS = {"POST": "create", "PATCH": "update", "PUT": "update", "DELETE": "delete"}
#: Where the use cases' own word is not the path's.
CALLED = {
    "token.create": "operator_token.create",
    "token.delete": "operator_token.revoke",
    "node.join-token": "join_token.create",
    "secret.update": "secret.set",
    "registrie.update": "registry.set",
    "registrie.delete": "registry.delete",
}
BODY_SECONDS = 30.0
REQUEST_SECONDS = 60.0
MAX_STREAMS = 1000  # 38 KiB each
MAX_FETCHES = 64
"""Readers of the program, which needs no token: however slow they are, they keep no operator from a stream."""
MAX_REGISTRATIONS = 32
REGISTRATION_BYTES = 16 * 1024


@dataclass(frozen=True, kw_only=True)
class Call:
    """
    One request as a handler sees it.

    `ref` is what the path names, `target` the second thing it names, `query` has every declared parameter. `pieces` is
    a body that streams in.
    """

    by: Operator
    source: str
    request_id: str
    ref: str
    target: str = ""
    query: Mapping[str, Any]
    headers: Mapping[str, str]
    body: dict[str, Any]
    pieces: AsyncIterator[bytes] | None = None


Answer = Response | Stream[Any]
Handler = Callable[[Call], Answer | Awaitable[Answer]]


@dataclass(frozen=True)
class PageOf:
    """For the API's description: a page of a list of these."""

    kind: type


@dataclass(frozen=True)
class ChangesOf:
    """For the API's description: any of a model's fields."""

    kind: type


@dataclass(frozen=True)
class Endpoint:
    """
    A method and a path, what may be given, and who handles it.

    A `body` other than None is read and must be a JSON object; its handler decodes it. What it and `answer` say besides
    (a model, `PageOf`, `ChangesOf`, dict or str), `headers`, and `streams` (items of a stream that may be asked for
    instead) go into the API's description, where the handler's docstring is the summary. `dry_status`: that of a trial
    that went well. `done` is the status of success where it is not the method's usual one, `other` a second one. A body
    of the type application/octet-stream is taken in base64 as the field `raw`, where there is one. `upload` is the type
    of a body that streams in, of any size and for as long as it takes.
    """

    method: str
    path: str
    handler: Handler
    _: KW_ONLY
    access: Access = "operator"
    query: Sequence[Param] = ()
    headers: Mapping[str, str] | None = None
    body: Any = None
    answer: Any = None
    media: str = "application/json"
    streams: Any = None
    dry_status: int | None = None
    done: int | None = None
    other: int | None = None
    raw: str | None = None
    upload: str | None = None

    @property
    def body_optional(self) -> bool:
        """Whether an absent body does, as the model needs no field."""
        return is_dataclass(self.body) and all(field.default is not MISSING for field in fields(self.body))

    @property
    def status(self) -> int:
        """That of success."""
        return self.done or {"POST": 201, "DELETE": 204}.get(self.method, 200)


class Slots:
    """So many requests at once, and 503 for the next."""

    def __init__(self, most: int, what: str) -> None:
        self.most = most
        self.used = 0
        self._what = what

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold one of them."""
        if self.used >= self.most:
            text = f"{self.most} {self._what} are in progress; try again shortly"
            raise HTTPException(503, text, {"retry-after": "1"})
        self.used += 1
        try:
            yield
        finally:
            self.used -= 1


class Limits:
    """How much may be in progress; strangers hold slots of their own, so that they cannot take the operators'."""

    def __init__(
        self,
        *,
        body_bytes: int,
        requests: int,
        body_seconds: float = BODY_SECONDS,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self._body_bytes = body_bytes
        self.body_seconds = body_seconds
        self.request_seconds = request_seconds
        self.requests = Slots(requests, "requests")
        self.streams = Slots(MAX_STREAMS, "streams")
        self.fetches = Slots(MAX_FETCHES, "fetches")
        self.registrations = Slots(MAX_REGISTRATIONS, "registrations")
        self.public = Slots(requests, "public requests")

    def slots(self, access: Access) -> Slots:
        """Those that a request of this kind takes."""
        if access == "registration":
            return self.registrations
        return self.public if access == "public" else self.requests

    def size(self, access: Access) -> int:
        """The largest body, in bytes."""
        return min(self._body_bytes, REGISTRATION_BYTES) if access == "registration" else self._body_bytes


class Resource:
    """Everything under one path, as an ASGI application."""

    def __init__(self, endpoints: Sequence[Endpoint], *, gate: Gate, limits: Limits, audit: AuditLog) -> None:
        self._audit = audit
        self._endpoints = {endpoint.method: endpoint for endpoint in endpoints}
        if "GET" in self._endpoints:
            self._endpoints["HEAD"] = self._endpoints["GET"]
        self._allow = ", ".join(sorted((*self._endpoints, "OPTIONS")))
        self._gate = gate
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["method"])
        if endpoint is None:
            await self._without_handler(scope["method"])(scope, receive, send)
            return
        headers, source = scope["fledx.headers"], source_of(scope)
        by = await self._admitted(endpoint, headers, source, scope)
        with (self._limits.streams if endpoint.upload else self._limits.slots(endpoint.access)).one():
            answer = await self._audited(endpoint, by, source, scope, receive)
            if not isinstance(answer, (Stream, StreamingResponse)):
                await self._sent(answer, scope, receive, send)
                return
        if isinstance(answer, Stream):
            with self._limits.streams.one():
                await answer(scope, receive, send)
        else:
            with self._limits.fetches.one():
                await self._sent(answer, scope, receive, send)

    async def _sent(self, answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
        """Give an answer to a reader, who may be slow, but is cut off when it takes nothing for too long."""
        with anyio.CancelScope() as reader:

            async def patiently(message: Message) -> None:
                with anyio.move_on_after(self._limits.request_seconds) as patience:
                    await send(message)
                if patience.cancelled_caught:
                    reader.cancel()
                    await anyio.lowlevel.checkpoint()

            await answer(scope, receive, patiently)

    async def _admitted(self, endpoint: Endpoint, headers: Mapping[str, str], source: str, scope: Scope) -> Operator:
        request_id = scope["fledx.request_id"]
        try:
            by = self._gate.admit(endpoint.access, scope["method"], headers, source)
        except Denied as fault:
            asked = f"{scope['method']} {endpoint.path}: {fault.text}"
            by = fault.by if isinstance(fault, Forbidden) else Operator(name="unknown", role="none", source=source)
            await self._audit.refused("authz" if fault.known else "auth", replace(by, request_id=request_id), asked)
            raise
        return replace(by, source=source, request_id=request_id)

    async def _audited(self, endpoint: Endpoint, by: Operator, source: str, scope: Scope, receive: Receive) -> Answer:
        """The answer; a change that failed is written down here, one that was made by the use case itself."""
        try:
            return await self._answer(endpoint, by, source, scope, receive)
        except FledxError as fault:
            if scope["method"] not in READING:
                name = str(scope["path_params"].get("ref", "")) or None
                await self._audit.refused(action_of(endpoint), by, fault.text, name=None if name is None else name[:64])
            raise

    def _without_handler(self, method: str) -> Response:
        if method == "OPTIONS":
            return Response(None, 204, {"allow": self._allow})
        raise HTTPException(405, f"{method[:20]} is not possible here, but: {self._allow}", {"allow": self._allow})

    async def _answer(self, endpoint: Endpoint, by: Operator, source: str, scope: Scope, receive: Receive) -> Answer:
        body: dict[str, Any] = {}
        headers = scope["fledx.headers"]
        query = parse(endpoint.query, scope["query_string"])
        if endpoint.body is not None:
            most = self._limits.size(endpoint.access)
            body = await read_object(
                receive,
                headers,
                most=most,
                seconds=self._limits.body_seconds,
                optional=endpoint.body_optional,
                raw=endpoint.raw,
            )
        answer = endpoint.handler(
            Call(
                by=by,
                source=source,
                request_id=scope["fledx.request_id"],
                ref=scope["path_params"].get("ref", ""),
                target=scope["path_params"].get("target", ""),
                query=query,
                headers=headers,
                body=body,
                pieces=self._pieces(endpoint, receive, headers),
            )
        )
        if endpoint.upload and isawaitable(answer):
            return await answer
        return await self._in_time(answer) if isawaitable(answer) else answer

    def _pieces(self, endpoint: Endpoint, receive: Receive, headers: Mapping[str, str]) -> AsyncIterator[bytes] | None:
        if endpoint.upload is None:
            return None
        return uploaded(receive, headers, media=endpoint.upload, silence=self._limits.request_seconds)

    async def _in_time(self, answer: Awaitable[Answer]) -> Answer:
        seconds = self._limits.request_seconds
        with anyio.move_on_after(seconds):
            return await answer
        raise HTTPException(503, f"not done within {seconds:g} seconds; look whether it took effect")


def action_of(endpoint: Endpoint) -> str:
    """What a change is called in the audit log where it fails: `deployment.create`, `config.attach.node`."""
    words = [word for word in endpoint.path.removeprefix("/api/v1").split("/") if word and not word.startswith("{")]
    resource, last = words[0].removesuffix("s"), words[-1].removesuffix("s")
    if "volumes" in words:
        return f"volume.{last}"
    if "{target}" in endpoint.path:
        return f"{resource}.{'attach' if endpoint.method == 'POST' else 'detach'}.{last}"
    found = f"{resource}.{last if len(words) > 1 else VERBS[endpoint.method]}"
    return CALLED.get(found, found)


def source_of(scope: Scope) -> str:
    """The address the request came from; a forwarded one is not believed, as anyone can write it."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"
