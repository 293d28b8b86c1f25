"""Bad input at every door: a clear message, no traceback, and nothing else taken down."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import stat
import struct
from collections.abc import Callable

import pytest

from tests.acceptance.system import System
from tests.ports import free_port
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def sound(system: System) -> None:
    """Both roles live, the node is ready, and nobody has written a traceback."""
    assert system.ready_nodes() == 1
    for process in (system.control_plane, *system.agents.values()):
        assert process.running is not None
        assert process.running.poll() is None, process.said()
        assert "Traceback" not in process.said()


def clear(text: str) -> None:
    """A message for people."""
    assert text.strip()
    assert "Traceback" not in text
    assert len(text.splitlines()) <= 15


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--image", "nowhere.invalid/app:1"], 1, "nowhere.invalid"),
        (["--image", "fledx-sample:no-such-tag"], 1, "no-such-tag"),
        (["--image", "not an image"], 2, "not an image"),
        (["--image", "fledx-sample:1", "--name", "no spaces"], 2, "no spaces"),
        (["--image", "fledx-sample:1", "--port", "99999"], 2, "99999"),
        (["--image", "fledx-sample:1", "--replicas", "0"], 2, "replicas"),
        (["--imagee", "fledx-sample:1"], 2, "--imagee"),
    ],
)
def test_a_create_that_cannot_be(system: System, flags: list[str], code: int, words: str) -> None:
    system.start("edge-1")

    done = system.cli("deployments", "create", *flags, "--wait-timeout", "150")

    assert done.returncode == code, done.stderr
    assert words in done.stderr
    clear(done.stderr)
    sound(system)


def test_a_host_port_that_somebody_else_uses_is_named(system: System) -> None:
    """The scheduler cannot know of a foreign process; the engine's refusal becomes the reason."""
    system.start("edge-1")
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = ["--name", "web", "--image", "fledx-sample:1", "--port", f"{port}:8080", "--wait-timeout", "60"]

        done = system.cli("deployments", "create", *line)

    assert done.returncode in (1, 3)
    assert str(port) in done.stderr
    clear(done.stderr)
    sound(system)


def test_a_wrong_operator_token(system: System) -> None:
    system.start("edge-1")

    done = system.cli("nodes", "list", FLEDX_CLI_OPERATOR_TOKEN="wrong")

    assert done.returncode == 1
    assert "token" in done.stderr
    clear(done.stderr)


def test_a_used_and_a_broken_join_string_and_a_wrong_node_token(system: System) -> None:
    system.start("edge-1")
    used = system.agents["edge-1"].environ["FLEDX_AGENT_JOIN"]

    for name, settings, code, words in [
        ("edge-2", {"FLEDX_AGENT_JOIN": used}, 1, "used up"),
        ("edge-3", {"FLEDX_AGENT_JOIN": used[:-20]}, 2, "join string"),
    ]:
        agent = system.agent(name, **settings)
        agent.start()
        assert agent.running is not None
        assert agent.running.wait(120) == code
        assert words in agent.said()
        assert "Traceback" not in agent.said()

    identity = json.loads((system.folder / "edge-1" / "identity.json").read_text())
    wrong = system.agent(
        "edge-4",
        FLEDX_AGENT_CONTROL_PLANE_URL=system.url,
        FLEDX_AGENT_TUNNEL_ENDPOINT_PORT=str(system.tunnel_port),
        FLEDX_AGENT_NODE_ID=identity["node_id"],
        FLEDX_AGENT_NODE_TOKEN="fn_wrong." + identity["node_token"].split(".", 1)[1],
    )
    wrong.start()
    try:
        eventually(lambda: "do not belong together" in wrong.said())
        assert "Traceback" not in wrong.said()
    finally:
        wrong.kill()
    sound(system)


def raw(port: int) -> socket.socket:
    """A connection to the tunnel's port."""
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def answer(connection: socket.socket) -> bytes:
    """All that is answered until the other side closes."""
    found = b""
    with contextlib.suppress(OSError):
        while data := connection.recv(65536):
            found += data
    return found


def garbage(port: int) -> None:
    with raw(port) as connection:
        connection.sendall(os.urandom(4096))
        answer(connection)


def http(port: int) -> None:
    with raw(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"400" in answer(connection).split(b"\r\n")[0]


def secured(port: int) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(raw(port))


def https(port: int) -> None:
    with secured(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer(connection)


def silent(port: int) -> None:
    """A TLS client that says no hello is closed within its time."""
    with secured(port) as connection:
        answer(connection)


def oversized(port: int) -> None:
    """A HELLO frame of 4 GiB is refused by its header alone."""
    with secured(port) as connection:
        connection.sendall(struct.pack(">BBBBIBI", 0x93, 0xCC, 1, 0xCE, 0, 0xC6, 0xFFFFFFFF))
        answer(connection)


@pytest.mark.parametrize("stranger", [garbage, http, https, silent, oversized])
def test_strangers_on_the_tunnel_port(system: System, stranger: Callable[[int], None]) -> None:
    system.start("edge-1")
    made = system.deploy("web")
    before = system.processes("web")

    stranger(system.tunnel_port)

    sound(system)
    assert system.processes("web") == before
    assert made["status"] == "running"


def refused_to_start(system: System, *, code: int = 1) -> str:
    """The one message of a control plane that cannot start."""
    system.control_plane.start()
    assert system.control_plane.running is not None
    assert system.control_plane.running.wait(120) == code
    clear(system.control_plane.said())
    return system.control_plane.said()


def test_a_database_that_is_none(system: System) -> None:
    database = system.folder / "state/fledx/cp/fledx.db"
    database.parent.mkdir(parents=True)
    database.write_text("this is a shopping list " * 50)

    said = refused_to_start(system)

    assert str(database) in said
    assert "damaged" in said
    assert database.read_text().startswith("this is a shopping list")


def test_a_data_directory_that_cannot_be_written(system: System) -> None:
    """Root writes anywhere but on a read-only or special file system: /proc stands for it."""
    system.control_plane.environ["FLEDX_CP_DATA_DIR"] = "/proc/fledx"

    assert "cannot be written" in refused_to_start(system)


def test_a_port_that_is_taken(system: System) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", system.api_port))
        taken.listen()

        assert f"127.0.0.1:{system.api_port}" in refused_to_start(system)


def test_a_setting_that_is_nonsense(system: System) -> None:
    system.control_plane.environ["FLEDX_CP_SERVER_PORT"] = "eighty"

    assert "FLEDX_CP_SERVER_PORT" in refused_to_start(system, code=2)


def test_two_control_planes_on_one_directory(system: System) -> None:
    system.start_control_plane()
    second = System(system.pyz, system.folder)
    second.control_plane.log = system.folder / "second.log"

    assert "another control plane" in refused_to_start(second)


def test_no_control_plane_at_all(system: System) -> None:
    done = system.cli("status")

    assert done.returncode == 1
    assert system.url in done.stderr
    clear(done.stderr)


@pytest.mark.parametrize("kind", ["absent", "dead", "hung"])
def test_an_engine_that_is_not_there(system: System, kind: str) -> None:
    """The node says so, and gets no work; the agent goes on."""
    path = system.folder / "docker.sock"
    listening = socket.socket(socket.AF_UNIX)
    if kind != "absent":
        listening.bind(str(path))
    if kind == "hung":
        listening.listen()
    system.start_control_plane()
    system.start_agent("edge-1", FLEDX_AGENT_DOCKER_HOST=f"unix://{path}")

    def reason() -> str:
        nodes = system.cli_json("nodes", "list")["items"]
        return str(nodes[0].get("reason") or "") if nodes and nodes[0]["status"] == "error" else ""

    try:
        assert "docker" in eventually(reason, within=120).lower()
        done = system.cli("deployments", "create", "--image", "fledx-sample:1", "--wait-timeout", "1")
        assert done.returncode == 3
        assert "Traceback" not in system.agents["edge-1"].said()
        assert system.agents["edge-1"].stop() == 0
    finally:
        listening.close()


def test_secrets_of_the_roles_lie_in_private_files(system: System) -> None:
    system.start("edge-1")

    for path in [*(system.folder / "state/fledx/cp").iterdir(), *(system.folder / "edge-1").iterdir()]:
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert system.token not in system.control_plane.said()
    assert free_port()
