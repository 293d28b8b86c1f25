"""A real image registry among the hosts: plain HTTP, or behind a password."""

from __future__ import annotations

from pathlib import Path

from tests.bed.commands import run

USER, PASSWORD = "puller", "pull-pw"
PORT = 5000


class Registry:
    """``registry:5000`` or ``private:5000`` for the hosts; this machine pushes through a port of the loopback."""

    def __init__(self, name: str, *, container: str, home: Path) -> None:
        self.name = name
        self._container = container
        self._login = home / "docker"

    def push(self, image: str) -> str:
        """Copy an image of this machine's engine there; returns the name the hosts pull it by."""
        name = image.rpartition("/")[2]
        published = run("docker", "port", self._container, f"{PORT}/tcp").splitlines()[0]
        # The engine speaks plain HTTP only with 127.0.0.0/8.
        address = f"127.0.0.1:{published.rpartition(':')[2]}"
        docker = ["docker", "--config", str(self._login)]
        if self.name == "private":
            run(*docker, "login", "-u", USER, "--password-stdin", address, stdin=PASSWORD)
        run("docker", "tag", image, f"{address}/{name}")
        run(*docker, "push", "-q", f"{address}/{name}")
        run("docker", "rmi", f"{address}/{name}")
        return f"{self.name}:{PORT}/{name}"
