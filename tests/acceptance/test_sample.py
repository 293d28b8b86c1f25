"""The sample image is made from any Python that may run fledx, and its app does what its environment says."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tarfile
import uuid
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path

import pytest

from fledx.errors import Unavailable
from fledx.sample import image, rootfs
from tests.bed.commands import finish, run
from tests.waiting import eventually

pytestmark = pytest.mark.docker
ROOT = Path(__file__).resolve().parents[2]
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")


def interpreters() -> list[str]:
    """One of each version of Python from 3.10 on that this machine has, ours first."""
    found = {f"python{sys.version_info[0]}.{sys.version_info[1]}": sys.executable}
    folders = [*map(Path, os.get_exec_path()), *PYENV.glob("*/bin")]
    for name in (f"python3.{minor}" for minor in range(10, 15)):
        for folder in folders:
            if (folder / name).exists() and "shims" not in folder.parts:
                found.setdefault(name, str(folder / name))
    distribution = Path("/usr/bin/python3")
    if distribution.exists():
        found["distribution"] = str(distribution)
    return list(dict.fromkeys(found.values()))


class App:
    """A container of the sample image, reached on a port of the loopback."""

    def __init__(self, container: str) -> None:
        self.container = container

    def get(self, path: str, *, headers: dict[str, str] | None = None) -> tuple[int, str]:
        return self.ask("GET", path, headers=headers)

    def ask(
        self, method: str, path: str, *, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        connection = self.connect()
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def connect(self) -> http.client.HTTPConnection:
        published = run("docker", "port", self.container, f"{image.PORT}/tcp").splitlines()[0]
        return http.client.HTTPConnection("127.0.0.1", int(published.rpartition(":")[2]), timeout=60)

    def logs(self) -> str:
        return run("docker", "logs", self.container)

    def exit_code(self) -> int:
        return int(run("docker", "wait", self.container))


Start = Callable[..., App]


@pytest.fixture(scope="session")
def sample() -> str:
    image.ensure_image()
    return image.NAME


@pytest.fixture
def start(sample: str) -> Iterator[Start]:
    """Start the app with this environment and wait until it listens."""
    made: list[str] = []

    def starter(*, name: str = sample, listening: bool = True, **environment: str) -> App:
        words = [word for key, value in environment.items() for word in ("-e", f"{key}={value}")]
        container = f"fledx-sample-{uuid.uuid4().hex[:8]}"
        made.append(container)
        run("docker", "run", "-d", "--name", container, "-p", f"127.0.0.1::{image.PORT}", *words, name)
        app = App(container)
        if listening:
            eventually(lambda: "listens on port" in app.logs())
        return app

    yield starter
    if made:
        run("docker", "rm", "-fv", *made)


@pytest.mark.parametrize("python", interpreters())
def test_every_python_makes_an_image_that_answers_and_has_a_shell(python: str, start: Start) -> None:
    name = f"fledx-sample-of-{uuid.uuid4().hex[:8]}:7"
    script = f"from fledx.sample.image import ensure_image; print(ensure_image({name!r}))"
    made = run(python, "-c", script, env={"PYTHONPATH": str(ROOT)})
    try:
        assert made == run(python, "-c", script, env={"PYTHONPATH": str(ROOT)}), "made again without need"
        app = start(name=name)
        status, text = app.get("/")
        assert status == 200
        assert "version: 7\n" in text
        version = run(python, "-c", "import platform; print(platform.python_version())")
        inside = "import asyncio, ctypes, hashlib, json, ssl, platform; print(platform.python_version())"
        assert version == run("docker", "exec", app.container, "sh", "-c", f"python3 -c '{inside}'")
        run("docker", "rm", "-f", app.container)
    finally:
        image.remove_image(name)


def test_an_image_made_of_other_inputs_is_replaced_and_removed(sample: str) -> None:
    name = f"fledx-sample-of-{uuid.uuid4().hex[:8]}:1"
    stale = "--change=LABEL fledx-sample.inputs=of-yesterday"
    empty = BytesIO()
    with tarfile.open(fileobj=empty, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("nothing"))
    subprocess.run(["docker", "import", stale, "-", name], input=empty.getvalue(), capture_output=True, check=True)
    old = run("docker", "images", "-q", "--no-trunc", name)
    assert old != image.ensure_image(name)
    assert finish("docker", "image", "inspect", old).returncode != 0
    image.remove_image(name)
    assert run("docker", "images", "-q", name) == ""


def test_it_is_made_from_inside_a_zip_without_site_packages(tmp_path: Path) -> None:
    archive, name = tmp_path / "some.pyz", f"fledx-sample-of-{uuid.uuid4().hex[:8]}:1"
    with zipfile.ZipFile(archive, "w") as parts:
        for path in [ROOT / "fledx/__init__.py", ROOT / "fledx/errors.py", *(ROOT / "fledx/sample").glob("*.py")]:
            parts.write(path, path.relative_to(ROOT))
        parts.writestr("__main__.py", f"from fledx.sample.image import ensure_image; print(ensure_image({name!r}))")
    try:
        assert image.ensure_image(name) == run(sys.executable, "-IS", archive)
    finally:
        image.remove_image(name)


def root_file_system() -> bytes:
    out = BytesIO()
    rootfs.write_tar(out, rootfs.gather(rootfs.Interpreter.running()))
    return out.getvalue()


def test_the_same_machine_gives_the_same_bytes() -> None:
    assert root_file_system() == root_file_system()


def test_an_engine_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"unix://.*/nobody\.sock does not answer"):
        image.ensure_image(docker_host=f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(Unavailable, match="cannot reach Docker at ssh://elsewhere"):
        image.ensure_image(docker_host="ssh://elsewhere")


def test_the_front_page_says_which_replica_answers(start: Start) -> None:
    app = start(FLEDX_DEPLOYMENT="web", FLEDX_REPLICA="2", FLEDX_NODE="edge-1")
    _, text = app.get("/")
    assert text.startswith("deployment: web\nreplica: 2\nnode: edge-1\nhostname: ")
    _, page = app.get("/", headers={"Accept": "text/html,*/*"})
    assert "<td>edge-1" in page


def test_paths_serve_bytes_environment_and_patience(start: Start) -> None:
    app = start(COLOUR="grün")
    assert json.loads(app.get("/env")[1])["COLOUR"] == "grün"
    assert len(app.get("/stream?bytes=200001")[1]) == 200001
    assert app.get("/stream?bytes=0") == (200, "")
    assert app.ask("POST", "/sink", body=bytes(100_000)) == (200, "100000\n")
    assert app.get("/slow?seconds=0.1") == (200, "slept 0.1 s\n")
    assert app.ask("HEAD", "/healthz") == (200, "")
    assert app.get("/elsewhere")[0] == 404
    assert app.get("/slow?seconds=soon") == (400, "seconds=soon is not a number of zero or more\n")


def test_one_connection_serves_many_requests(start: Start) -> None:
    connection = start().connect()
    for _ in range(3):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"ok\n"
        assert connection.sock is not None
    connection.close()


def test_what_is_not_http_gets_an_answer_and_harms_nobody(start: Start) -> None:
    app = start()
    for noise in (b"\x16\x03\x01\x02\x00\x01\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200, b"x" * 20_000):
        connection = app.connect()
        connection.connect()
        connection.sock.sendall(noise)
        assert connection.sock.recv(100).startswith(b"HTTP/1.1 400 ")
        connection.close()
    assert app.get("/healthz") == (200, "ok\n")


def test_health_follows_time_and_a_file(start: Start) -> None:
    assert start(READY_AFTER="3600").get("/healthz")[0] == 503
    app = start(READY_AFTER="0.5", UNHEALTHY_FILE="/tmp/sick")
    eventually(lambda: app.get("/healthz")[0] == 200)
    run("docker", "exec", app.container, "touch", "/tmp/sick")
    assert app.get("/healthz") == (503, "/tmp/sick exists\n")
    run("docker", "exec", app.container, "rm", "/tmp/sick")
    assert app.get("/healthz")[0] == 200


def test_it_exits_when_and_how_it_was_told(start: Start) -> None:
    app = start(EXIT_AFTER="0.2", EXIT_CODE="7", listening=False)
    assert app.exit_code() == 7
    assert "exiting with 7 after 0.2 s" in app.logs()


def test_it_listens_late_when_told(start: Start) -> None:
    app = start(START_DELAY="0.5")
    lines = run("docker", "logs", "--timestamps", app.container).splitlines()
    began, listens = (next(line for line in lines if word in line) for word in (" starts", "listens on port 8080"))
    assert _instant(listens) - _instant(began) >= 0.5


def _instant(line: str) -> float:
    """The engine's own time of a line of a log."""
    return datetime.fromisoformat(line.partition(" ")[0][:26]).timestamp()


def test_it_logs_each_request_and_ticks(start: Start) -> None:
    app = start(LOG_EVERY="0.05")
    app.get("/healthz?from=test")
    eventually(lambda: " GET /healthz 200 3 bytes" in app.logs())
    eventually(lambda: "tick 3" in app.logs())


def test_sigterm_ends_it_at_once_in_good_order(start: Start) -> None:
    app = start(START_DELAY="60", listening=False)
    eventually(lambda: "version 1 starts" in app.logs())
    run("docker", "stop", "-t", "30", app.container)
    assert app.exit_code() == 0
    assert "ending on SIGTERM" in app.logs()


@pytest.mark.parametrize(
    ("name", "value", "code", "text"),
    [
        ("PORT", "many", 2, "PORT is 'many'"),
        ("PORT", "70000", 1, "cannot listen on port 70000"),
        ("READY_AFTER", "-1", 2, "READY_AFTER is '-1'"),
    ],
)
def test_a_setting_it_cannot_use_is_named_without_a_traceback(
    start: Start, name: str, value: str, code: int, text: str
) -> None:
    app = start(listening=False, **{name: value})
    assert app.exit_code() == code
    assert text in app.logs()
    assert "Traceback" not in app.logs()
