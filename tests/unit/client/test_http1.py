"""Requests as bytes, and answers decoded however the network cuts them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledx.client.http1 import Address, Body, Head, Request, parse_head, request_bytes, target


@pytest.mark.parametrize(
    ("url", "shown", "host", "port"),
    [
        ("http://localhost:8080", "http://localhost:8080", "localhost", 8080),
        ("http://localhost:8080/", "http://localhost:8080", "localhost", 8080),
        ("localhost:8080", "http://localhost:8080", "localhost", 8080),
        ("HTTPS://cp.example.com", "https://cp.example.com", "cp.example.com", 443),
        ("http://cp.example.com:80/fledx/", "http://cp.example.com/fledx", "cp.example.com", 80),
        ("https://[::1]:8443", "https://[::1]:8443", "::1", 8443),
    ],
)
def test_an_address_is_read_as_people_write_it(url: str, shown: str, host: str, port: int) -> None:
    address = Address.parse(url)

    assert (shown, host, port) == (str(address), address.host, address.port)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "ftp://host",
        "http://host:0",
        "http://host:99999",
        "http://ho st",
        "http://h?x",
        "http://é",
        "http://u@h",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"is not a|is neither"):
        Address.parse(url)


def test_loopback_addresses_are_known_as_such() -> None:
    assert [
        Address.parse(url).is_loopback
        for url in ("localhost", "127.0.0.9:1", "http://[::1]", "http://localhost.example.com")
    ] == [True, True, True, False]


def test_a_query_leaves_out_what_is_not_set_and_escapes_the_rest() -> None:
    assert (
        target("/x", [("a", 1), ("b", None), ("label", "k=v &ü"), ("all", True)])
        == "/x?a=1&label=k%3Dv%20%26%C3%BC&all=true"
    )


def test_a_request_goes_out_with_its_length_and_host() -> None:
    request = Request(method="POST", target="/a", headers={"accept": "*/*"}, body=b"{}")

    assert (
        request_bytes(request, Address.parse("http://[::1]:81/base"))
        == b"POST /base/a HTTP/1.1\r\nhost: [::1]:81\r\naccept: */*\r\ncontent-length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize("token", ["two\r\nx: y", "nul\0", "snow\u2603"])
def test_a_header_cannot_break_out_of_its_line(token: str) -> None:
    with pytest.raises(ValueError, match="the authorization header"):
        request_bytes(Request(method="GET", target="/", headers={"authorization": token}), Address.parse("localhost"))


@pytest.mark.parametrize("raw", [b"SSH-2.0-OpenSSH", b"HTTP/2 200", b"HTTP/1.1 abc", b"HTTP/1.1 200 OK\r\nno colon"])
def test_what_is_not_http_is_not_read_as_a_head(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"not an HTTP/1|without a colon"):
        parse_head(raw)


def test_header_names_are_read_in_lower_case() -> None:
    head = parse_head(b"HTTP/1.1 404 Not Found\r\nContent-Type:  text/html \r\nX-A: b:c")

    assert (head.status, head.reason) == (404, "Not Found")
    assert head.headers == {"content-type": "text/html", "x-a": "b:c"}


def chunked(pieces: list[bytes]) -> bytes:
    body = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece)
    return body + b"0\r\ntrailer: x\r\n\r\n"


@given(st.lists(st.binary(max_size=50), max_size=5), st.lists(st.integers(0, 200), max_size=8))
def test_chunks_are_decoded_wherever_the_network_cuts_them(pieces: list[bytes], cuts: list[int]) -> None:
    raw = chunked(pieces) + b"left over"
    body = Body(Head(status=200, reason="", headers={"transfer-encoding": "chunked"}), "GET")
    marks = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    got, left = [], b""
    for start, end in itertools.pairwise(marks):
        if body.done:
            left += raw[start:end]
        else:
            got.append(body.feed(raw[start:end]))
    assert b"".join(pieces) == b"".join(got)
    assert body.done
    assert body.left + left == b"left over"


@pytest.mark.parametrize("raw", [b"zz\r\n", b"\r\n", b"2\r\nabc\r\n", b"f" * 20 + b"\r\n", b"1" * 70000])
def test_broken_chunks_are_an_error(raw: bytes) -> None:
    body = Body(Head(status=200, reason="", headers={"transfer-encoding": "chunked"}), "GET")

    with pytest.raises(ValueError, match=r"chunk|invalid literal"):
        body.feed(raw)


def test_a_body_of_known_length_ends_there() -> None:
    body = Body(Head(status=200, reason="", headers={"content-length": "3"}), "GET")

    assert [body.feed(b"ab"), body.feed(b"cHTTP")] == [b"ab", b"c"]
    assert (body.done, body.left) == (True, b"HTTP")


@pytest.mark.parametrize(("status", "method"), [(204, "DELETE"), (304, "GET"), (200, "HEAD")])
def test_some_answers_have_no_body_whatever_they_say(status: int, method: str) -> None:
    assert Body(Head(status=status, reason="", headers={"content-length": "9"}), method).done


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    body = Body(Head(status=200, reason="", headers={}), "GET")

    assert (body.feed(b"x"), body.done, body.ends_with_connection) == (b"x", False, True)
