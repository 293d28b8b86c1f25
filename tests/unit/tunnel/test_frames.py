"""What lies on the wire, byte by byte."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledx.errors import Conflict, Denied, FledxError, InvalidSpec, LimitExceeded, Unavailable
from fledx.tunnel import frames, greeting
from fledx.tunnel.frames import Opening
from fledx.tunnel.greeting import Hello, Welcome

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def payload_of(frame: bytes) -> bytes:
    return frame[frames.HEADER_SIZE :]


def test_a_frame_is_a_msgpack_array_of_kind_stream_and_payload() -> None:
    frame = frames.frame(frames.DATA, 7, b"hello")

    assert msgpack.unpackb(frame) == [frames.DATA, 7, b"hello"]
    assert frame == bytes.fromhex("93 cc12 ce00000007 c600000005") + b"hello"


def test_a_header_is_read_wherever_it_lies() -> None:
    data = b"xx" + frames.frame(frames.DATA, 7, b"hello")

    assert frames.read_header(data, 2) == (frames.DATA, 7, 5)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (bytes.fromhex("93 cc63 ce00000007 c600000005"), "no frame of kind 99"),
        (bytes.fromhex("92 cc12 ce00000007 c600000005"), "nothing begins with 92 cc"),
        (bytes.fromhex("93 cc12 ce00000007 c500000005"), "not keep to the tunnel protocol"),
        (bytes.fromhex("93 cc12 ce00000007 c600040001"), "DATA frame of 262145 bytes is over the limit of 262144"),
        (bytes.fromhex("93 cc05 ce00000000 c600000001"), "HEARTBEAT frame of 1 bytes is over the limit of 0"),
        (bytes.fromhex("93 cc12 ce00000000 c600000005"), "DATA frame needs a stream"),
        (bytes.fromhex("93 cc08 ce00000003 c600000005"), "MESSAGE frame belongs to the session, not to stream 3"),
        (b"GET / HTTP/1.", "speaks HTTP"),
        (b"HTTP/1.1 400 ", "answers in HTTP"),
        (bytes.fromhex("16 03 01 02 00 01 00 01 fc 03 03 aa bb"), "speaks TLS"),
    ],
)
def test_a_header_that_cannot_be_is_refused_by_name(head: bytes, reason: str) -> None:
    with pytest.raises(FledxError, match=reason):
        frames.read_header(head)


def test_a_hello_comes_out_as_it_went_in() -> None:
    hello = Hello(role="agent", token="t", node_id="n1", version="1.2.3", build="b", facts={"cpu": 4})

    assert greeting.read_hello(payload_of(greeting.hello_frame(hello))) == hello


def test_a_token_is_in_no_repr() -> None:
    assert "s3cret" not in repr(Hello(role="agent", token="s3cret"))
    assert "s3cret" not in repr(Welcome(session="s", body={"node_token": "s3cret"}))


def test_fault_26_unknown_fields_of_a_newer_hello_are_ignored() -> None:
    frame = frames.map_frame(frames.HELLO, {"protocol": 1, "role": "agent", "token": "t", "colour": "red"})

    assert greeting.read_hello(payload_of(frame)).role == "agent"


def test_fault_26_a_hello_of_another_protocol_is_read_for_its_version_only() -> None:
    frame = frames.map_frame(frames.HELLO, {"protocol": 7, "version": "9.0.0", "role": ["not", "text"]})

    hello = greeting.read_hello(payload_of(frame))

    assert (hello.protocol, hello.version) == (7, "9.0.0")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "HELLO.protocol"),
        ({"protocol": True}, "HELLO.protocol"),
        ({"protocol": 1, "token": "t"}, "HELLO.role"),
        ({"protocol": 1, "role": "agent", "token": b"t"}, "HELLO.token"),
        ({"protocol": 1, "role": "agent", "token": "t", "facts": []}, "HELLO.facts"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not(fields: dict[str, object], named: str) -> None:
    with pytest.raises(Unavailable, match=named):
        greeting.read_hello(payload_of(frames.map_frame(frames.HELLO, fields)))


@pytest.mark.parametrize("secs", [0, -1, 86401, float("inf"), float("nan"), "5"])
def test_a_welcome_with_an_odd_heartbeat_is_refused(secs: object) -> None:
    fields = {"protocol": 1, "session": "s", "heartbeat_secs": secs, "reconnect_secs": 1, "body": {}}

    with pytest.raises(Unavailable, match=r"WELCOME.heartbeat_secs"):
        greeting.read_welcome(payload_of(frames.map_frame(frames.WELCOME, fields)))


@given(st.dictionaries(st.text(), plain, max_size=5))
def test_any_map_of_plain_values_travels_unchanged(message: dict[str, object]) -> None:
    frame = frames.map_frame(frames.MESSAGE, message)

    assert frames.read_map(frames.MESSAGE, payload_of(frame)) == message


@given(st.binary(max_size=200))
def test_a_payload_of_any_bytes_is_a_map_or_refused(payload: bytes) -> None:
    try:
        message = frames.read_map(frames.MESSAGE, payload)
    except Unavailable:
        return
    assert all(isinstance(key, str) for key in message)


@pytest.mark.parametrize(
    "payload",
    [
        msgpack.packb([1]),
        msgpack.packb({1: 2}),
        msgpack.packb({"a": msgpack.ExtType(5, b"x")}),
        b"\x81\xa1a" + b"\x91" * 5000 + b"\xc0",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa1\xff\xc0",
        b"",
    ],
    ids=["list", "number as key", "extension", "deep", "long promise", "bad text", "nothing"],
)
def test_a_payload_that_is_not_a_plain_map_is_refused(payload: bytes) -> None:
    with pytest.raises(Unavailable):
        frames.read_map(frames.MESSAGE, payload)


def test_what_cannot_be_encoded_is_the_callers_fault() -> None:
    with pytest.raises(InvalidSpec, match="MESSAGE"):
        frames.map_frame(frames.MESSAGE, {"a": object()})
    with pytest.raises(LimitExceeded, match="MESSAGE frame of"):
        frames.map_frame(frames.MESSAGE, {"a": b"x" * frames.MAX_MESSAGE})


def test_a_reason_of_any_length_fits() -> None:
    frame = frames.reason_frame(frames.RESET, "failed", "é" * 100_000, 3)

    assert frames.read_reason(frames.RESET, payload_of(frame)).text == "é" * frames.MAX_REASON


def test_a_reason_cannot_move_the_cursor() -> None:
    frame = frames.reason_frame(frames.REFUSED, "denied", "no\x1b[2J\r\nentry")

    assert frames.read_reason(frames.REFUSED, payload_of(frame)).text == "no [2J  entry"


def test_credit_is_one_number() -> None:
    frame = frames.credit_frame(5, 262144)

    assert msgpack.unpackb(msgpack.unpackb(frame)[2]) == 262144
    assert frames.read_credit(payload_of(frame)) == 262144
    with pytest.raises(Unavailable, match="CREDIT"):
        frames.read_credit(b"\xcf\x00\x00\x00\x01")


def test_an_opening_comes_out_as_it_went_in() -> None:
    opening = Opening("exec", {"argv": ["ls"], "tty": True}, 262144)

    assert frames.read_open(payload_of(frames.open_frame(3, opening))) == opening


@pytest.mark.parametrize(
    ("code", "expected"),
    [("denied", Denied), ("conflict", Conflict), ("invalid", InvalidSpec), ("whatever", Unavailable)],
)
def test_an_error_comes_out_as_the_class_it_was_over_there(code: str, expected: type[FledxError]) -> None:
    error = frames.error_for(code, "because")

    assert type(error) is expected
    assert error.text == "because"
    assert error.code == code
