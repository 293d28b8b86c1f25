"""What went wrong, as a status and a JSON body; the one place where the exception tree meets HTTP."""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fledx.control_plane.api.replies import reply
from fledx.errors import Conflict, Denied, FledxError, InvalidSpec, LimitExceeded, NotFound, Unavailable

#: The word of `code` where the error itself has none of its own; fledx-core's words where it has one.
CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "conflict",
    413: "payload_too_large",
    415: "unsupported_media_type",
    426: "https_required",
    429: "rate_limited",
    431: "headers_too_large",
    500: "internal_error",
    503: "service_unavailable",
    507: "storage_full",
}
HINTS = {
    404: "/docs lists what there is",
    426: "write https:// instead of http://; the certificate is signed by this control plane's own authority",
}
LIMITS = {"storage_full": 507, "payload_too_large": 413, "overloaded": 503}
RETRY_SECONDS = "1"


def status_of(fault: FledxError) -> int:
    """The status that stands for an error of the tree."""
    if isinstance(fault, Denied):
        return 403 if fault.known else 401
    if isinstance(fault, LimitExceeded):
        return LIMITS.get(fault.code, 429)
    for kind, status in ((InvalidSpec, 400), (NotFound, 404), (Conflict, 409), (Unavailable, 503)):
        if isinstance(fault, kind):
            return status
    return 500


def body_of(fault: FledxError, request_id: str) -> dict[str, Any]:
    """`{error, code, hint?, request_id, problems?}`."""
    own = fault.code if fault.code != type(fault).code else None
    body = {"error": fault.text, "code": own or CODES[status_of(fault)], "request_id": request_id}
    if fault.hint:
        body["hint"] = fault.hint
    if isinstance(fault, InvalidSpec):
        return {**body, "problems": [{"path": path, "text": text} for path, text in fault.problems]}
    return body


def answer(fault: FledxError, request_id: str) -> Response:
    """The response for an error of the tree."""
    status = status_of(fault)
    headers = {}
    if status == 401:
        headers["www-authenticate"] = 'Bearer realm="fledx"'
    if status in (429, 503):
        headers["retry-after"] = RETRY_SECONDS
    return reply(body_of(fault, request_id), status=status, headers=headers)


def refusal(status: int, text: str, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    """The response for what is refused before it concerns any use case."""
    body: dict[str, Any] = {"error": text, "code": CODES.get(status, "error"), "request_id": request_id}
    if hint := HINTS.get(status):
        body["hint"] = hint
    return reply(body, status=status, headers=headers)


def unexpected(request_id: str) -> Response:
    """The response for a fault of ours; what it was stands in the log under the request's id."""
    return refusal(500, f"the control plane failed; its log names the cause under {request_id}", request_id)


async def on_fault(request: Request, fault: Exception) -> Response:
    """For starlette: errors of the tree."""
    assert isinstance(fault, FledxError)
    return answer(fault, request.scope["fledx.request_id"])


async def on_refusal(request: Request, fault: Exception) -> Response:
    """For starlette: its own rejections, and ours that only HTTP knows (405, 408, 413, 415, ...)."""
    assert isinstance(fault, HTTPException)
    status, text = fault.status_code, fault.detail
    if text == http.HTTPStatus(status).phrase:
        text = f"no such path: {request.scope['path'][:100]!r}" if status == 404 else text.lower()
    return refusal(status, text, request.scope["fledx.request_id"], fault.headers)
