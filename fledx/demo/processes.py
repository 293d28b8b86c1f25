"""The roles of the demo as child processes that end with it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from fledx import _boot, child
from fledx.errors import FledxError, Unavailable

T = TypeVar("T")
STOP_SECONDS = 20.0
TAIL_BYTES = 2000


def own_command() -> list[str]:
    """How to start another process of this very program."""
    archive = _boot.archive()
    return [sys.executable, "-IS", archive] if archive else [sys.executable, "-m", "fledx"]


def free_port(preferred: int) -> int:
    """The preferred TCP port of loopback if nobody has it, else any free one."""
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise Unavailable("no free port on 127.0.0.1")


class Role:
    """One process of this program, with its own log file."""

    def __init__(self, name: str, arguments: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = [*own_command(), *arguments]
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it dies with its parent, however that ends."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._environ,
                start_new_session=True,
                preexec_fn=child.end_with_parent,
            )

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ask_to_stop(self) -> None:
        """SIGTERM, without waiting."""
        if self.running() and self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that is not heard in time."""
        self.ask_to_stop()
        if self._process is not None:
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def last_words(self) -> str:
        """The end of its log, for an error message."""
        with contextlib.suppress(OSError):
            return self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip()
        return ""


def wait_for(what: str, look: Callable[[], T | None], *, seconds: float, roles: Sequence[Role] = ()) -> T:
    """
    Look until there is something to see and return it; Unavailable, saying `what`, when the time is up or a role ended.
    """
    deadline, last = time.monotonic() + seconds, ""
    while time.monotonic() < deadline:
        for role in roles:
            if not role.running():
                raise Unavailable(f"{role.name} has ended: {role.last_words()}")
        try:
            found = look()
            if found is not None and found is not False:
                return found
        except (FledxError, OSError) as problem:
            last = f" ({problem})"
        time.sleep(0.05)
    raise Unavailable(f"{what}: not within {seconds:g} s{last}")


def environment(folder: Path) -> dict[str, str]:
    """What the roles are given: this environment without fledx's own variables, and a home in the folder."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FLEDX_")}
    cache = os.environ.get("FLEDX_CACHE_DIR")
    return {**kept, **({"FLEDX_CACHE_DIR": cache} if cache else {}), "XDG_STATE_HOME": str(folder / "state")}
