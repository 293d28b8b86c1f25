"""Which API version is spoken with engines of any age, and after one was upgraded underneath (fault 15)."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from fledx.agent.runtime.docker import DockerRuntime
from fledx.errors import Unavailable

pytestmark = pytest.mark.anyio


class Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Tells the version it is given, has no containers, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, path: Path, **told: str) -> None:
        self.told = told
        self.asked: list[str] = []
        super().__init__(str(path), Answers)


class Answers(BaseHTTPRequestHandler):
    """For one connection."""

    protocol_version = "HTTP/1.1"
    server: Engine

    def do_GET(self) -> None:
        self.server.asked.append(self.path.partition("?")[0])
        told: Any = self.server.told if self.path.endswith("/version") else []
        unknown = "/distribution/" in self.path
        body = b"Not Found\n" if unknown else json.dumps(told).encode()
        self.send_response(404 if unknown else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "a unix socket"

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@contextmanager
def serving(path: Path, **told: str) -> Iterator[Engine]:
    engine = Engine(path, **told)
    thread = threading.Thread(target=engine.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield engine
    finally:
        engine.shutdown()
        engine.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("version", "newest", "oldest", "spoken"),
    [
        ("20.10.24", "1.41", "1.12", "1.41"),
        ("23.0.6", "1.42", "1.12", "1.42"),
        ("25.0.3", "1.44", "1.24", "1.44"),
        ("27.5.1", "1.47", "1.24", "1.47"),
        ("28.5.2", "1.51", "1.24", "1.47"),
        ("29.1.0", "1.52", "1.44", "1.47"),
        ("40.0.0", "1.90", "1.60", "1.60"),
    ],
)
async def test_the_newest_version_that_both_know_is_spoken(
    tmp_path: Path, version: str, newest: str, oldest: str, spoken: str
) -> None:
    with serving(tmp_path / "docker.sock", Version=version, ApiVersion=newest, MinAPIVersion=oldest) as engine:
        runtime = DockerRuntime(f"unix://{tmp_path}/docker.sock")
        assert f"docker {version}" == await runtime.describe()
        assert () == await runtime.look("n")
        await runtime.aclose()
    assert f"/v{spoken}/containers/json" == engine.asked[-1]


async def test_an_engine_that_was_upgraded_meanwhile_is_spoken_to_in_its_own_version(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    runtime = DockerRuntime(f"unix://{path}")
    for version, newest, oldest in (("20.10.24", "1.41", "1.12"), ("29.1.0", "1.52", "1.44")):
        with serving(path, Version=version, ApiVersion=newest, MinAPIVersion=oldest) as engine:
            await runtime.describe()
            await runtime.look("n")
        path.unlink()
        spoken = engine.asked[-1]
    await runtime.aclose()
    assert spoken == "/v1.47/containers/json"


async def test_an_engine_that_cannot_ask_a_registry_is_no_proof_that_an_image_is_missing(tmp_path: Path) -> None:
    with serving(tmp_path / "p.sock", Version="4.3.1", ApiVersion="1.41", MinAPIVersion="1.24"):
        runtime = DockerRuntime(f"unix://{tmp_path}/p.sock")
        assert await runtime.resolve("nginx:1", None) is None
        await runtime.aclose()


async def test_podman_is_called_by_its_name_and_what_is_too_old_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path / "p.sock", Version="4.3.1", ApiVersion="1.41", MinAPIVersion="1.24") as engine:
        engine.told = {**engine.told, "Components": [{"Name": "Podman Engine"}]}  # type: ignore[dict-item]
        runtime = DockerRuntime(f"unix://{tmp_path}/p.sock")
        assert "Podman Engine 4.3.1" == await runtime.describe()
        engine.told = {"Version": "19.03.15", "ApiVersion": "1.40"}
        with pytest.raises(Unavailable, match=r"docker 19\.03\.15 is too old, fledx needs Docker 20\.10 or newer"):
            await runtime.describe()
        await runtime.aclose()
