"""The driver against real sockets on loopback: what comes over them, and what is said when it goes wrong."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from fledx.client.connection import SocketTransport
from fledx.client.http1 import Address, Request
from fledx.errors import FledxError, InvalidSpec, Unavailable

Session = Callable[[socket.socket], None]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GET = Request(method="GET", target="/")
POST = Request(method="POST", target="/", body=b"{}")


@contextmanager
def serving(*sessions: Session, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that gives each session one connection, in turn; the value is its host and port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(60)

    def serve() -> None:
        for session in sessions:
            connection, _ = listener.accept()
            connection.settimeout(60)
            with connection, suppress(OSError), _spoken(connection, tls) as spoken:
                session(spoken)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        thread.join(60)
        listener.close()
    assert not thread.is_alive()


def _spoken(connection: socket.socket, tls: ssl.SSLContext | None) -> socket.socket:
    return connection if tls is None else tls.wrap_socket(connection, server_side=True)


def answering(*answers: bytes) -> Session:
    """One answer to each request that comes over the connection, then the end."""

    def session(connection: socket.socket) -> None:
        for answer in answers:
            connection.recv(65536)
            connection.sendall(answer)

    return session


def closing(connection: socket.socket) -> None:
    connection.recv(65536)


@contextmanager
def transport(
    place: str, *, scheme: str = "http", timeout: float = 60.0, ca: Path | None = None
) -> Iterator[SocketTransport]:
    address = Address.parse(f"{scheme}://{place}")
    client = SocketTransport(address, timeout=timeout, ca_path=None if ca is None else str(ca))
    try:
        yield client
    finally:
        client.close()


def fault_of(place: str, *, scheme: str = "http", timeout: float = 60.0, ca: Path | None = None) -> FledxError:
    with transport(place, scheme=scheme, timeout=timeout, ca=ca) as client, pytest.raises(FledxError) as fault:
        client.send(GET).read()
    return fault.value


def test_one_connection_carries_several_requests() -> None:
    with (
        serving(answering(OK, b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"HTTP/1.1 204 No\r\n\r\n", OK)) as place,
        transport(place) as client,
    ):
        assert [client.send(GET).read() for _ in range(4)] == [b"ok", b"ok", b"", b"ok"]


def test_a_kept_connection_that_was_closed_meanwhile_is_replaced_unnoticed() -> None:
    with serving(answering(OK), answering(OK)) as place, transport(place) as client:
        assert [client.send(GET).read() for _ in range(2)] == [b"ok", b"ok"]


def test_a_request_that_must_not_be_sent_twice_takes_a_connection_of_its_own() -> None:
    with serving(answering(OK, OK), answering(OK)) as place, transport(place) as client:
        assert [client.send(GET).read(), client.send(POST).read()] == [b"ok", b"ok"]


def test_a_refused_body_still_shows_its_answer() -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 413 Too big\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    with serving(refuse) as place, transport(place) as client:
        response = client.send(Request(method="POST", target="/", body=b"x" * 1_000_000))
        assert response.status == 413
        response.close()


def test_silence_in_a_stream_is_told_apart_from_its_end() -> None:
    more = threading.Event()

    def session(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        more.wait(60)
        connection.sendall(b"3\r\ntwo\r\n0\r\n\r\n")

    with serving(session) as place, transport(place) as client:
        response = client.send(GET)
        assert [response.receive(60.0), response.receive(0.05)] == [b"one", None]
        more.set()
        assert [response.receive(60.0), response.receive(60.0)] == [b"two", b""]


def test_nobody_listening_names_the_url_and_what_to_try() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
    fault = fault_of(place)

    assert f"no control plane at http://{place}: connection refused" == fault.text
    assert "fledx cp" in str(fault.hint)


def test_an_unknown_host_is_named() -> None:
    assert fault_of("nowhere.invalid").text == "the host nowhere.invalid of http://nowhere.invalid is not known"


def test_thirty_seconds_of_silence_are_told_as_such() -> None:
    def quiet(connection: socket.socket) -> None:
        closing(connection)
        closing(connection)

    with serving(quiet) as place:
        assert f"no answer from http://{place} for 0.05 seconds" == fault_of(place, timeout=0.05).text


def test_a_peer_that_closes_without_a_word_may_want_tls() -> None:
    with serving(closing) as place:
        fault = fault_of(place)
    assert f"http://{place} closed the connection without an answer" == fault.text
    assert f"https://{place}" in str(fault.hint)


@pytest.mark.parametrize(
    "greeting", [b"SSH-2.0-OpenSSH_9\r\n", b"220 mail ready\r\n", b"\x00\x01\x02\x03\x04\x05\x06\x07"]
)
def test_a_peer_that_speaks_something_else_is_told_as_such(greeting: bytes) -> None:
    with serving(answering(greeting)) as place:
        assert f"http://{place} does not speak HTTP" == fault_of(place).text


def test_an_answer_that_breaks_off_is_an_error() -> None:
    with serving(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort")) as place:
        assert f"http://{place} closed the connection in the middle of an answer" == fault_of(place).text


class Authority:
    """A certificate authority, its file, and a server context for 127.0.0.1."""

    def __init__(self, directory: Path, *names: str) -> None:
        authority = trustme.CA()
        self.pem = directory / "ca.pem"
        authority.cert_pem.write_to_path(self.pem)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(self.context)


def test_tls_works_with_the_authority_that_was_given(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "127.0.0.1")
    with (
        serving(answering(OK), tls=authority.context) as place,
        transport(place, scheme="https", ca=authority.pem) as client,
    ):
        assert client.send(GET).read() == b"ok"


def test_a_certificate_of_another_authority_is_not_trusted(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "127.0.0.1")
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "127.0.0.1")
    with serving(answering(OK), tls=authority.context) as place:
        fault = fault_of(place, scheme="https", ca=other.pem)
    assert fault.text.startswith(f"the certificate of https://{place} is not trusted by the authority in {other.pem}:")
    assert "--ca-cert-path" in str(fault.hint)


def test_a_certificate_for_another_host_is_not_trusted(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "elsewhere.example.com")
    with serving(answering(OK), tls=authority.context) as place:
        fault = fault_of(place, scheme="https", ca=authority.pem)
    assert "127.0.0.1" in fault.text.partition("ca.pem: ")[2]


def test_https_against_cleartext_says_which_url_to_use(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "127.0.0.1")
    with serving(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as place:
        fault = fault_of(place, scheme="https", ca=authority.pem)
    assert fault.text.startswith(f"https://{place} does not answer in TLS")
    assert f"if it serves cleartext, its URL is http://{place}" == fault.hint


def test_cleartext_against_tls_says_which_url_to_use() -> None:
    with serving(answering(b"\x15\x03\x01\x00\x02\x02\x46")) as place:
        fault = fault_of(place)
    assert f"http://{place} answers in TLS" == fault.text
    assert f"its URL is https://{place}" == fault.hint


@pytest.mark.parametrize(("content", "words"), [(None, "cannot be read"), ("nonsense", "holds no PEM certificate")])
def test_an_authority_that_cannot_be_used_is_named(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with serving(closing) as place:
        fault = fault_of(place, scheme="https", ca=path)
    assert isinstance(fault, InvalidSpec)
    assert words in fault.text


def test_every_fault_of_the_network_is_one_that_a_retry_may_mend() -> None:
    with serving(closing) as place:
        assert isinstance(fault_of(place), Unavailable)


def test_an_address_that_says_nothing_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as full, serving(answering(OK)) as served, ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):  # whoever comes after these is not answered at all
            crowd = waiting.enter_context(socket.socket())
            crowd.setblocking(False)
            crowd.connect_ex(full.getsockname())
        last = served.rpartition(":")
        found = [full.getsockname(), (last[0], int(last[2]))]
        told = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in found]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *asked, **how: told)
        transport = SocketTransport(Address(scheme="http", host="cp.example.com", port=80), timeout=6)
        waiting.callback(transport.close)

        assert transport.send(GET).read() == b"ok"
