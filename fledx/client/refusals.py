"""What an answer that is not a success means: a status becomes an error of the one tree."""

from __future__ import annotations

import json
from typing import Any

from fledx.client import diagnosis
from fledx.client.transport import Response
from fledx.errors import Conflict, Denied, FledxError, InvalidSpec, LimitExceeded, NotFound, Unavailable

CLASSES: dict[int, type[FledxError]] = {
    404: NotFound,
    409: Conflict,
    412: Conflict,
    413: LimitExceeded,
    429: LimitExceeded,
    431: LimitExceeded,
    507: LimitExceeded,
}


def refusal(response: Response, peer: str) -> FledxError:
    """The error that a status of 300 or more stands for, with what the server says to it and its request id."""
    body = _body(response)
    if body is None:
        return diagnosis.not_fledx(peer, response.status, response.headers.get("content-type", ""))
    text, hint = str(body["error"]), body.get("hint")
    error = _error(response.status, text, _problems(body))
    error.hint = str(hint) if hint else None
    error.request_id = _request_id(response, body)
    return error


def _error(status: int, text: str, problems: list[tuple[str, str]]) -> FledxError:
    if status in (400, 415, 422):
        return InvalidSpec.of(problems) if problems else InvalidSpec("", text)
    if status in (401, 403):
        return Denied(text, known=status == 403)
    if status >= 500 and status not in CLASSES:
        return Unavailable(text)
    return CLASSES.get(status, FledxError)(text)


def _body(response: Response) -> dict[str, Any] | None:
    try:
        body = json.loads(response.read())
    except ValueError:
        return None
    return body if isinstance(body, dict) and "error" in body else None


def _problems(body: dict[str, Any]) -> list[tuple[str, str]]:
    found = body.get("problems") or ()
    return [(str(each.get("path", "")), str(each.get("text", ""))) for each in found if isinstance(each, dict)]


def _request_id(response: Response, body: dict[str, Any]) -> str | None:
    given = body.get("request_id") or response.headers.get("x-request-id")
    return str(given) if given else None
