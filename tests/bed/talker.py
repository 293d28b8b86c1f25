"""
An app that speaks what the sample app does not, and its image: WebSockets on 8080, gRPC's HTTP/2 on 50051.

This file is copied into the image as it stands, beside h2 and what h2 needs, and runs there on the standard library:
nothing else may be imported at its top.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

NAME = "fledx-test-talker:1"
WEB, GRPC = 8080, 50051
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def ensure_image(docker_host: str) -> None:
    """Have the image in an engine."""
    from pathlib import Path

    import h2
    import hpack
    import hyperframe

    from fledx.sample.image import Engine
    from fledx.sample.rootfs import Interpreter, gather

    files = {**gather(Interpreter.running()), "app/app.py": Path(__file__).read_bytes()}
    for package in (h2, hpack, hyperframe):
        folder = Path(str(package.__file__)).parent
        files.update((f"app/lib/{path.relative_to(folder.parent)}", path) for path in folder.rglob("*.py"))
    repository, _, tag = NAME.rpartition(":")
    changes = ['ENTRYPOINT ["/usr/bin/python3", "-I", "-S", "/app/app.py"]']
    Engine.at(docker_host).have(files, repository=repository, tag=tag, changes=changes)


async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Tell the headers that arrived, as JSON; after a WebSocket's handshake say everything back."""
    try:
        while True:
            line, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
            if headers.get("upgrade", "").lower() == "websocket":
                writer.write(SWITCHED)
                while data := await reader.read(65536):
                    writer.write(data)
                break
            body = json.dumps({"path": line.split(" ")[1], "headers": headers}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def grpc(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say every message back as it comes, and `grpc-status: 0` when the client has ended."""
    import h2.config
    import h2.connection

    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    writer.write(connection.data_to_send())
    try:
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                _answer(connection, event)
            writer.write(connection.data_to_send())
    except ConnectionError:
        pass
    finally:
        writer.close()


def _answer(connection: Any, event: Any) -> None:
    match type(event).__name__:
        case "RequestReceived":
            connection.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
        case "DataReceived":
            connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            connection.send_data(event.stream_id, event.data)
        case "StreamEnded":
            connection.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)


async def serve() -> None:
    """Both, until the process is ended."""
    servers = [await asyncio.start_server(web, "0.0.0.0", WEB), await asyncio.start_server(grpc, "0.0.0.0", GRPC)]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    sys.path.insert(0, "/app/lib")
    asyncio.run(serve())
