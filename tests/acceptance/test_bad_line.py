"""Fault 11: a node behind a line that loses a third of all packets, needs seconds, and carries next to nothing."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from fledx.sample.image import PORT
from tests.acceptance.edge import Edge
from tests.acceptance.test_forward import Forward
from tests.acceptance.typing_at import Sitting
from tests.bed.engines import Engines
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.slow]

KIB = 1024
SIZE = 48 * KIB
ROUND_TRIP_SECS, BITS = 2.0, 64_000
LOSS_EACH_WAY = 0.163
"""Of those that go there and back 30 % are lost, which is what ping shows."""
PATIENCE_SECS = 240.0


@pytest.fixture
def far(pyz: Path, tmp_path: Path, engines: Engines) -> Iterator[Edge]:
    """A node far away, still in good days."""
    with Edge(pyz, tmp_path, engines) as made:
        made.start("e1")
        made.deploy("web")
        yield made


class Download:
    """The sample app's stream, fetched in a thread; `size` is how much has come."""

    def __init__(self, port: int, size: int) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
        self._url = f"http://127.0.0.1:{port}/stream?bytes={size}"
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        with urllib.request.urlopen(self._url, timeout=PATIENCE_SECS) as answer:
            while piece := answer.read1(KIB):
                self.digest.update(piece)
                self.size += len(piece)

    def end(self) -> None:
        self._reading.join(PATIENCE_SECS)


class Follow:
    """`fledx logs --follow`; `said` is what it has printed."""

    def __init__(self, far: Edge) -> None:
        self.said = ""
        self._process = subprocess.Popen(
            far.command("logs", "web", "--follow"), env=far.operator_environ(), stdout=subprocess.PIPE, text=True
        )
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said += line

    def __enter__(self) -> Follow:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reading.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def test_fault_11_logs_a_terminal_and_a_download_stay_open_and_nobody_is_declared_down(far: Edge) -> None:
    """They become slow, and nothing else: all of it is whole in the end, over the session of before."""
    line, before = far.engines["e1"].net, far.processes("web")
    environ = {**far.operator_environ(), "TERM": "xterm"}
    with (
        Follow(far) as logs,
        Forward(far, "web", f"0:{PORT}") as forward,
        Sitting(far.command("exec", "web"), environ, seconds=PATIENCE_SECS) as shell,
    ):
        (port,) = forward.ports(1)
        shell.type("PS1=; echo rea''dy\n")
        shell.until("ready")
        line.delay(ROUND_TRIP_SECS)
        line.rate(BITS)
        line.loss(LOSS_EACH_WAY)
        download = Download(port, SIZE)
        shell.type("echo to the log > /proc/1/fd/1; echo still h''ere\n")
        shell.until("still here")
        eventually(lambda: "to the log" in logs.said, within=PATIENCE_SECS)
        eventually(lambda: download.size, within=PATIENCE_SECS)
        line.heal()
        download.end()
        assert download.digest.digest() == hashlib.sha256(bytes(SIZE)).digest()
        shell.type("exit 5\n")
        assert shell.end() == 5
    assert far.agents["e1"].said().count("connected to the control plane") == 1
    assert far.processes("web") == before
    (assignment,) = far.deployment("web")["assignments"]
    assert assignment["fence"] == 1
