"""What a session has understood of the bytes it was given, in the order it was said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fledx.tunnel.flow import Flow
from fledx.tunnel.frames import Opening
from fledx.tunnel.greeting import Hello, Refused, Welcome


class Greeted(NamedTuple):
    """The dialler has said who it is."""

    hello: Hello


class AuthorityAsked(NamedTuple):
    """A stranger asks for the CA certificates, to compare them with the fingerprint it holds."""


class AuthorityTold(NamedTuple):
    """The CA certificates, as one PEM text nobody has checked yet."""

    certificates: str


class Answered(NamedTuple):
    """The listener has taken our hello, or not."""

    answer: Welcome | Refused


class Told(NamedTuple):
    """A small control message."""

    message: Mapping[str, Any]


class Opened(NamedTuple):
    """The peer opens a stream."""

    flow: Flow
    opening: Opening


class Accepted(NamedTuple):
    """The peer takes the stream we opened."""

    flow: Flow
    meta: Mapping[str, Any]


class Data(NamedTuple):
    """Part of what a stream carries; the view is into the bytes just given, valid until the next ones."""

    flow: Flow
    piece: memoryview


class Ended(NamedTuple):
    """The peer sends nothing more on this stream."""

    flow: Flow


class Failed(NamedTuple):
    """The peer has reset this stream."""

    flow: Flow
    code: str
    reason: str


class Closed(NamedTuple):
    """The session is over: one side said goodbye, the connection broke, or (``faulty``) the peer broke the protocol."""

    code: str
    reason: str
    faulty: bool


Event = Greeted | AuthorityAsked | AuthorityTold | Answered | Told | Opened | Accepted | Data | Ended | Failed | Closed
