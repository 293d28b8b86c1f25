"""
One host of the bed: a container in which systemd is the first process.

It has an sshd, an address, a machine id and keys of its own and, as a rule, a Docker engine. It shares the kernel with
all others: clock, boot id, number of CPUs and memory are those of the machine below.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.bed.commands import CommandFailed, finish, run
from tests.bed.faults import Faults
from tests.waiting import eventually


class Host:
    """A host by the name it has in its bed. Everything but `ssh` works without its network."""

    def __init__(self, name: str, *, address: str, container: str, home: Path) -> None:
        self.name = name
        self.address = address
        self.container = container
        self._home = home
        network = address.rpartition(".")[0]
        self.net = Faults(
            self.shell,
            address=address,
            others=f"{network}.2-{network}.254",
            delay_program=Path("/usr/local/lib/bed/delay.py"),
            delay_pid=Path("/run/bed-delay.pid"),
        )

    def shell(self, script: str, *, check: bool = True) -> str:
        """What the script prints, run as root."""
        return run("docker", "exec", "-i", self.container, "sh", "-eu", "-s", stdin=script, check=check)

    def docker(self, *words: str, check: bool = True) -> str:
        """What the docker command prints, asked of this host's engine."""
        return run("docker", "exec", self.container, "docker", *words, check=check)

    def ssh(self, command: str, *, user: str = "ops", stdin: str | None = None, timeout: float = 180.0) -> str:
        """What the command prints, run by that user over ssh with the bed's key."""
        done = self.ssh_finish(command, user=user, stdin=stdin, timeout=timeout)
        if done.returncode:
            raise CommandFailed(f"{user}@{self.name}: {command} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()

    def ssh_finish(
        self, command: str, *, user: str = "ops", stdin: str | None = None, timeout: float = 180.0
    ) -> subprocess.CompletedProcess[str]:
        """The same, whatever its end."""
        config = self._home / ".ssh/config"
        return finish("ssh", "-F", config, f"{user}@{self.name}", command, stdin=stdin, timeout=timeout)

    def put(self, local: Path, remote: str) -> None:
        """Copy a file or folder of this machine there."""
        run("docker", "cp", local, f"{self.container}:{remote}")

    def get(self, remote: str, local: Path) -> None:
        """Copy a file or folder from there."""
        run("docker", "cp", f"{self.container}:{remote}", local)

    def stop(self) -> None:
        """Shut down in good order."""
        run("docker", "stop", "-t", "60", self.container)

    def kill(self) -> None:
        """Cut the power; peers see silence, not an end of the connection."""
        run("docker", "kill", self.container)

    def start(self) -> None:
        """Boot; data and identity are those from before."""
        run("docker", "start", self.container)
        self.wait(degraded=True)

    def reboot(self) -> None:
        """Shut down in good order and boot."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze everything on it; its kernel still accepts connections, then nothing answers."""
        run("docker", "pause", self.container)

    def resume(self) -> None:
        """Let a frozen host go on."""
        run("docker", "unpause", self.container)

    @property
    def state(self) -> str:
        """Docker's word for the container: running, paused, exited."""
        return run("docker", "inspect", "-f", "{{.State.Status}}", self.container)

    def restore(self) -> None:
        """Running, not frozen and on a sound network."""
        state = self.state
        if state == "paused":
            self.resume()
        elif state != "running":
            self.start()
        self.net.heal()

    def wait(self, *, degraded: bool = False) -> None:
        """Until it has booted. A unit that failed is an error, unless it may be ``degraded``."""
        state = eventually(self._booted, within=180.0)
        if state != "running" and not (degraded and state == "degraded"):
            failed = self.shell("systemctl --failed --no-legend", check=False)
            raise RuntimeError(f"{self.name} is {state}: {failed}")

    def _booted(self) -> str:
        """systemd's verdict once the boot is over, empty before; an error if the container has ended."""
        if self.state != "running":
            raise RuntimeError(
                f"{self.name} ended: {run('docker', 'logs', '--tail', '20', self.container, check=False)}"
            )
        state = run("docker", "exec", self.container, "systemctl", "is-system-running", "--wait", check=False)
        return state if state in ("running", "degraded", "maintenance") else ""

    def __str__(self) -> str:
        return self.name
