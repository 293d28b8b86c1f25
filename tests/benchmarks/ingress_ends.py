"""
What stands between Envoy and a backend of another node, as processes: `relay`, `gateway` and `owner`.

They are the program's own parts: the gateway's sockets, the control plane's relay of two streams, and the owner's
connection. Each prints a port or "up" when it is ready, and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import anyio  # noqa: E402

from fledx.agent.clock import Clock  # noqa: E402
from fledx.agent.ingress.backends import Backends  # noqa: E402
from fledx.agent.ingress.shared import Owner, Shared  # noqa: E402
from fledx.errors import FledxError  # noqa: E402
from fledx.models.ingress import Backend, Endpoint  # noqa: E402
from fledx.tunnel.dial import dial  # noqa: E402
from fledx.tunnel.greeting import Hello, Welcome  # noqa: E402
from fledx.tunnel.link import Link, OnStream  # noqa: E402
from fledx.tunnel.listen import Listener  # noqa: E402
from fledx.tunnel.relay import relay  # noqa: E402
from fledx.tunnel.splice import splice  # noqa: E402
from fledx.tunnel.stream import Stream  # noqa: E402
from fledx.tunnel.tls import client_context, server_context  # noqa: E402

SOCKET = "bench.sock"


async def relaying(folder: Path) -> None:
    """The control plane: streams of the gateway go to the owner."""
    owners: list[Link] = []

    async def welcome(hello: Hello, address: str) -> Welcome:
        return Welcome(session="bench", body={})

    async def host(link: Link) -> None:
        if isinstance(link.peer, Hello) and link.peer.node_id == "owner":
            owners.append(link)
        link.attend(on_stream=lead, on_message=print)
        await link.closed()

    async def lead(stream: Stream) -> None:
        await relay(stream, await owners[-1].open("connect", stream.meta))

    tls = server_context(str(folder / "cert.pem"), str(folder / "key.pem"))
    door = Listener(authenticate=welcome, on_link=host, tls=tls)
    print(door.bind("127.0.0.1", 0), flush=True)
    await door.serve()


async def owner(folder: Path, port: int, target: int) -> None:
    """The backend's agent."""

    async def connect(stream: Stream) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", target))
        await splice(stream, sock)

    await _linked("owner", folder, port, connect, lambda link: print("up", flush=True))


async def gateway(folder: Path, port: int, name: str) -> None:
    """The gateway's agent, with one socket."""
    links: list[Link] = []
    uid, gid = os.geteuid(), os.getegid()
    shared = Shared(["/dev/shm"], name, Owner(uid=uid, gid=gid, given=False, mode=0o600))
    shared.prepare()
    backends = Backends(shared, link=lambda: links[-1] if links else None, clock=Clock(), changed=lambda: None)
    backend = Backend(name="b-80", deployment_id="b", deployment="b", port=80, protocol="http")
    endpoint = Endpoint(replica_number=0, node_id="owner", fence=1, template="t")

    def up(link: Link) -> None:
        links.append(link)
        backends.open(SOCKET, backend, endpoint, others=lambda: False)
        print(shared.socket_path(SOCKET), flush=True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(backends.run)
        await _linked("gateway", folder, port, _nothing, up)


async def _linked(role: str, folder: Path, port: int, on_stream: OnStream, up: Callable[[Link], None]) -> None:
    async with anyio.create_task_group() as tasks:
        tls = client_context((folder / "ca.pem").read_text())
        hello = Hello(role="agent", token="bench", node_id=role)
        link = await dial("127.0.0.1", port, tls=tls, hello=hello, tasks=tasks, on_stream=on_stream, on_message=print)
        up(link)
        await link.closed()


async def _nothing(stream: Stream) -> None:
    raise FledxError("nothing is served here")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["relay", folder_]:
            anyio.run(relaying, Path(folder_))
        case ["owner", folder_, port_, target_]:
            anyio.run(owner, Path(folder_), int(port_), int(target_))
        case ["gateway", folder_, port_, name_]:
            anyio.run(gateway, Path(folder_), int(port_), name_)
