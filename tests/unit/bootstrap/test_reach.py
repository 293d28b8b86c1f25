"""Trying the network for real, on loopback: who answers under the name, and who is behind the tunnel's port."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trustme

from fledx.bootstrap.host import Done, Order
from fledx.bootstrap.reach import try_agent, try_control_plane
from tests.ports import free_port
from tests.unit.bootstrap.here import Here


@contextmanager
def served(answer: bytes, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A listener on loopback that greets whoever comes; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    peer = listener.accept()[0]
                except OSError:
                    return
                try:
                    with peer if tls is None else tls.wrap_socket(peer, server_side=True) as link:
                        link.sendall(answer)
                except OSError:
                    pass

        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_name_that_leads_to_the_host_itself_is_well(name: str) -> None:
    host = Here()
    assert try_control_plane(host, sys.executable, name, [free_port(), free_port()], strict=True) is None
    assert 1 == host.ran


def test_a_name_behind_which_another_machine_answers_is_told() -> None:
    with served(b"HTTP/1.1 400 Bad Request\r\n") as port:
        trouble = try_control_plane(Elsewhere(), sys.executable, "127.0.0.1", [port], strict=True)
    assert trouble is not None
    assert f"127.0.0.1:{port} leads to another machine" == trouble.text
    assert "correct --cp-hostname" in trouble.mend


def test_a_name_behind_which_nobody_answers_is_told_and_only_warned_of_without_waiting() -> None:
    port = free_port()
    trouble = try_control_plane(Elsewhere(), sys.executable, "127.0.0.1", [port], strict=True)
    assert trouble is not None
    assert (f"127.0.0.1:{port} refuses connections from here", True) == (trouble.text, trouble.fatal)
    trouble = try_control_plane(Elsewhere(), sys.executable, "127.0.0.1", [port], strict=False)
    assert trouble is not None
    assert not trouble.fatal


class Elsewhere(Here):
    """A host that is another machine: nothing it does can be seen from here."""

    def run(self, order: Order) -> Done:
        return Done(code=0)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(made)
    return made


def pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


def test_a_tunnel_of_our_own_authority_is_well_under_whatever_name(authority: trustme.CA) -> None:
    with served(b"", context(authority, "cp.example.com")) as port:
        assert try_agent(Here(), sys.executable, ("127.0.0.1", port), pem(authority), strict=True) is None


def test_a_tunnel_of_another_authority_is_not_ours(authority: trustme.CA) -> None:
    with served(b"", context(trustme.CA(), "127.0.0.1")) as port:
        trouble = try_agent(Here(), sys.executable, ("127.0.0.1", port), pem(authority), strict=True)
    assert trouble is not None
    assert f"what answers it at 127.0.0.1:{port} is not our control plane" in trouble.text


def test_something_that_speaks_no_tls_is_told(authority: trustme.CA) -> None:
    with served(b"220 smtp\r\n") as port:
        trouble = try_agent(Here(), sys.executable, ("127.0.0.1", port), pem(authority), strict=True)
    assert trouble is not None
    assert f"cannot talk to the control plane's tunnel at 127.0.0.1:{port}" in trouble.text


def test_without_an_authority_it_is_enough_that_someone_answers() -> None:
    with served(b"") as port:
        assert try_agent(Here(), sys.executable, ("127.0.0.1", port), None, strict=True) is None


def test_a_closed_port_and_an_unknown_name_are_told_apart() -> None:
    closed = try_agent(Here(), sys.executable, ("127.0.0.1", free_port()), None, strict=True)
    unknown = try_agent(Here(), sys.executable, ("nowhere.invalid", 7443), None, strict=False)
    assert closed is not None
    assert unknown is not None
    assert "Connection refused" in closed.text
    assert "cannot resolve the control plane's name nowhere.invalid" in unknown.text
    assert (True, False) == (closed.fatal, unknown.fatal)
