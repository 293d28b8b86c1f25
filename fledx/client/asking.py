"""How a call to the API is made: its headers, its pages, its refusals, and the kind of answer that it must be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fledx import __version__
from fledx.client.diagnosis import not_fledx
from fledx.client.http1 import Request, target
from fledx.client.refusals import refusal
from fledx.client.streams import ServerEvent, ServerEvents, Stream
from fledx.client.transport import Response, Transport
from fledx.errors import Denied, Unavailable

Json = dict[str, Any]
JSON = {"accept": "application/json", "content-type": "application/json"}
PAGE = 500


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Who asks; `header` carries the operator's token, the registration token always goes by `authorization`."""

    operator_token: str | None = field(default=None, repr=False)
    header: str = "authorization"
    registration_token: str | None = field(default=None, repr=False)

    def operator(self) -> dict[str, str]:
        """The header of an operator's request."""
        return {self.header.lower(): f"Bearer {self.operator_token}"} if self.operator_token else {}

    def registration(self) -> dict[str, str]:
        """The header that registers a node; an operator may do that too."""
        if self.registration_token:
            return {"authorization": f"Bearer {self.registration_token}"}
        return self.operator()


@dataclass(frozen=True, kw_only=True)
class Page:
    """A part of a list; `total` counts what there is altogether."""

    items: list[Json]
    total: int
    offset: int = 0
    limit: int = PAGE

    def encoded(self) -> Json:
        """As the API itself shows a list."""
        return {"limit": self.limit, "offset": self.offset, "total": self.total, "items": self.items}


class Asking:
    """
    Asks one control plane (`peer`, its URL) in somebody's name; `token_hint` is said when the token was not known.

    Refusals are raised as the errors of the tree; silence and broken connections as Unavailable.
    """

    def __init__(
        self, transport: Transport, credentials: Credentials, *, peer: str, token_hint: str | None = None
    ) -> None:
        self.credentials = credentials
        self.peer = peer
        self._transport = transport
        self._token_hint = token_hint

    def close(self) -> None:
        """Let go of the connection."""
        self._transport.close()

    def page(self, path: str, query: Mapping[str, Any], limit: int | None, offset: int) -> Page:
        """Part of a list; `limit` None reads all of it."""
        items: list[Json] = []
        total = 0
        for page in self._pages(path, query, limit, offset):
            items += page["items"]
            total = int(page.get("total", offset + len(items)))
        return Page(items=items, total=total, offset=offset, limit=max(len(items), 1) if limit is None else limit)

    def _pages(self, path: str, query: Mapping[str, Any], limit: int | None, offset: int) -> Iterator[Json]:
        got = 0
        while True:
            size = PAGE if limit is None else min(PAGE, limit - got)
            page = self.object("GET", target(path, [("limit", size), ("offset", offset + got), *query.items()]))
            yield page
            got += len(page["items"])
            if len(page["items"]) < size or got == limit or offset + got >= int(page.get("total", got + 1)):
                return

    def events(self, path: str, extra: Mapping[str, str]) -> Stream[ServerEvent]:
        """A stream of events, for ever; `extra` are more headers."""
        response = self.sent_as("GET", path, extra={"accept": "text/event-stream", **extra})
        return Stream(self.of_kind(response, "text/event-stream"), ServerEvents().feed)

    def object(
        self, method: str, path: str, *, body: Json | None = None, extra: Mapping[str, str] | None = None
    ) -> Json:
        """The object that comes of it; `extra` are more headers."""
        if body is None:
            return self.read(self.sent_as(method, path, extra=extra))
        headers = {**self.credentials.operator(), **JSON, **(extra or {})}
        return self.read(self.sent(Request(method=method, target=path, headers=headers, body=encoded(body))))

    def sent_as(
        self, method: str, path: str, *, own: Mapping[str, str] | None = None, extra: Mapping[str, str] | None = None
    ) -> Response:
        """The answer to a request without a body, unread; `own` stands in for the operator's token."""
        who = self.credentials.operator() if own is None else own
        headers = {**who, "accept": "application/json", **(extra or {})}
        return self.sent(Request(method=method, target=path, headers=headers))

    def sent(self, request: Request) -> Response:
        """The answer to a request as it is, unread."""
        request = Request(
            method=request.method,
            target=request.target,
            headers={"user-agent": f"fledx/{__version__}", **request.headers},
            body=request.body,
            upload=request.upload,
        )
        response = self._transport.send(request)
        if response.status < 300:
            return response
        try:
            fault = refusal(response, self.peer)
        finally:
            response.close()
        if isinstance(fault, Denied) and not fault.known:
            fault.hint = self._token_hint or fault.hint
        raise fault

    def read(self, response: Response) -> Json:
        """The object that an answer is."""
        try:
            value = json.loads(self.of_kind(response, "application/json").read())
        except ValueError:
            raise Unavailable(f"{self.peer} sent an answer that is not JSON") from None
        if not isinstance(value, dict):
            raise Unavailable(f"{self.peer} sent an answer that is not an object")
        return value

    def of_kind(self, response: Response, kind: str) -> Response:
        """The answer, if it is what a control plane gives; what is behind a proxy's login page is none."""
        found = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if found != kind:
            response.close()
            raise not_fledx(self.peer, response.status, found)
        return response


def encoded(body: Json) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=True).encode()
