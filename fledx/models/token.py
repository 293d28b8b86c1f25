"""Credentials as texts that carry what they must be trusted with: who may come in, and which authority to believe."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field

from fledx.errors import InvalidSpec

JOIN_PREFIX = "fledx-join."
TOKEN_PREFIX = "fo_"
ROLES = ("admin", "operator", "read_only")


@dataclass(frozen=True, kw_only=True)
class JoinString:
    """
    All that a new host needs: where to dial, a registration token, and the fingerprints of the authority to believe.

    ``pins`` are `tunnel.tls.fingerprint` texts; none, with ``tls`` false, means a tunnel in the clear.
    """

    host: str
    port: int
    token: str = field(repr=False)
    pins: tuple[str, ...] = ()
    tls: bool = True

    def __str__(self) -> str:
        body = {"h": self.host, "p": self.port, "t": self.token, "ca": list(self.pins), "tls": self.tls}
        packed = json.dumps(body, separators=(",", ":")).encode()
        return JOIN_PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> JoinString:
        """Read one back; InvalidSpec without the text itself, as it holds a secret."""
        packed = text.strip().removeprefix(JOIN_PREFIX)
        try:
            if packed == text.strip():
                raise ValueError("no prefix")
            body = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
            pins = tuple(str(pin) for pin in body["ca"])
            return cls(
                host=str(body["h"]), port=int(body["p"]), token=str(body["t"]), pins=pins, tls=body["tls"] is not False
            )
        except (ValueError, KeyError, TypeError, binascii.Error):
            raise InvalidSpec(
                "join", "this is not a whole join string", hint="copy the line of `fledx nodes join-command` again"
            ) from None


def node_token(secret: str, pins: tuple[str, ...]) -> str:
    """A node's token: 256 random bits as text, then the fingerprints of the authority, separated by dots."""
    return ".".join((f"fn_{secret}", *pins))


def pins_of(token: str) -> tuple[str, ...]:
    """The fingerprints a node token carries; none for a token that was made elsewhere."""
    return tuple(token.split(".")[1:]) if token.startswith("fn_") else ()


@dataclass(frozen=True, kw_only=True)
class Operator:
    """Who asks, from where and in which request: the name of the token, never the token, and what it may do."""

    name: str
    role: str = "admin"
    source: str | None = None
    token_id: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class OperatorToken:
    """An operator's token without the token; ``last_used_at`` is exact to a minute."""

    token_id: str
    name: str
    role: str
    created_at: str
    created_by: str
    expires_at: str | None = None
    last_used_at: str | None = None
    revoked_at: str | None = None

    def ended(self, now: str) -> str | None:
        """Why it lets nobody in any more, None while it does."""
        if self.revoked_at is not None:
            return f"was revoked at {self.revoked_at}"
        if self.expires_at is not None and self.expires_at <= now:
            return f"expired at {self.expires_at}"
        return None
