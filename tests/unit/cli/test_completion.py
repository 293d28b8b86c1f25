"""TAB: what is offered, how soon it gives up, and that real shells do it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import fledx
from fledx.cli.completion import words
from tests.tools.machine import install_packages
from tests.unit.cli.harness import deployment, node
from tests.waiting import eventually, in_time

CHECKOUT = str(Path(fledx.__file__).parent.parent)
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")


class Names(BaseHTTPRequestHandler):
    """A control plane that knows two deployments and a node."""

    def do_GET(self) -> None:
        items = [node()] if "/nodes" in self.path else [deployment(), deployment(name="web-shop")]
        body = json.dumps({"limit": 500, "offset": 0, "total": len(items), "items": items}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Names)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def environ(home: Path, url: str = "http://127.0.0.1:9") -> dict[str, str]:
    return {
        "PATH": f"{home}/bin:/usr/bin:/bin",
        "HOME": str(home),
        "PYTHONPATH": ":".join([CHECKOUT, *(path for path in sys.path if path)]),
        "FLEDX_CLI_CONTROL_PLANE_URL": url,
        "TERM": "dumb",
    }


def offered(line: str, around: dict[str, str]) -> list[str]:
    """What the program tells the shell for a line with the cursor at its end."""
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    place = Path(around["HOME"]) / "offered"
    asked["_ARGCOMPLETE_STDOUT_FILENAME"] = str(place)
    subprocess.run([sys.executable, "-m", "fledx"], env={**around, **asked}, timeout=120, check=True)
    return [word.strip() for word in place.read_text().splitlines()]


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("fledx ", ["deployments", "nodes", "cp", "logs"]),
        ("fledx dep", ["deployments"]),
        ("fledx deployments ", ["create", "list", "watch"]),
        ("fledx --json nodes ", ["join-command", "list", "register"]),
        ("fledx deployments create --im", ["--image"]),
        ("fledx nodes list --status ", ["ready", "unreachable", "error", "registering"]),
        ("fledx deployments list -o ", ["table", "wide", "json", "yaml", "name"]),
        ("fledx completions ", ["bash", "zsh", "fish"]),
        ("fledx cp --server-p", ["--server-port"]),
    ],
)
def test_words_of_the_command_line_are_offered(line: str, some: list[str], tmp_path: Path) -> None:
    found = offered(line, environ(tmp_path))

    assert [] == [word for word in some if word not in found]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("fledx deployments show w", ["web", "web-shop"]),
        ("fledx logs web-", ["web-shop"]),
        ("fledx exec web-", ["web-shop"]),
        ("fledx forward web-", ["web-shop"]),
        ("fledx deployments update --id web-", ["web-shop"]),
        ("fledx nodes show ", ["edge-1"]),
        ("fledx deployments create --affinity-node e", ["edge-1"]),
        ("fledx events --deployment web-", ["web-shop"]),
        ("fledx deployments show --timeout 5 web-", ["web-shop"]),
    ],
)
def test_live_names_are_offered(line: str, names: list[str], tmp_path: Path, url: str) -> None:
    # Nobody waits for a completion: names that do not come in half a second are left out.
    eventually(lambda: names == offered(line, environ(tmp_path, url)))


def test_a_control_plane_that_is_away_or_silent_offers_nothing_and_says_nothing(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        around = environ(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")

        def asked() -> float:
            began = time.monotonic()
            assert [] == offered("fledx nodes show ", around)
            return time.monotonic() - began

        assert in_time(asked, 10) <= 10
    assert [] == offered("fledx nodes show ", environ(tmp_path))


@pytest.mark.parametrize(
    ("line", "point", "found"),
    [
        ("fledx nodes li", 14, ["nodes"]),
        ("fledx nodes list ", 17, ["nodes", "list"]),
        ("fledx nodes list --json", 8, []),
        ("fledx ", 6, []),
    ],
)
def test_only_whole_words_before_the_cursor_name_the_command(line: str, point: int, found: list[str]) -> None:
    assert found == words({"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(point)})


SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(fledx completions bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -U compinit; compinit -u -D; eval "$(fledx completions zsh)"'),
}


class Shell:
    """An interactive shell on a terminal of its own."""

    def __init__(self, command: list[str], around: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=around, start_new_session=True, close_fds=True
        )
        os.close(slave)
        self.screen = ""

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait_for(self, text: str, limit: float = 90.0) -> None:
        """Read until the text is on the screen."""
        end = time.monotonic() + limit
        while text not in self.screen:
            ready, _, _ = select.select([self._master], [], [], max(end - time.monotonic(), 0))
            assert ready, f"{text!r} did not come; on the screen: {self.screen!r}"
            self.screen += CONTROL.sub("", os.read(self._master, 65536).decode(errors="replace"))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


@pytest.mark.parametrize("name", ["bash", pytest.param("zsh", marks=pytest.mark.slow)])
def test_a_real_shell_completes_commands_flags_and_live_names(name: str, tmp_path: Path, url: str) -> None:
    program = tmp_path / "bin" / "fledx"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fledx "$@"\n')
    program.chmod(0o755)
    command, setup = SHELLS[name]
    if not shutil.which(name):
        install_packages([name], "completion is tried in it", allowed=True)

    def completes() -> bool:
        shell = Shell(command, environ(tmp_path, url))
        try:
            shell.type(f"{setup}; echo re''ady\n")
            shell.wait_for("ready")
            shell.type("fledx deploy\tsho\t--ti\t5 web-\t\x01echo \x05 end\n")
            shell.wait_for("\nfledx deployments show --timeout 5 web-shop end", limit=20)
        finally:
            shell.close()
        return True

    eventually(completes, within=120)
