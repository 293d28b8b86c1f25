"""An own SSH server on loopback, and `ssh -R` through it: what the tunnel is measured against."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port


@contextmanager
def reverse_forward(folder: Path, target: int, via: Callable[[int], int] = int) -> Iterator[tuple[int, list[int]]]:
    """
    A port that `ssh -R` carries to the port `target`, and its two processes, which are stopped at the end.

    The client reaches the server's port by way of the port that `via` gives for it.
    """
    server = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if server is None:
        raise SystemExit("the benchmark needs an OpenSSH server to compare with: apt-get install openssh-server")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    port, front = free_port(), free_port()
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "prohibit-password",
    }
    (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    log = (folder / "ssh.log").open("w")
    daemon = subprocess.Popen([server, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    client = None
    try:
        wait_for(port)
        door = via(port)
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ExitOnForwardFailure=yes"]
        client = subprocess.Popen(
            [
                *("ssh", "-N", "-F", "none", "-i", str(folder / "user"), "-p", str(door)),
                *(word for option in options for word in ("-o", option)),
                *("-R", f"127.0.0.1:{front}:127.0.0.1:{target}", f"{getpass.getuser()}@127.0.0.1"),
            ],
            stderr=log,
        )
        wait_for(front)
        yield front, [client.pid, daemon.pid]
    finally:
        for process in (client, daemon):
            if process is not None:
                process.terminate()
                process.wait(10)
        log.close()


@contextmanager
def forward(folder: Path, door: int, path: Path, front: int) -> Iterator[None]:
    """A unix socket that `ssh -L` carries to a port at the server, with the keys that `reverse_forward` has made."""
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ExitOnForwardFailure=yes"]
    client = subprocess.Popen(
        [
            *("ssh", "-N", "-F", "none", "-i", str(folder / "user"), "-p", str(door)),
            *(word for option in options for word in ("-o", option)),
            *("-L", f"{path}:127.0.0.1:{front}", f"{getpass.getuser()}@127.0.0.1"),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 10
        while not path.exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"ssh has made no {path}")
            time.sleep(0.02)
        yield
    finally:
        client.terminate()
        client.wait(10)


def wait_for(port: int) -> None:
    """Until something listens there; an ssh that cannot says why in its log."""
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"nothing listens on {port}")
