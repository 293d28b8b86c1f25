"""What a streamed answer holds: server-sent events, and one JSON object a line; decoders of bytes, without a socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fledx.client.transport import Response
from fledx.errors import Unavailable

T = TypeVar("T")
MAX_LINE = 16 * 1024 * 1024


class Lines:
    """Splits bytes into lines; `\\r\\n`, `\\n` and a last line without an end are all read."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            raise Unavailable(f"the control plane sent a line of more than {MAX_LINE // 2**20} MiB")
        return [line.removesuffix(b"\r").decode(errors="replace") for line in lines]


@dataclass(frozen=True, kw_only=True)
class ServerEvent:
    """One server-sent event; ``data`` is its JSON, None where it holds none; ``id`` is where to resume."""

    kind: str
    data: Any
    id: str | None = None


class ServerEvents:
    """The text/event-stream format; comments are dropped."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._fields: dict[str, list[str]] = {}

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that `data` completes."""
        found = []
        for line in self._lines.feed(data):
            if not line:
                found += self._dispatch()
            elif not line.startswith(":"):
                name, _, value = line.partition(":")
                self._fields.setdefault(name, []).append(value.removeprefix(" "))
        return found

    def _dispatch(self) -> list[ServerEvent]:
        fields, self._fields = self._fields, {}
        if not fields.keys() & {"data", "event"}:
            return []
        text = "\n".join(fields.get("data", ()))
        kind = fields.get("event", ["message"])[-1]
        return [ServerEvent(kind=kind, data=_json(text) if text else None, id=fields.get("id", [None])[-1])]


class JsonLines:
    """Newline-delimited JSON; empty lines keep a quiet stream alive and are dropped."""

    def __init__(self) -> None:
        self._lines = Lines()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The objects that `data` completes."""
        return [_json(line) for line in self._lines.feed(data) if line.strip()]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise Unavailable(f"the control plane sent a line that is not JSON: {text[:80]!r}") from None


class Stream(Generic[T]):
    """The items of one streamed answer, as they come; to be closed."""

    def __init__(self, response: Response, feed: Callable[[bytes], list[T]]) -> None:
        self._response = response
        self._feed = feed
        self.ended = False

    def take(self, wait: float | None) -> list[T]:
        """What arrives within `wait` seconds (None: however long it takes); none at a silence and at the end."""
        data = self._response.receive(wait)
        if data is None:
            return []
        if data == b"":
            self.ended = True
            return self._feed(b"\n")
        return self._feed(data)

    def __iter__(self) -> Iterator[T]:
        while not self.ended:
            yield from self.take(None)

    def close(self) -> None:
        """Let go of the connection."""
        self._response.close()
