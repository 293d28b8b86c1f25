"""Request bodies, honest and hostile."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.types import Message

from fledx.control_plane.api.body import MAX_DEPTH, parsed, read_object
from fledx.errors import InvalidSpec
from fledx.settings.control_plane import ControlPlaneSettings
from tests.unit.api.site import Site

ALL = "/api/v1/deployments"
TYPED = {"content-type": "application/json"}

HOSTILE = {
    "nothing": b"",
    "blanks": b"  \n ",
    "no JSON": b"{image: nginx}",
    "cut off": b'{"image": "nginx"',
    "two values": b'{"image": "nginx"} {}',
    "a list": b"[]",
    "a text": b'"nginx"',
    "null": b"null",
    "NaN": b'{"stop_grace_seconds": NaN}',
    "Infinity": b'{"stop_grace_seconds": -Infinity}',
    "an endless number": b'{"stop_grace_seconds": 1e999}',
    "a huge number": b'{"replicas": ' + b"9" * 10_000 + b"}",
    "2**63": b'{"replicas": 9223372036854775808}',
    "doubled keys": b'{"image": "nginx", "image": "caddy"}',
    "doubled keys inside": b'{"image": "nginx", "env": {"A": "1", "A": "2"}}',
    "not UTF-8": b'{"image": "\xff"}',
    "UTF-16": '{"image": "nginx"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"image": "nginx"}',
    "half a character": b'{"image": "nginx", "env": {"A": "\\ud800"}}',
    "a control character": b'{"image": "a\nb"}',
    "NUL in a value": b'{"image": "nginx", "env": {"A": "\\u0000"}}',
    "a depth bomb": b"[" * 1_000_000,
    "a depth bomb of objects": b'{"a":' * 200_000,
    "a closed depth bomb": b'{"env":' + b"[" * 400 + b"]" * 400 + b"}",
}


@pytest.mark.anyio
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_body_that_is_no_sound_object_is_400_and_reaches_nobody(site: Site, body: bytes) -> None:
    answer = await site.call("POST", ALL, body=body, headers=TYPED)

    assert (answer.status, answer.json()["code"]) == (400, "bad_request")
    assert len(answer.body) < 2000
    assert site.deployments.calls == []


@pytest.mark.anyio
async def test_a_syntax_error_is_found_at_its_line_and_column(site: Site) -> None:
    answer = await site.call("POST", ALL, body=b'{\n  "image": nginx}', headers=TYPED)

    assert answer.json()["error"].endswith("at line 2, column 12")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "",
        "application/x-www-form-urlencoded",
        "application/merge-patch+json",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
    ],
)
async def test_anything_but_json_is_415(site: Site, kind: str) -> None:
    answer = await site.call("POST", ALL, body=b'{"image":"nginx"}', headers={"content-type": kind})

    assert (answer.status, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=UTF-8", 'application/json; charset="utf-8"']
)
async def test_json_may_name_its_charset(site: Site, kind: str) -> None:
    answer = await site.call(
        "POST", ALL, body='{"image":"nginx","env":{"A":"é"}}'.encode(), headers={"content-type": kind}
    )

    assert answer.json()["env"] == {"A": "é"}


@pytest.mark.anyio
async def test_a_compressed_body_is_415(site: Site) -> None:
    answer = await site.call("POST", ALL, body=b"\x1f\x8b", headers={**TYPED, "content-encoding": "gzip"})

    assert answer.status == 415


@pytest.mark.anyio
async def test_a_body_over_the_limit_is_413_whether_it_says_so_or_not() -> None:
    site = Site(settings=ControlPlaneSettings(limits_body_bytes=1024))
    large = json.dumps({"image": "nginx", "env": {"A": "x" * 2000}}).encode()

    for headers, body in (({"content-length": str(len(large))}, [b""]), ({}, [large[:900], large[900:]])):
        answer = await site.call("POST", ALL, body=body, headers={**TYPED, **headers})
        assert (answer.status, answer.json()["code"]) == (413, "payload_too_large")
    assert (await site.call("POST", ALL, json={"image": "nginx"})).status == 201


@pytest.mark.anyio
async def test_a_body_may_come_in_any_pieces(site: Site) -> None:
    answer = await site.call("POST", ALL, body=[bytes([byte]) for byte in b'{"image":"nginx"}'], headers=TYPED)

    assert answer.status == 201


@pytest.mark.anyio
async def test_a_body_that_does_not_come_is_408() -> None:
    async def receive() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    with pytest.raises(HTTPException, match=r"0\.01 seconds") as refusal:
        await read_object(receive, TYPED, most=1024, seconds=0.01, optional=False)
    assert refusal.value.status_code == 408


@pytest.mark.anyio
async def test_a_client_that_leaves_within_its_body_gets_no_answer_and_no_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[Message] = []
    scope = site.call._scope("POST", ALL, TYPED, "")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await site.app(scope, receive, send)

    assert (sent, caplog.records) == ([], [])


def test_a_spec_of_allowed_depth_is_read_and_one_deeper_is_not() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' * depth + b"{}" + b"}" * depth

    parsed(nested(MAX_DEPTH - 1))
    with pytest.raises(InvalidSpec, match="nested deeper"):
        parsed(nested(MAX_DEPTH))


def test_many_things_beside_each_other_are_not_deep() -> None:
    assert len(parsed(json.dumps({"a": [{} for _ in range(1000)]}).encode())["a"]) == 1000


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON))
def test_every_sound_object_is_read_as_it_is(value: dict[str, Any]) -> None:
    assert parsed(json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")) == value


@given(st.binary() | st.text().map(lambda text: text.encode(errors="surrogatepass")))
@settings(max_examples=300)
def test_any_bytes_are_an_object_or_a_fault(content: bytes) -> None:
    try:
        assert isinstance(parsed(content), dict)
    except InvalidSpec as fault:
        json.dumps(fault.problems)
