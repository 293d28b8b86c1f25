"""The description of the API: OpenAPI 3.1, made from the route table and the models, never written by hand."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from fledx import __version__
from fledx.control_plane.api.docs import readable
from fledx.control_plane.api.endpoint import Call, ChangesOf, Endpoint, PageOf
from fledx.control_plane.api.errors import CODES
from fledx.control_plane.api.replies import reply
from fledx.control_plane.api.schema import Schemas

JSON = "application/json"
REFUSALS = {
    "public": (400, 404, 431, 503),
    "metrics": (400, 401, 429, 431, 503),
    "operator": (400, 401, 403, 404, 409, 429, 431, 503, 507),
    "admin": (400, 401, 403, 404, 409, 429, 431, 503, 507),
    "registration": (400, 401, 403, 409, 429, 431, 503, 507),
}
BODY_REFUSALS = (408, 413, 415)
TAGS = (
    *("deployments", "nodes", "configs", "secrets", "certificates", "events", "logs", "usage", "tokens", "audit-logs"),
    "volumes",
)
BINARY = {"type": "string", "format": "binary"}
SECURITY: Mapping[str, list[dict[str, list[str]]]] = {
    "public": [],
    "metrics": [{}, {"operator": []}],
    "operator": [{"operator": []}],
    "admin": [{"operator": []}],
    "registration": [{"registration": []}, {"operator": []}],
}
#: The page brings nothing along and asks nobody for anything.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One fault of a request: where (`ports[0].host_port`, `query.limit`, `header.If-Match`), and what."""

    path: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Error:
    """What every refusal says; `code` is stable for programs, `hint` is what to try."""

    error: str
    code: str
    request_id: str
    hint: str | None = None
    problems: tuple[Problem, ...] = ()


def document(endpoints: Sequence[Endpoint], header: str) -> dict[str, Any]:
    """The whole description; `header` is the one that carries operators' tokens."""
    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    for path, item in paths.items():
        if named := [name for name in ("ref", "target") if f"{{{name}}}" in path]:
            item["parameters"] = [_named(name, path) for name in named]
    error = {JSON: {"schema": schemas.of(Error)}}
    responses = {str(status): {"description": _words(code), "content": error} for status, code in CODES.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "fledx", "version": __version__, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "responses": responses,
            "securitySchemes": _schemes(header),
        },
    }


DESCRIPTION = (
    "The control plane of a fleet of container hosts. A thing is named by its name, its id or the beginning of its id. "
    "Times are RFC 3339 in UTC. A field that is not set is left out. Each answer has an x-request-id."
)


def _operation(endpoint: Endpoint, schemas: Schemas) -> dict[str, Any]:
    parameters = [_parameter(param.name, "query", param.help, param.schema) for param in endpoint.query]
    for name, help in (endpoint.headers or {}).items():
        parameters.append(_parameter(name, "header", help, {"type": "string"}))
    operation: dict[str, Any] = {
        "operationId": _identity(endpoint),
        "summary": inspect.getdoc(endpoint.handler) or "",
        "tags": [_tag(endpoint.path)],
        "security": SECURITY[endpoint.access],
        "responses": {str(endpoint.status): _answer(endpoint, schemas), **_refusals(endpoint)},
    }
    if endpoint.other is not None:
        operation["responses"][str(endpoint.other)] = _answer(endpoint, schemas)
    if endpoint.dry_status is not None:
        answer = {**operation["responses"][str(endpoint.status)], "description": "what would be done"}
        operation["responses"][str(endpoint.dry_status)] = answer
    if parameters:
        operation["parameters"] = parameters
    if endpoint.upload is not None:
        operation["requestBody"] = {"required": True, "content": {endpoint.upload: {"schema": BINARY}}}
    if endpoint.body is not None:
        content: dict[str, Any] = {JSON: {"schema": _body(endpoint.body, schemas)}}
        if endpoint.raw is not None:
            content["application/octet-stream"] = {}
        operation["requestBody"] = {"required": not endpoint.body_optional, "content": content}
    return operation


def _parameter(name: str, place: str, help: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": place, "description": help, "required": False, "schema": dict(schema)}


def _named(name: str, path: str) -> dict[str, Any]:
    noun = path.partition(f"/{{{name}}}")[0].rpartition("/")[2].removesuffix("s")
    help = f"name, id, or at least four characters of the beginning of an id, of a {noun}"
    return {**_parameter(name, "path", help, {"type": "string", "minLength": 1}), "required": True}


def _identity(endpoint: Endpoint) -> str:
    words = re.findall(r"[a-z]+", endpoint.path.removeprefix("/api/v1"))
    return "_".join((endpoint.method.lower(), *words))


def _tag(path: str) -> str:
    words = path.removeprefix("/api/v1").split("/")
    return words[1] if words[1] in TAGS else "system"


def _answer(endpoint: Endpoint, schemas: Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {"description": "done" if endpoint.status != 201 else "made"}
    if endpoint.answer is not None:
        found["content"] = {endpoint.media.partition(";")[0]: {"schema": _body(endpoint.answer, schemas)}}
    if endpoint.streams is not None:
        found["content"]["text/event-stream"] = {"schema": schemas.of(endpoint.streams)}
    return found


def _body(kind: Any, schemas: Schemas) -> dict[str, Any]:
    if isinstance(kind, PageOf):
        return schemas.page(kind.kind)
    if isinstance(kind, ChangesOf):
        return schemas.changes(kind.kind)
    return {"type": "object"} if kind is dict else schemas.of(kind)


def _refusals(endpoint: Endpoint) -> dict[str, Any]:
    statuses = {*REFUSALS[endpoint.access], *(BODY_REFUSALS if endpoint.body is not None or endpoint.upload else ())}
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in (*sorted(statuses), 500)}


def _words(code: str) -> str:
    return code.replace("_", " ")


def _schemes(header: str) -> dict[str, Any]:
    operator: dict[str, Any] = {"type": "http", "scheme": "bearer", "description": "an operator's token"}
    if header.lower() != "authorization":
        help = "an operator's token after the word Bearer"
        operator = {"type": "apiKey", "in": "header", "name": header, "description": help}
    registration = {"type": "http", "scheme": "bearer", "description": "a token that lets a node in"}
    return {"operator": operator, "registration": registration}


class Description:
    """Serves the description; made when it is first asked for."""

    def __init__(self, header: str) -> None:
        self.endpoints: Sequence[Endpoint] = ()
        self._header = header
        self._document: dict[str, Any] | None = None

    def openapi(self, call: Call) -> Response:
        """Describe this API for programs: OpenAPI 3.1."""
        return reply(self._made())

    def page(self, call: Call) -> Response:
        """Describe this API for people."""
        headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": POLICY}
        return Response(readable(self._made()), headers=headers)

    def _made(self) -> dict[str, Any]:
        if self._document is None:
            self._document = document(self.endpoints, self._header)
        return self._document
