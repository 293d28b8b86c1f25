"""Who may ask what: tokens out of headers, roles, and a limit on refusals that never shuts out a right token."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping
from typing import Literal

from starlette.exceptions import HTTPException

from fledx.control_plane.metrics import Metrics
from fledx.control_plane.trust.refusals import OPERATOR_REFUSALS, Refusals
from fledx.control_plane.trust.tokens import Spending, Tokens
from fledx.errors import Denied
from fledx.models.token import Operator
from fledx.settings.control_plane import ControlPlaneSettings

#: public: anyone; operator: a token whose role allows the method; admin: one with that role; registration: a token that
#: lets a node in (its endpoint checks it after the body, as it may be spent by that); metrics: loopback, or operator.
Access = Literal["public", "operator", "admin", "registration", "metrics"]
ANYONE = Operator(name="anyone", role="read_only")
READING = ("GET", "HEAD")
MAX_TOKEN = 1024
FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip")


class Forbidden(Denied):
    """Somebody known may not do this."""

    def __init__(self, by: Operator, text: str, *, hint: str | None = None) -> None:
        super().__init__(text, known=True, hint=hint)
        self.by = by


class Gate:
    """Lets requests in by their token."""

    def __init__(
        self,
        tokens: Tokens,
        settings: ControlPlaneSettings,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._metrics = metrics
        self._header = settings.operator_header_name.lower()
        self._metrics_public = settings.metrics_public
        self._operators = Refusals(OPERATOR_REFUSALS, clock=clock)
        self._registrations = Refusals(settings.registration_rate_limit_per_minute, clock=clock)

    def admit(self, access: Access, method: str, headers: Mapping[str, str], source: str) -> Operator:
        """Who asks; Denied when that is nobody known, or a role that may not do this."""
        if access == "public" or (access == "metrics" and self._metrics_open(headers, source)):
            return ANYONE
        if access == "registration":
            registration(headers)
            return ANYONE
        operator = self._operator(headers, source)
        if access == "admin" and operator.role != "admin":
            raise Forbidden(operator, f"{operator.name} is no admin", hint="use a token with the role admin")
        if operator.role == "read_only" and method not in READING:
            raise Forbidden(
                operator,
                f"{operator.name} may only read; this would change something",
                hint="use a token with the role operator or admin",
            )
        return operator

    def _metrics_open(self, headers: Mapping[str, str], source: str) -> bool:
        """A proxy on this machine makes every stranger look local, so a forwarded request is not."""
        return self._metrics_public or (loopback(source) and not any(name in headers for name in FORWARDED))

    def _operator(self, headers: Mapping[str, str], source: str) -> Operator:
        token = bearer(headers, self._header)
        try:
            return self._tokens.operator(token, source=source)
        except Denied:
            if token is not None:
                self._metrics.refused("operator")
                _counted(self._operators, source)
            raise

    def registrant(self, headers: Mapping[str, str], source: str) -> str | Spending:
        """What to call whoever lets a node in: an operator's name, or what spends a registration token."""
        token = registration(headers)
        try:
            operator = self._tokens.operator(bearer(headers, self._header), source=source)
        except Denied:
            return self._spending(token, source)
        if operator.role == "read_only":
            raise Forbidden(operator, f"{operator.name} may only read; this would let a node in")
        return operator.name

    def _spending(self, token: str, source: str) -> Spending:
        try:
            return self._tokens.registration(token)
        except Denied:
            self._metrics.refused("registration")
            _counted(self._registrations, source)
            raise


def _counted(refusals: Refusals, source: str) -> None:
    """Note a refusal; HTTPException 429 once there are too many."""
    if (seconds := refusals.count(source)) is not None:
        headers = {
            "retry-after": str(seconds),
            "x-ratelimit-limit": str(refusals.most),
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": str(seconds),
        }
        raise HTTPException(429, f"too many refused tokens from here; try again in {seconds} seconds", headers)


def registration(headers: Mapping[str, str]) -> str:
    """The token of whoever registers a node; Denied where there is none."""
    token = bearer(headers, "authorization")
    if token is None:
        raise Denied("no registration token was given", hint="send the header 'authorization: Bearer TOKEN'")
    return token


def bearer(headers: Mapping[str, str], name: str) -> str | None:
    """The token in a header, None without that header; Denied where it holds nothing that could be one."""
    if name not in headers:
        return None
    scheme, _, token = headers[name].strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Denied(f"the header {name} is not 'Bearer TOKEN'")
    if len(token) > MAX_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
        raise Denied("this is not a token", hint="copy it again, whole and alone")
    return token


def loopback(source: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
