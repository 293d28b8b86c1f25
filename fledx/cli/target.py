"""Which control plane a command talks to, as whom, and where each of that was said: flag > env > profile > default."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from fledx.cli import profiles
from fledx.cli.terminal import Terminal
from fledx.client.api import ControlPlane
from fledx.client.asking import Credentials
from fledx.client.http1 import Address
from fledx.client.transport import Transport
from fledx.errors import InvalidSpec
from fledx.settings.declare import declared, load
from fledx.settings.operator import DEFAULT_URL, OperatorSettings

PROFILE_ENV = f"{OperatorSettings.PREFIX}_PROFILE"
DEFAULT_HEADER = "authorization"
DEFAULT_TIMEOUT = 30.0
Connect = Callable[..., Transport]
CONTROL_PLANE_DATA_DIR = "FLEDX_CP_DATA_DIR"


@dataclass(frozen=True, kw_only=True)
class Target:
    """`said` tells for each value where it comes from, in words for a message."""

    address: Address
    credentials: Credentials
    ca_path: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    said: Mapping[str, str] = field(default_factory=dict)

    @property
    def token_hint(self) -> str:
        """What to look at when the token was refused."""
        if self.credentials.operator_token is None:
            return "give one with --operator-token, FLEDX_CLI_OPERATOR_TOKEN or a profile"
        return f"the token came from {self.said['operator_token']}"


def resolve(args: Namespace, environ: Mapping[str, str]) -> Target:
    """Put the settings of one command together; InvalidSpec names whatever cannot be used."""
    flags = {each.field: getattr(args, each.field, None) for each in declared(OperatorSettings)}
    given = load(OperatorSettings, environ, flags)
    name, fields = _profile(args, environ)
    values: dict[str, str] = {}
    said: dict[str, str] = {}
    for each in declared(OperatorSettings):
        value = getattr(given, each.field)
        if value not in (None, ""):
            values[each.field] = value
            said[each.field] = each.flag if flags[each.field] is not None else each.env
        elif fields.get(each.field):
            values[each.field], said[each.field] = fields[each.field], f"profile {name}"
    address = _address(values.get("control_plane_url", DEFAULT_URL), said.get("control_plane_url", "the default"))
    if "operator_token" not in values and address.is_loopback and (found := _local_token(environ)) is not None:
        values["operator_token"], said["operator_token"] = found
    return Target(
        address=address,
        credentials=Credentials(
            operator_token=_clean(values.get("operator_token")),
            header=values.get("operator_header", DEFAULT_HEADER),
            registration_token=_clean(values.get("registration_token")),
        ),
        ca_path=values.get("ca_cert_path"),
        timeout=given.timeout or DEFAULT_TIMEOUT,
        said=said,
    )


def _profile(args: Namespace, environ: Mapping[str, str]) -> tuple[str | None, Mapping[str, str]]:
    """The profile that counts and its fields; no profile at all is fine as long as none was asked for."""
    asked = getattr(args, "profile", None) or environ.get(PROFILE_ENV)
    try:
        found = profiles.load(profiles.path(environ))
    except InvalidSpec:
        if asked is None and not environ.get("HOME") and not environ.get("XDG_CONFIG_HOME"):
            return None, {}
        raise
    name = asked or found.default
    return (None, {}) if name is None else (name, found.get(name))


def _address(url: str, said: str) -> Address:
    try:
        return Address.parse(url)
    except ValueError as problem:
        raise InvalidSpec("", f"{problem} (it came from {said})") from None


def _local_token(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The token that a control plane on this machine made, where this user may read it, and its file."""
    from fledx.settings.places import operator_token_file

    directory = environ.get(CONTROL_PLANE_DATA_DIR)
    file = os.path.join(directory, "operator-token") if directory else str(operator_token_file(environ))
    try:
        with open(file, encoding="ascii") as opened:
            text = opened.read().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return (text, file) if text else None


def _clean(token: str | None) -> str | None:
    return None if token is None else token.strip() or None


def connect(args: Namespace, terminal: Terminal) -> ControlPlane:
    """The control plane that this command is about."""
    return control_plane(resolve(args, terminal.environ), terminal)


def control_plane(target: Target, terminal: Terminal, *, timeout: float | None = None) -> ControlPlane:
    """A client for a target; `timeout` shortens its patience."""
    make = cast(Connect, terminal.connect or _socket_transport)
    transport = make(target.address, timeout=timeout or target.timeout, ca_path=target.ca_path)
    return ControlPlane(transport, target.credentials, peer=str(target.address), token_hint=target.token_hint)


def _socket_transport(address: Address, *, timeout: float, ca_path: str | None) -> Transport:
    from fledx.client.connection import SocketTransport

    return SocketTransport(address, timeout=timeout, ca_path=ca_path)
