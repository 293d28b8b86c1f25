"""Request bodies: JSON objects within a size and a time, and none that two readers could read differently."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from fledx.errors import InvalidSpec
from fledx.models.check import shown

BYTES = "application/octet-stream"
MAX_DEPTH = 32  # a whole deployment is seven deep
MAX_INTEGER = 2**63 - 1
HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")


async def read_object(
    receive: Receive,
    headers: Mapping[str, str],
    *,
    most: int,
    seconds: float,
    optional: bool,
    raw: str | None = None,
) -> dict[str, Any]:
    """
    The JSON object of a request, of at most `most` bytes, that must be here within `seconds`.

    An `optional` body may be absent, which is an empty object. With `raw`, a body of plain bytes becomes an object with
    these in base64 under that key. Raises HTTPException 408, 413 and 415, InvalidSpec with
    what is wrong, and ClientDisconnect.
    """
    _refuse_early(headers, most)
    with anyio.move_on_after(seconds) as limit:
        content = await _read(receive, most)
    if limit.cancelled_caught:
        raise HTTPException(408, f"the body did not arrive within {seconds:g} seconds")
    if raw is not None and headers.get("content-type", "").strip().lower() == BYTES:
        return {raw: base64.b64encode(content).decode("ascii")}
    if not content and optional:
        return {}
    _refuse_type(headers)
    return parsed(content)


async def uploaded(receive: Receive, headers: Mapping[str, str], *, media: str, silence: float) -> AsyncIterator[bytes]:
    """
    A body of any size as it comes, read only as fast as it is taken.

    Raises HTTPException 415 for another type, 408 when nothing comes for `silence` seconds, and ClientDisconnect.
    """
    if headers.get("content-type", "").partition(";")[0].strip().lower() != media:
        raise HTTPException(415, f"content-type is {shown(headers.get('content-type', ''))}; send {media}")
    more = True
    while more:
        with anyio.move_on_after(silence) as limit:
            message = await receive()
        if limit.cancelled_caught:
            raise HTTPException(408, f"nothing of the body came for {silence:g} seconds")
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        if piece := message.get("body", b""):
            yield piece


def _refuse_early(headers: Mapping[str, str], most: int) -> None:
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length[:18]) > most:
        raise _too_large(most)
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "a compressed body is not read here; send it as it is")


async def _read(receive: Receive, most: int) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise _too_large(most)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"the body is larger than {most} bytes")


def _refuse_type(headers: Mapping[str, str]) -> None:
    kind, _, parameters = headers.get("content-type", "").partition(";")
    charset = parameters.partition("charset=")[2].strip('" ').lower()
    if kind.strip().lower() != "application/json" or charset not in ("", "utf-8", "utf8"):
        given = shown(headers.get("content-type", ""))
        raise HTTPException(415, f"content-type is {given}; send application/json in UTF-8")


def parsed(content: bytes) -> dict[str, Any]:
    """The object in `content`; InvalidSpec for anything else, doubled keys, NaN and bottomless nesting among it."""
    try:
        text = content.decode()
    except UnicodeDecodeError as problem:
        raise InvalidSpec("", f"the body is not UTF-8: byte {problem.start} is not a part of a character") from None
    if not text.strip():
        raise InvalidSpec("", "the body is empty; a JSON object belongs there")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as problem:
        where = f"line {problem.lineno}, column {problem.colno}"
        raise InvalidSpec("", f"the body is not JSON: {problem.msg} at {where}") from None
    except RecursionError:
        raise _too_deep() from None
    if not isinstance(value, dict):
        raise InvalidSpec("", "the body is not a JSON object")
    _refuse_depth(text, value)
    if HALF_CHARACTER.search(text):
        _refuse_half_characters(value)
    return value


def _too_deep() -> InvalidSpec:
    return InvalidSpec("", f"the body is nested deeper than {MAX_DEPTH}")


def _refuse_depth(text: str, value: Any) -> None:
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
        level = [item for item in level if isinstance(item, dict | list)]
        if not level:
            return
    raise _too_deep()


def _refuse_half_characters(value: Any) -> None:
    """Half of a surrogate pair is legal JSON, but no text: it could be neither stored nor sent on."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidSpec("", "a text of the body contains half of a surrogate pair") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    doubled = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    raise InvalidSpec("", f"the key {shown(doubled)} is given twice")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidSpec("", f"{shown(text)} is not a number that can be held")
    return number


def _bounded(text: str) -> int:
    if len(text) > 20 or not -MAX_INTEGER - 1 <= int(text) <= MAX_INTEGER:
        raise InvalidSpec("", f"{shown(text)} is not a whole number that can be held")
    return int(text)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_int=_bounded, parse_constant=_finite, strict=True
)
