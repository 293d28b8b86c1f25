"""
What travels: one frame is the msgpack array ``[kind, stream, payload]``, laid out so that nobody has to decode it.

The widths never change: ``93  cc KK  ce SSSSSSSS  c6 LLLLLLLL`` and then the payload: 13 bytes that one struct packs
and any msgpack decoder reads. The payload of DATA is raw bytes, that of CREDIT one msgpack uint32, that of a bare frame
is empty, every other one is a msgpack map. Numbers are big-endian; stream 0 is the session itself.

Only the heartbeat may be shorter: the one byte ``c0``, msgpack's nil, where a frame could begin. An idle link carries
nothing else, and the other 12 bytes are 6 of the 75 MB that it may cost a month.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgpack

from fledx.errors import Conflict, Denied, FledxError, InvalidSpec, LimitExceeded, NotFound, Unavailable

HEADER = struct.Struct(">BBBBIBI")
HEADER_SIZE = HEADER.size
ARRAY_OF_3, UINT8, UINT32, BIN32 = 0x93, 0xCC, 0xCE, 0xC6
MARKS = (ARRAY_OF_3, UINT8, UINT32, BIN32)
CREDIT_FRAME = struct.Struct(">BBBBIBIBI")
NIL = 0xC0

KIB = 1024
MAX_DATA = 256 * KIB
MAX_MESSAGE = 256 * KIB

HELLO, WELCOME, REFUSED, AUTHORITY, HEARTBEAT, PING, PONG, MESSAGE, GOODBYE = range(1, 10)
OPEN, ACCEPT, DATA, CREDIT, END, RESET = range(16, 22)


class Rule(NamedTuple):
    """What holds for every frame of a kind; ``limit`` is the longest payload in bytes."""

    name: str
    limit: int
    on_stream: bool


RULES: dict[int, Rule] = {
    HELLO: Rule("HELLO", 16 * KIB, on_stream=False),
    WELCOME: Rule("WELCOME", 64 * KIB, on_stream=False),
    REFUSED: Rule("REFUSED", 4 * KIB, on_stream=False),
    AUTHORITY: Rule("AUTHORITY", 64 * KIB, on_stream=False),
    HEARTBEAT: Rule("HEARTBEAT", 0, on_stream=False),
    PING: Rule("PING", 0, on_stream=False),
    PONG: Rule("PONG", 0, on_stream=False),
    MESSAGE: Rule("MESSAGE", MAX_MESSAGE, on_stream=False),
    GOODBYE: Rule("GOODBYE", 4 * KIB, on_stream=False),
    OPEN: Rule("OPEN", 64 * KIB, on_stream=True),
    ACCEPT: Rule("ACCEPT", 64 * KIB, on_stream=True),
    DATA: Rule("DATA", MAX_DATA, on_stream=True),
    CREDIT: Rule("CREDIT", 5, on_stream=True),
    END: Rule("END", 0, on_stream=True),
    RESET: Rule("RESET", 4 * KIB, on_stream=True),
}

MAX_REASON = 1000
"""Characters of a reason that travel; a REFUSED, RESET or GOODBYE then always fits its limit."""


class Reason(NamedTuple):
    """Payload of REFUSED, RESET and GOODBYE: a word for programs and one sentence for people."""

    code: str
    text: str


class Opening(NamedTuple):
    """Payload of OPEN: ``window`` is how many bytes the opener can take before it grants more."""

    kind: str
    meta: Mapping[str, Any]
    window: int


HTTP_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"PRI * ")


class Header(NamedTuple):
    """The first 13 bytes of a frame, checked."""

    kind: int
    stream: int
    length: int


def malformed(text: str) -> Unavailable:
    """The error for bytes that are not this protocol."""
    return Unavailable(f"the peer does not keep to the tunnel protocol: {text}")


def foreign(start: bytes | bytearray | memoryview) -> Unavailable:
    """The error for a peer that speaks something else; ``code`` is ``http`` for one that may be answered in HTTP."""
    head = bytes(start[:HEADER_SIZE])
    if head.startswith(HTTP_METHODS):
        error = Unavailable("the peer speaks HTTP, and this is a fledx tunnel port")
        error.code = "http"
        return error
    if head.startswith(b"HTTP/"):
        return Unavailable("the peer answers in HTTP: that is not a fledx tunnel port")
    if head.startswith(b"\x16\x03"):
        return Unavailable("the peer speaks TLS, and this side of the tunnel does not")
    if len(head) == HEADER_SIZE and (head[0], head[1], head[3], head[8]) == MARKS:
        return Unavailable("the peer speaks the tunnel without TLS, and this side does not")
    return malformed(f"nothing begins with {head.hex(' ')}")


def read_header(data: bytes | bytearray | memoryview, offset: int = 0) -> Header:
    """Check the 13 bytes at `offset` before anything is allocated for them; raises Unavailable or LimitExceeded."""
    array, kind_mark, kind, stream_mark, stream, payload_mark, length = HEADER.unpack_from(data, offset)
    if (array, kind_mark, stream_mark, payload_mark) != MARKS:
        raise foreign(data[offset : offset + HEADER_SIZE])
    rule = RULES.get(kind)
    if rule is None:
        raise malformed(f"there is no frame of kind {kind}")
    if length > rule.limit:
        raise LimitExceeded(f"this {rule.name} frame of {length} bytes is over the limit of {rule.limit}")
    if rule.on_stream != bool(stream):
        where = "needs a stream" if rule.on_stream else f"belongs to the session, not to stream {stream}"
        raise malformed(f"this {rule.name} frame {where}")
    return Header(kind, stream, length)


def frame(kind: int, stream: int = 0, payload: bytes = b"") -> bytes:
    """One whole frame; raises LimitExceeded when `payload` is longer than its kind allows."""
    rule = RULES[kind]
    if len(payload) > rule.limit:
        raise LimitExceeded(f"this {rule.name} frame of {len(payload)} bytes is over the limit of {rule.limit}")
    return HEADER.pack(ARRAY_OF_3, UINT8, kind, UINT32, stream, BIN32, len(payload)) + payload


def map_frame(kind: int, fields: Mapping[str, Any], stream: int = 0) -> bytes:
    """A frame whose payload is `fields` as a msgpack map."""
    try:
        payload = msgpack.packb(fields)
    except (TypeError, ValueError, OverflowError) as problem:
        raise InvalidSpec("", f"this cannot travel in a {RULES[kind].name} frame: {problem}") from None
    return frame(kind, stream, payload)


def credit_frame(stream: int, amount: int) -> bytes:
    """Allow the peer `amount` more bytes on `stream`."""
    return CREDIT_FRAME.pack(ARRAY_OF_3, UINT8, CREDIT, UINT32, stream, BIN32, 5, UINT32, amount)


def read_credit(payload: bytes | bytearray | memoryview) -> int:
    """How many more bytes the peer allows."""
    if len(payload) != 5 or payload[0] != UINT32:
        raise malformed("a CREDIT frame carries one uint32")
    return int.from_bytes(payload[1:], "big")


def read_map(kind: int, payload: bytes | bytearray | memoryview) -> dict[str, Any]:
    """Decode a payload that must be a map with text keys; extension types are refused."""
    name = RULES[kind].name
    try:
        fields = msgpack.unpackb(payload, ext_hook=_no_extension, strict_map_key=True)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as problem:
        raise malformed(f"the payload of this {name} frame is not msgpack ({type(problem).__name__})") from None
    if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
        raise malformed(f"the payload of this {name} frame is not a map")
    return fields


def _no_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"extension type {code}")


class Fields:
    """
    The map of one control frame. Each getter refuses a value of another type, naming frame and field, never the value.

    A field without a default must be there; ``mapping`` is empty when it is not.
    """

    def __init__(self, kind: int, payload: bytes | bytearray | memoryview) -> None:
        self._name = RULES[kind].name
        self._fields = read_map(kind, payload)

    def _take(self, field: str, types: tuple[type, ...], default: Any = None) -> Any:
        value = self._fields.get(field)
        if value is None and default is not None:
            return default
        if type(value) not in types:
            raise malformed(f"{self._name}.{field} is missing or of the wrong type")
        return value

    def text(self, field: str, default: str | None = None) -> str:
        """A str."""
        return str(self._take(field, (str,), default))

    def integer(self, field: str) -> int:
        """An int, which a bool is not."""
        return int(self._take(field, (int,)))

    def seconds(self, field: str) -> float:
        """More than nothing, and a day at most."""
        value = float(self._take(field, (int, float)))
        if not 0 < value <= 86400:
            raise malformed(f"{self._name}.{field} is not between 0 and a day")
        return value

    def mapping(self, field: str) -> dict[str, Any]:
        """A map whose keys are text."""
        value = self._take(field, (dict,), {})
        if not all(isinstance(key, str) for key in value):
            raise malformed(f"{self._name}.{field} has a key that is not text")
        return dict(value)


def printable(text: str) -> str:
    """Without what could move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def reason_frame(kind: int, code: str, reason: str, stream: int = 0) -> bytes:
    """REFUSED, RESET or GOODBYE, cut to what fits."""
    return map_frame(kind, {"code": code[:64], "reason": reason[:MAX_REASON]}, stream)


def read_reason(kind: int, payload: bytes | bytearray | memoryview) -> Reason:
    """Decode a REFUSED, RESET or GOODBYE; what could move a terminal's cursor is taken out of the sentence."""
    fields = Fields(kind, payload)
    return Reason(fields.text("code"), printable(fields.text("reason", "")))


def open_frame(stream: int, opening: Opening) -> bytes:
    """OPEN for a new stream."""
    return map_frame(OPEN, opening._asdict(), stream)


def read_open(payload: bytes | bytearray | memoryview) -> Opening:
    """Decode an OPEN."""
    fields = Fields(OPEN, payload)
    return Opening(kind=fields.text("kind"), meta=fields.mapping("meta"), window=fields.integer("window"))


def authority_frame(certificates: str) -> bytes:
    """AUTHORITY: asked with nothing, answered with the CA certificates as one PEM text."""
    return map_frame(AUTHORITY, {"certificates": certificates})


def read_authority(payload: bytes | bytearray | memoryview) -> str:
    """The PEM text of an AUTHORITY."""
    return Fields(AUTHORITY, payload).text("certificates")


ERRORS: dict[str, type[FledxError]] = {
    error.code: error for error in (NotFound, Conflict, Denied, Unavailable, LimitExceeded)
}


def error_for(code: str, reason: str, default: type[FledxError] = Unavailable) -> FledxError:
    """What a peer's `code` and `reason` are raised as here: an error raised over there comes out as the same class."""
    if code == InvalidSpec.code:
        return InvalidSpec("", reason)
    error = ERRORS.get(code, default)(reason)
    error.code = code
    return error
