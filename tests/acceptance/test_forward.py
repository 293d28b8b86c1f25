"""`fledx forward` as a user has it: nothing published, and the app is on a port of this machine."""

from __future__ import annotations

import contextlib
import hashlib
import re
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fledx.sample.image import PORT
from tests.acceptance.system import System
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.slow]

MIB = 2**20


@pytest.fixture(scope="module")
def web(pyz: Path, sample: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Two replicas on two nodes, and no port of theirs is published."""
    with System(pyz, tmp_path_factory.mktemp("forward")) as made:
        made.start("edge-1", "edge-2")
        created = made.cli("deployments", "create", "--name", "web", "--image", sample, "--replicas", "2")
        assert created.returncode == 0, created.stderr
        yield made


class Forward:
    """One that runs; `said` is its error output so far."""

    def __init__(self, web: System, *words: str) -> None:
        self.process = subprocess.Popen(
            web.command("forward", *words),
            env=web.operator_environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.said = ""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line

    def __enter__(self) -> Forward:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reading.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def says(self, text: str) -> str:
        eventually(lambda: re.search(text, self.said))
        return self.said

    def ports(self, count: int) -> list[int]:
        """The local ports, in order."""
        found: list[str] = eventually(
            lambda: each if len(each := re.findall(r"127\.0\.0\.1:(\d+) leads", self.said)) == count else []
        )
        return [int(each) for each in found]


def page(port: int, path: str = "/", *, seconds: float = 60.0) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=seconds) as answer:
        return bytes(answer.read())


def sessions(web: System) -> int:
    """How many agents are connected."""
    with contextlib.closing(web.api()) as api:
        return int(api.health()["tunnel_sessions_active"])


def test_ports_that_nobody_published_are_reached_by_many_connections_at_once(web: System) -> None:
    assert all(not any(each["NetworkSettings"]["Ports"].values()) for each in web.containers("web"))
    with Forward(web, "web/1", f"0:{PORT}", f"127.0.0.1:0:{PORT}") as forward:
        one, two = forward.ports(2)
        assert "replica 1 on edge-" in forward.said
        assert b"version: 1" in page(one)
        with ThreadPoolExecutor(16) as asking:
            pages = list(asking.map(lambda number: page((one, two)[number % 2]), range(64)))
        assert len(set(pages)) == 1
        whole = hashlib.sha256(page(two, f"/stream?bytes={64 * MIB}")).hexdigest()
        assert whole == hashlib.sha256(page(one, f"/stream?bytes={64 * MIB}")).hexdigest()


def test_it_outlives_the_control_plane_and_new_connections_wait_for_it(web: System) -> None:
    with Forward(web, "web", f"0:{PORT}") as forward:
        (port,) = forward.ports(1)
        assert b"version" in page(port)
        web.control_plane.kill()
        forward.says("the session is over")
        with ThreadPoolExecutor(1) as waiting:
            answer = waiting.submit(page, port)
            web.start_control_plane()
            with contextlib.suppress(urllib.error.URLError, OSError):
                answer.result()
        forward.says("connected again")
        assert b"version" in eventually(lambda: page(port), within=120)


def test_when_its_node_goes_connections_lead_to_the_other(web: System) -> None:
    eventually(lambda: sessions(web) == 2, within=120)
    with Forward(web, "web", f"0:{PORT}") as forward:
        (port,) = forward.ports(1)
        assert "replica 0 on edge-" in forward.said
        first, other = ("edge-1", "edge-2") if "on edge-1" in forward.said else ("edge-2", "edge-1")
        web.agents[first].kill()
        assert b"version" in eventually(lambda: page(port))
        forward.says(f"replica 1 on {other} now")
        web.agents[first].start()
        eventually(lambda: sessions(web) == 2, within=120)


def test_ctrl_c_ends_it_and_what_cannot_begin_says_why(web: System) -> None:
    with Forward(web, "web", f"0:{PORT}", "--quiet") as forward:
        assert forward.process.stdout is not None
        address = forward.process.stdout.readline().strip()
        assert b"version" in page(int(address.rpartition(":")[2]))
        taken = web.cli("forward", "web", f"{address.rpartition(':')[2]}:{PORT}")
        assert (taken.returncode, taken.stdout) == (1, "")
        assert f"{address} is in use by another process" in taken.stderr
        forward.process.send_signal(signal.SIGINT)
        assert forward.process.wait(120) == 130
    assert forward.said == ""
    for words, code, said in (
        (["wbe", "80"], 1, "did you mean web?"),
        (["web/7", "80"], 1, "web has no replica 7"),
        (["web", "nonsense"], 2, "is not [ADDRESS:]LOCAL:REMOTE"),
        (["web"], 2, "required"),
    ):
        ended = web.cli("forward", *words)
        assert ended.returncode == code, ended.stderr
        assert said in ended.stderr
