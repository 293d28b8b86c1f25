"""A running Docker engine: the one that answers, else one started here, else one from the distribution."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.tools.machine import BUILD, Stop, install_packages, quiet, say

LOG = BUILD / "dockerd.log"
START_SECONDS = 180
STOP_SECONDS = 30

HINTS = {
    "iptables": "it could not write its firewall rules: iptables has to be installed and allowed "
    "(`update-alternatives --set iptables /usr/sbin/iptables-legacy` helps older kernels)",
    "cgroup": "control groups are not mounted (the package cgroupfs-mount does it where there is no systemd)",
    "storage-driver": "its storage driver does not work on the file system of /var/lib/docker",
}


@contextlib.contextmanager
def running(*, install: bool, log: Path = LOG) -> Iterator[None]:
    """Docker answers inside the block; an engine that was started for it, logging there, is stopped afterwards."""
    started = None if answers() else _start(log, install=install)
    try:
        yield
    finally:
        if started is not None:
            _stop(started)


def answers() -> bool:
    """Whether an engine answers a ping, on DOCKER_HOST or the usual socket."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return (
            bool(shutil.which("docker"))
            and not subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
        )
    try:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(30)
            peer.connect(host.removeprefix("unix://"))
            peer.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in peer.recv(64)
    except PermissionError:
        raise Stop(
            f"{host} may not be opened: run as root, or add yourself to the group docker and log in again"
        ) from None
    except OSError:
        return False


def _start(log: Path, *, install: bool) -> subprocess.Popen[bytes] | None:
    """Make an engine answer; the process if it is ours to stop."""
    if not _dockerd():
        install_packages(["docker.io"], "there is no Docker engine", allowed=install)
    if Path("/run/systemd/system").exists():
        say("starting the Docker engine: systemctl start docker")
        quiet(["systemctl", "start", "docker"])
        _wait(None)
        return None
    if answers():  # its package started it
        return None
    if os.geteuid():
        raise Stop("the Docker engine does not run, and only root can start it: sudo dockerd")
    forget_the_dead()
    say(f"starting the Docker engine: dockerd, log in {log}")
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as said:
        engine = subprocess.Popen(
            [str(_dockerd())], stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
    try:
        _wait(engine)
    except Stop as problem:
        raise Stop(f"{problem}; the end of {log}:\n{_explain(log)}") from None
    return engine


def forget_the_dead(run: Path = Path("/var/run")) -> None:
    """Remove what a killed engine left: its number may by now be another process's, which dockerd would believe."""
    for pidfile in (run / "docker.pid", run / "docker" / "containerd" / "containerd.pid"):
        with contextlib.suppress(OSError):
            comm = Path("/proc", pidfile.read_text().strip(), "comm")
            if not comm.exists() or comm.read_text().strip() not in {"dockerd", "containerd"}:
                pidfile.unlink()


def _dockerd() -> str | None:
    return shutil.which("dockerd", path=os.pathsep.join([*os.get_exec_path(), "/usr/sbin", "/usr/local/sbin", "/sbin"]))


def _wait(engine: subprocess.Popen[bytes] | None) -> None:
    limit = time.monotonic() + START_SECONDS
    while not answers():
        if engine is not None and engine.poll() is not None:
            raise Stop(f"the Docker engine ended at once with {engine.returncode}")
        if time.monotonic() > limit:
            if engine is not None:
                _stop(engine)
            raise Stop(f"the Docker engine does not answer after {START_SECONDS} s")
        time.sleep(0.1)


def _explain(log: Path) -> str:
    told = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
    return told + "".join(f"\nHint: {hint}" for word, hint in HINTS.items() if word in told.lower())


def _stop(engine: subprocess.Popen[bytes]) -> None:
    engine.send_signal(signal.SIGTERM)
    try:
        engine.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        engine.kill()
        engine.wait()
