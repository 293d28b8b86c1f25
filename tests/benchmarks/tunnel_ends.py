"""
The two ends of a tunnel as processes: `listener FOLDER` and `dialler FOLDER PORT TARGET`, each printing a port or "up".

Whoever connects to the listener's front port is carried through the tunnel to the target's port beside the dialler:
what `ssh -R` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import anyio  # noqa: E402

from fledx.errors import FledxError  # noqa: E402
from fledx.tunnel.dial import dial  # noqa: E402
from fledx.tunnel.greeting import Hello, Welcome  # noqa: E402
from fledx.tunnel.link import Link  # noqa: E402
from fledx.tunnel.listen import Listener  # noqa: E402
from fledx.tunnel.splice import splice  # noqa: E402
from fledx.tunnel.stream import Stream  # noqa: E402
from fledx.tunnel.tls import client_context, server_context  # noqa: E402


async def listener(folder: Path) -> None:
    """Print the tunnel's port and the front port, and serve until killed."""
    front = socket.create_server(("127.0.0.1", 0), backlog=512)
    front.setblocking(False)

    async def welcome(hello: Hello, address: str) -> Welcome:
        return Welcome(session="bench")

    async def carry(link: Link, sock: socket.socket) -> None:
        with contextlib.suppress(FledxError):  # the load ends by breaking its connections
            await splice(await link.open("forward", {}), sock)

    async def host(link: Link) -> None:
        async with anyio.create_task_group() as tasks:
            link.attend(tasks, on_stream=_nothing, on_message=print)
            while True:
                sock, _ = await asyncio.get_running_loop().sock_accept(front)
                tasks.start_soon(carry, link, sock)

    door = Listener(
        authenticate=welcome, on_link=host, tls=server_context(str(folder / "cert.pem"), str(folder / "key.pem"))
    )
    print(door.bind("127.0.0.1", 0), front.getsockname()[1], flush=True)
    await door.serve()


async def dialler(folder: Path, port: int, target: int) -> None:
    """Dial, say so, and carry every stream to the target until killed."""

    async def forward(stream: Stream) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", target))
        await splice(stream, sock)

    async with anyio.create_task_group() as tasks:
        tls = client_context((folder / "ca.pem").read_text())
        hello = Hello(role="agent", token="bench")
        link = await dial("127.0.0.1", port, tls=tls, hello=hello, tasks=tasks, on_stream=forward, on_message=print)
        print("up", flush=True)
        await link.closed()


async def _nothing(stream: Stream) -> None:
    stream.reset("not served here", code="not_found")


if __name__ == "__main__":
    _role, _folder, *_ports = sys.argv[1:]
    if _role == "listener":
        anyio.run(listener, Path(_folder))
    else:
        anyio.run(dialler, Path(_folder), int(_ports[0]), int(_ports[1]))
