"""
What the two sides say before anything else: who dials, and whether it is welcome.

The dialler says HELLO, the listener answers WELCOME or REFUSED. Both name their fledx and the protocol it speaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fledx.tunnel.frames import HELLO, WELCOME, Fields, map_frame, printable

PROTOCOL = 1
"""
Unknown fields, messages and kinds of streams are passed over, so adding one leaves it as it is. What a side that does
not know it must not pass over raises it: two sides that differ part, and nothing is half understood (`mismatch`).
``protocol`` and ``version`` of HELLO and WELCOME, and all of REFUSED, stay as they are for ever.
"""

MAX_VERSION = 40
"""Characters of a peer's version that are shown."""


@dataclass(frozen=True, kw_only=True)
class Hello:
    """
    Who dials: the first frame of a session. ``token`` is in no repr and no error text.

    ``version`` and ``build`` are the dialler's fledx; ``facts`` describe its machine and mean nothing to the tunnel.
    """

    role: str
    token: str = field(repr=False)
    node_id: str | None = None
    version: str = ""
    build: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    protocol: int = PROTOCOL


@dataclass(frozen=True, kw_only=True)
class Welcome:
    """
    The answer to a hello that is taken.

    ``heartbeat_secs`` is how often the dialler shows that it lives, ``reconnect_secs`` the upper bound of its first
    wait after a lost link. ``body`` is between the roles, for a join the node's id and token, and is in no repr.
    """

    session: str
    version: str = ""
    heartbeat_secs: float = 5.0
    reconnect_secs: float = 1.0
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    protocol: int = PROTOCOL


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The answer to a hello that is not taken; ``code`` is one of `FledxError.code` or a word of the roles."""

    code: str
    reason: str


def hello_frame(hello: Hello) -> bytes:
    """HELLO for `hello`."""
    return map_frame(
        HELLO,
        {
            "protocol": hello.protocol,
            "role": hello.role,
            "node_id": hello.node_id,
            "token": hello.token,
            "version": hello.version,
            "build": hello.build,
            "facts": hello.facts,
        },
    )


def read_hello(payload: bytes | bytearray | memoryview) -> Hello:
    """Decode a HELLO; of one that speaks another protocol only ``protocol`` and ``version`` are looked at."""
    fields = Fields(HELLO, payload)
    protocol = fields.integer("protocol")
    if protocol != PROTOCOL:
        return Hello(protocol=protocol, version=_version(fields), role="", token="")
    return Hello(
        role=fields.text("role"),
        token=fields.text("token"),
        node_id=fields.text("node_id", "") or None,
        version=_version(fields),
        build=fields.text("build", ""),
        facts=fields.mapping("facts"),
    )


def welcome_frame(welcome: Welcome) -> bytes:
    """WELCOME for `welcome`."""
    return map_frame(
        WELCOME,
        {
            "protocol": welcome.protocol,
            "session": welcome.session,
            "version": welcome.version,
            "heartbeat_secs": welcome.heartbeat_secs,
            "reconnect_secs": welcome.reconnect_secs,
            "body": welcome.body,
        },
    )


def read_welcome(payload: bytes | bytearray | memoryview) -> Welcome:
    """Decode a WELCOME; of one that speaks another protocol only ``protocol`` and ``version`` are looked at."""
    fields = Fields(WELCOME, payload)
    protocol = fields.integer("protocol")
    if protocol != PROTOCOL:
        return Welcome(protocol=protocol, version=_version(fields), session="")
    return Welcome(
        session=fields.text("session"),
        version=_version(fields),
        heartbeat_secs=fields.seconds("heartbeat_secs"),
        reconnect_secs=fields.seconds("reconnect_secs"),
        body=fields.mapping("body"),
    )


def mismatch(*, dialler: tuple[str, int], listener: tuple[str, int]) -> Refused:
    """Why two of different protocols part, in words that are true on both sides; each is its version and protocol."""
    return Refused(
        code="protocol",
        reason=f"the control plane, fledx {listener[0] or '?'}, speaks protocol {listener[1]} of the tunnel, and fledx "
        f"{dialler[0] or '?'}, which dials it, protocol {dialler[1]}: bring both to one version",
    )


def _version(fields: Fields) -> str:
    return printable(fields.text("version", "")[:MAX_VERSION])
