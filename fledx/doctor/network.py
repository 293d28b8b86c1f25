"""Ports and engines tried for real: a name looked up, a connection made, a certificate read, a question asked."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any

from fledx.doctor.facts import Engine, Talk

SECONDS = 5.0
PAGE_BYTES = 4 << 20


def tried(
    what: str,
    host: str,
    port: int,
    *,
    tls: bool,
    authority: str | None = None,
    path: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Talk:
    """
    One port: reached, its certificate believed (by `authority`, PEM, else by the system's roots), and `path` answered.

    Without a path it is enough that it lets itself be connected to.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    facts: dict[str, Any] = {"what": what, "where": where}
    try:
        with socket.create_connection((host, port), timeout=SECONDS) as plain:
            if not tls:
                return Talk(**facts, **(_asked(plain, host, path, headers) if path else {}))
            with _context(authority).wrap_socket(plain, server_hostname=host) as safe:
                certificate = safe.getpeercert() or {}
                facts["ends"] = ssl.cert_time_to_seconds(str(certificate["notAfter"])) if certificate else None
                return Talk(**facts, **(_asked(safe, host, path, headers) if path else {}))
    except socket.gaierror as fault:
        return Talk(**facts, kind="name", problem=f"its name is not known: {fault.strerror}")
    except ssl.SSLCertVerificationError as fault:
        return Talk(**facts, kind="certificate", problem=f"its certificate is not believed: {fault.verify_message}")
    except (ssl.SSLError, http.client.HTTPException, ValueError) as fault:
        return Talk(**facts, kind="answer", problem=f"it does not answer as it should: {fault or type(fault).__name__}")
    except OSError as fault:
        return Talk(**facts, kind="connect", problem=fault.strerror or str(fault) or "no answer")


def _context(authority: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority) if authority else ssl.create_default_context()


def _asked(link: socket.socket, host: str, path: str, headers: Mapping[str, str] | None) -> dict[str, Any]:
    """What an HTTP question brought: version and clock of the other side, or its refusal."""
    connection = http.client.HTTPConnection(host, timeout=SECONDS)
    connection.sock = link
    began = time.time()
    connection.request("GET", path, headers=dict(headers or {}))
    answer = connection.getresponse()
    body = answer.read(1 << 20)
    if answer.status in (401, 403):
        return {"kind": "token", "problem": f"the token is refused ({answer.status})"}
    if answer.status >= 500:
        return {"kind": "answer", "problem": f"it answers {answer.status}: {body[:200].decode(errors='replace')}"}
    date = email.utils.parsedate_to_datetime(answer.headers["date"]) if answer.headers.get("date") else None
    return {"version": _version(body), "skew": (began + time.time()) / 2 - date.timestamp() - 0.5 if date else None}


def _version(body: bytes) -> str | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    version = found.get("version") if isinstance(found, dict) else None
    return version if isinstance(version, str) else None


def page(host: str, port: int, path: str) -> bytes:
    """What a role shows at an address of this machine, a few megabytes at most; nothing where none answers."""
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=2) as link:
        link.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        while (piece := link.recv(65536)) and len(answer) < PAGE_BYTES:
            answer += piece
    return answer.partition(b"\r\n\r\n")[2]


def engine_at(address: str) -> Engine:
    """The engine behind a unix socket, or behind host and port."""
    family, where = _place(address)
    try:
        with socket.socket(family) as link:
            link.settimeout(SECONDS)
            link.connect(where)
            connection = http.client.HTTPConnection("docker", timeout=SECONDS)
            connection.sock = link
            connection.request("GET", "/version")
            return _introduced(address, json.loads(connection.getresponse().read(1 << 20)))
    except TimeoutError:
        return Engine(address=address, problem=f"it takes connections and does not answer for {SECONDS:g} s")
    except (OSError, ValueError, http.client.HTTPException) as fault:
        return Engine(address=address, problem=getattr(fault, "strerror", None) or str(fault) or type(fault).__name__)


def _introduced(address: str, told: Any) -> Engine:
    """An engine by its answer to /version; ValueError when that is none of an engine's."""
    try:
        name = (told.get("Components") or [{}])[0].get("Name", "Engine")
        major, _, minor = told["ApiVersion"].partition(".")
        return Engine(
            address=address,
            name="docker" if name == "Engine" else str(name),
            version=str(told["Version"]),
            api=(int(major), int(minor or 0)),
        )
    except (AttributeError, LookupError, TypeError, ValueError):
        raise ValueError("what answers there is no container engine") from None


def _place(address: str) -> tuple[socket.AddressFamily, Any]:
    if address.startswith("unix://"):
        return socket.AF_UNIX, address.removeprefix("unix://")
    host, _, port = address.partition("://")[2].rpartition(":")
    return socket.AF_INET, (host, int(port or 2375))
