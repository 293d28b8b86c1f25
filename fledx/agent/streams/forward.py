"""The `connect` stream: a TCP connection to a port of one replica's own container."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket

import anyio

from fledx.agent.runtime.containers import Container
from fledx.agent.streams.replicas import Replicas
from fledx.errors import InvalidSpec, Unavailable
from fledx.tunnel.splice import splice
from fledx.tunnel.stream import Stream

CONNECT_SECS = 5.0
"""Longer than the kernel looks for a container that has just gone (3 s), shorter than people wait."""


class Connections:
    """
    Serves `connect` streams, whose meta is ``{deployment_id, replica_number, port}``.

    The address is never the peer's to say: it is that of the container, or loopback for one on the host's network.
    """

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas

    async def serve(self, stream: Stream) -> None:
        """Connect, then carry bytes both ways; Unavailable before any of them when nothing listens there."""
        port = stream.meta.get("port")
        if type(port) is not int or not 1 <= port <= 65535:
            raise InvalidSpec("port", "a connect stream names a port between 1 and 65535")
        container = self._replicas.running(stream.meta).container
        await splice(stream, await _connected(container, port))


async def _connected(container: Container, port: int) -> socket.socket:
    address = "127.0.0.1" if container.host_network else container.address
    if address is None:
        raise Unavailable(f"container {container.name} has no address that this node can reach")
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        with anyio.fail_after(CONNECT_SECS):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except OSError as trouble:
        sock.close()
        why = os.strerror(trouble.errno).lower() if trouble.errno else f"no answer within {CONNECT_SECS:g} s"
        raise Unavailable(f"port {port} of container {container.name} does not answer: {why}") from None
    except BaseException:
        sock.close()
        raise
    return sock
