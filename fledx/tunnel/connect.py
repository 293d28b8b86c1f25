"""Reaching a host over TCP, and saying in one sentence why it cannot be reached."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from fledx.errors import Unavailable

LEAST_TRY_SECS = 3.0


def peer_name(host: str, port: int) -> str:
    """How a host and port are written in errors."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def within(seconds: float, peer: str) -> Iterator[None]:
    """Raise Unavailable when the block takes longer than `seconds`."""
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError:
        raise Unavailable(
            f"{peer} did not answer within {seconds:g} s",
            hint="is the control plane running there, and does a firewall let this port through?",
        ) from None


async def connect(host: str, port: int, seconds: float) -> socket.socket:
    """
    A connected non-blocking socket; the addresses of `host` are tried in turn, all within about `seconds`.

    Raises Unavailable with what the last address answered.
    """
    loop = asyncio.get_running_loop()
    try:
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as problem:
        raise Unavailable(
            f"the host {host} is not known: {problem.strerror}", hint="check the name or its DNS"
        ) from None
    why = "it has no address"
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        last = index == len(addresses) - 1
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            with anyio.fail_after(seconds if last else max(LEAST_TRY_SECS, seconds / len(addresses))):
                await loop.sock_connect(sock, address)
            return sock
        except OSError as trouble:
            sock.close()
            why = os.strerror(trouble.errno) if trouble.errno else "no answer"
        except BaseException:
            sock.close()
            raise
    raise Unavailable(
        f"{peer_name(host, port)} cannot be reached: {why.lower()}",
        hint="is the control plane running there, and is this its tunnel port?",
    )
