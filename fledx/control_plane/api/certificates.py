"""Gateways' certificates over HTTP: keys go in, and never come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from fledx.control_plane.api.endpoint import Call
from fledx.control_plane.api.params import PAGING, reference
from fledx.control_plane.api.replies import model_reply, nothing, page_reply
from fledx.control_plane.ingress.certificates import Certificates
from fledx.errors import InvalidSpec

CERTIFICATE_FILTERS = PAGING


@dataclass(frozen=True, kw_only=True)
class CertificateInput:
    """A certificate chain, the server's own first, and its private key without a passphrase; both PEM."""

    chain: str
    key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class NewCertificate(CertificateInput):
    """The same with the name to keep it under."""

    name: str


class CertificateEndpoints:
    """What operators do with certificates."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates

    def page(self, call: Call) -> Response:
        """List certificates by name: hosts, end, and what needs attention."""
        limit, offset = call.query["limit"], call.query["offset"]
        items, total = self._certificates.page(limit=limit, offset=offset)
        return page_reply(items, limit=limit, offset=offset, total=total)

    def get(self, call: Call) -> Response:
        """Show a certificate without its key."""
        return model_reply(self._certificates.get(reference(call.ref, "certificate")))

    async def create(self, call: Call) -> Response:
        """Keep a certificate with its key; 409 when the name is taken."""
        name, chain, key = texts(call.body, ("name", "chain", "key"))
        return model_reply(await self._certificates.create(name, chain, key, by=call.by), status=201)

    async def put(self, call: Call) -> Response:
        """Put a certificate in the place of another, such as a renewed one; 201 when the name is new."""
        chain, key = texts(call.body, ("chain", "key"))
        made, new = await self._certificates.put(reference(call.ref, "certificate"), chain, key, by=call.by)
        return model_reply(made, status=201 if new else 200)

    async def delete(self, call: Call) -> Response:
        """Forget a certificate and its key; gateways present another one for its hosts, or none."""
        await self._certificates.delete(reference(call.ref, "certificate"), by=call.by)
        return nothing()


def texts(body: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    """The fields of a body; by hand, for the refusals of the codec show what was wrong, and one is a key."""
    problems = [(str(key)[:60], "is not a known field") for key in body if key not in names]
    problems += [(name, "is missing") for name in names if body.get(name) is None]
    given = {name: body[name] for name in names if body.get(name) is not None}
    problems += [(name, "is not a text") for name, value in given.items() if not isinstance(value, str)]
    if problems:
        raise InvalidSpec.of(problems)
    return [given[name] for name in names]
