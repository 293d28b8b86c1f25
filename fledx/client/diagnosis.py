"""Why a control plane could not be talked to: which one, what happened, and what to try, in one line."""

from __future__ import annotations

import socket

from fledx.client.http1 import Address
from fledx.errors import Unavailable

ALERT = b"\x15\x03"  # how every TLS alert record begins


ELSEWHERE = "is the URL right? Name another with --control-plane-url or --profile"

#: The `code` of an error that came before anything was sent, so that nothing can have happened.
UNREACHABLE = "unreachable"


def unreachable(address: Address, problem: OSError) -> Unavailable:
    """No connection came about."""
    fault = _unreachable(address, problem)
    fault.code = UNREACHABLE
    return fault


def _unreachable(address: Address, problem: OSError) -> Unavailable:
    if isinstance(problem, socket.gaierror):
        return Unavailable(f"the host {address.host} of {address} is not known", hint="is the URL right?")
    if isinstance(problem, TimeoutError):
        return Unavailable(
            f"{address} did not take the connection in time", hint="is the URL right, and no firewall between?"
        )
    return Unavailable(
        f"no control plane at {address}: {_words(problem)}",
        hint="start one with `fledx cp`, or name another with --control-plane-url or --profile",
    )


def broken(address: Address, problem: OSError) -> Unavailable:
    """A connection that was there is no more."""
    return Unavailable(f"the connection to {address} broke: {_words(problem)}")


def cut_short(address: Address) -> Unavailable:
    """The peer closed in the middle of an answer."""
    return Unavailable(f"{address} closed the connection in the middle of an answer")


def untrusted(address: Address, reason: str, *, ca_path: str | None) -> Unavailable:
    """The certificate is not to be believed."""
    by = f"by the authority in {ca_path}" if ca_path else "by this system's authorities"
    return Unavailable(
        f"the certificate of {address} is not trusted {by}: {reason}",
        hint="give the control plane's own authority (its ca.pem) with --ca-cert-path or in the profile",
    )


def not_tls(address: Address, reason: str) -> Unavailable:
    """The handshake failed; most often the peer speaks cleartext HTTP."""
    return Unavailable(
        f"{address} does not answer in TLS: {reason}",
        hint=f"if it serves cleartext, its URL is http://{_place(address)}",
    )


def mute(address: Address) -> Unavailable:
    """The peer closed without a word."""
    return Unavailable(
        f"{address} closed the connection without an answer",
        hint=f"if it serves TLS, its URL is https://{_place(address)}; the agents' tunnel port is not it",
    )


def not_http(address: Address, raw: bytes) -> Unavailable:
    """The first bytes are not an HTTP answer."""
    if raw.startswith(ALERT):
        return Unavailable(f"{address} answers in TLS", hint=f"its URL is https://{_place(address)}")
    return Unavailable(f"{address} does not speak HTTP", hint="is the port right? The API's is 8080 by default")


def not_fledx(address: str, status: int, kind: str) -> Unavailable:
    """HTTP, but not ours: a proxy, or another program under that URL."""
    told = f"status {status}, {kind or 'no content type'}"
    return Unavailable(f"{address} answers, but not as a fledx control plane ({told})", hint=ELSEWHERE)


def _place(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


def _words(problem: OSError) -> str:
    return (problem.strerror or str(problem) or type(problem).__name__).lower()
