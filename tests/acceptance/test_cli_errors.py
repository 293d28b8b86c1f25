"""What goes wrong between an operator and a control plane is told in one line: which, why, and what to try."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.acceptance.system import System
from tests.ports import free_port

pytestmark = pytest.mark.slow


@pytest.fixture
def running(pyz: Path, tmp_path: Path) -> Iterator[System]:
    """A control plane without nodes; no engine is needed."""
    with System(pyz, tmp_path) as system:
        system.start_control_plane()
        yield system


def told(system: System, *words: str, code: int = 1, **environ: str) -> str:
    """The one line that a command ends with."""
    done = system.cli(*words, seconds=180.0, **environ)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("fledx: ")
    return lines[0]


def new_token(system: System, name: str, role: str, *more: str) -> str:
    """A new token."""
    done = system.cli("tokens", "create", name, "--role", role, *more)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_mistyped_word_is_answered_with_the_near_one(running: System) -> None:
    assert "deployments" in told(running, "deployment5", "list", code=2)
    assert "did you mean `fledx deployments list`" in told(running, "deployments", "lst", code=2)
    assert "did you mean --replicas" in told(running, "deployments", "create", "x", "--replica", "2", code=2)
    assert "did you mean --operator-token" in told(running, "status", "--operator-tokn", "x", code=2)


def test_an_ambiguous_prefix_lists_its_candidates_and_a_wrong_name_the_near_one(running: System) -> None:
    names: dict[str, int] = {}
    four, shared = Counter[str](), ""
    with contextlib.closing(running.api()) as api:
        while not shared:  # ids are random: about 300 until two begin alike
            identity = api.create_config({"name": f"conf-{len(names)}"})["metadata"]["config_id"]
            names[identity] = len(names)
            four[identity[:4]] += 1
            shared = identity[:4] if four[identity[:4]] > 1 else ""
    line = told(running, "configs", "show", shared)
    assert f"'{shared}' is the beginning of several: conf-" in line
    one = next(identity for identity in names if four[identity[:4]] == 1)
    assert f"conf-{names[one]}" in running.cli("configs", "show", one[:4]).stdout
    assert "did you mean conf-1" in told(running, "configs", "show", "konf-1")
    assert "which config" in told(running, "configs", "show", code=2)


def test_no_control_plane_names_the_address_and_what_to_try(running: System) -> None:
    port = free_port()

    line = told(running, "status", FLEDX_CLI_CONTROL_PLANE_URL=f"http://127.0.0.1:{port}")

    assert f"127.0.0.1:{port}" in line
    assert "refused" in line
    line = told(running, "status", FLEDX_CLI_CONTROL_PLANE_URL="http://no-such-host.invalid:8080")
    assert "no-such-host.invalid" in line


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://a b", "http://x:99999"])
def test_what_is_no_url_is_refused_with_where_it_came_from(running: System, url: str) -> None:
    assert "FLEDX_CLI_CONTROL_PLANE_URL" in told(running, "status", code=2, FLEDX_CLI_CONTROL_PLANE_URL=url)


class Stranger(BaseHTTPRequestHandler):
    """Some other web server."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<h1>It works!</h1>")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_url_of_something_else_says_so(running: System) -> None:
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        line = told(running, "status", FLEDX_CLI_CONTROL_PLANE_URL=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()
    assert "answers, but not as a fledx control plane" in line
    assert "is the URL right?" in line


def test_a_control_plane_of_another_authority_is_not_trusted(running: System, tmp_path: Path) -> None:
    running.control_plane.stop()
    running.control_plane.environ["FLEDX_CP_SERVER_TLS"] = "true"
    running.control_plane.start()
    url = running.url.replace("http:", "https:")
    other = tmp_path / "other.pem"
    (tmp_path / "other").mkdir()
    with System(running.pyz, tmp_path / "other") as another:
        another.start_control_plane()
        other.write_text((tmp_path / "other/state/fledx/cp/ca.pem").read_text())

    right = tmp_path / "state/fledx/cp/ca.pem"
    for _ in range(50):
        if running.cli("status", "--ca-cert-path", str(right), FLEDX_CLI_CONTROL_PLANE_URL=url).returncode == 0:
            break
    line = told(running, "status", "--ca-cert-path", str(other), FLEDX_CLI_CONTROL_PLANE_URL=url)
    assert "certificate" in line
    assert "--ca-cert-path" in line
    missing = told(running, "status", "--ca-cert-path", "/no/such.pem", FLEDX_CLI_CONTROL_PLANE_URL=url, code=2)
    assert "/no/such.pem" in missing


def test_tokens_that_do_not_do_say_why_and_where_they_came_from(running: System) -> None:
    wrong = told(running, "status", FLEDX_CLI_OPERATOR_TOKEN="guess")
    assert "denied: this operator token is not known (the token came from FLEDX_CLI_OPERATOR_TOKEN)" in wrong
    short = new_token(running, "short", "admin", "--ttl", "1s")
    line = ""
    for _ in range(40):
        done = running.cli("status", FLEDX_CLI_OPERATOR_TOKEN=short)
        if done.returncode:
            line = done.stderr
            break
    assert "denied: this operator token expired at 2" in line

    reader = new_token(running, "reader", "read_only")
    assert running.cli("status", FLEDX_CLI_OPERATOR_TOKEN=reader).returncode == 0
    line = told(running, "configs", "create", "x", "--var", "A=b", FLEDX_CLI_OPERATOR_TOKEN=reader)
    assert "reader may only read" in line
    assert "use a token with the role operator or admin" in line
    writer = new_token(running, "writer", "operator")
    assert "writer is no admin" in told(running, "tokens", "list", FLEDX_CLI_OPERATOR_TOKEN=writer)

    assert running.cli("tokens", "revoke", "reader", "--yes").returncode == 0
    assert "was revoked at" in told(running, "status", FLEDX_CLI_OPERATOR_TOKEN=reader)
    refused = json.loads(running.cli("audit", "--status", "failure", "--json").stdout)["items"]
    assert [(each["action"], each["operator"]) for each in refused][::-1] == [
        ("auth", "unknown"),
        ("auth", "unknown"),
        ("authz", "reader"),
        ("authz", "writer"),
        ("auth", "unknown"),
    ]
    assert all(each["source"] == "127.0.0.1" and each["request_id"] for each in refused)
    assert "the audit log is whole" in running.cli("audit", "verify").stdout


def test_a_server_that_says_nothing_is_given_up_after_the_time_that_was_set(running: System) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        line = told(running, "status", "--timeout", "1", FLEDX_CLI_CONTROL_PLANE_URL=url)
    assert "1 s" in line
    assert "--timeout" in line
