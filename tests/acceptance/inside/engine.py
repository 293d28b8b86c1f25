"""Docker's client, with the two stand-ins that keep paramiko and a temporary file out of every agent."""

from __future__ import annotations

import socket
import sys
import tempfile
import threading
import types

certifi = types.ModuleType("certifi")
certifi.__dict__["where"] = lambda: ""
sys.modules["certifi"] = certifi
sys.modules["docker.transport.sshconn"] = None  # type: ignore[assignment]

import docker  # noqa: E402


def answer(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        assert b"/_ping" in connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")


assert "paramiko" not in sys.modules
with socket.socket(socket.AF_UNIX) as listener, tempfile.TemporaryDirectory() as folder:
    listener.bind(f"{folder}/docker.sock")
    listener.listen()
    threading.Thread(target=answer, args=(listener,)).start()
    client = docker.DockerClient(f"unix://{folder}/docker.sock", version="1.41", timeout=120)
    assert client.ping()
    client.close()
