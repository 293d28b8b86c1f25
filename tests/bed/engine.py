"""
One Docker engine in a network namespace with an address of its own.

`Engine.spawn` puts a process beside the engine: in its namespace, with DOCKER_HOST set to it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from fledx.sample.image import NAME, ensure_image
from tests.bed.commands import run
from tests.bed.faults import Faults
from tests.waiting import eventually

BRIDGE_INSIDE = "172.29.0.1/24"
"""The engines' own bridge; its namespace keeps it apart from its equals."""


class Engine:
    """One dockerd and the namespace it runs in. `Engines` makes them."""

    def __init__(
        self, name: str, *, address: str, bridge: str, namespace: str, home: Path, options: Sequence[str]
    ) -> None:
        self.name = name
        self.address = address
        self.docker_host = f"unix://{home}/docker.sock"
        self._bridge = bridge
        self._namespace = namespace
        self._home = home
        self._options = options
        self._daemon: subprocess.Popen[bytes] | None = None
        network = address.rpartition(".")[0]
        self._gateway = f"{network}.1"
        self.net = Faults(
            self.shell,
            address=address,
            others=f"{network}.1-{network}.254",
            delay_program=Path(__file__).resolve().parent / "delay.py",
            delay_pid=home / "delay.pid",
        )

    def docker(self, *words: str, check: bool = True) -> str:
        """What the docker command prints, asked of this engine."""
        return run("docker", "-H", self.docker_host, *words, check=check)

    def shell(self, script: str) -> str:
        """Run a script as root beside the engine."""
        return run(*self.beside(), "sh", "-eu", "-s", stdin=script, env={"DOCKER_HOST": self.docker_host})

    def spawn(self, *argv: str | Path) -> subprocess.Popen[bytes]:
        """Start a process beside the engine, an agent for example; its pid is the program's own."""
        around = {**os.environ, "DOCKER_HOST": self.docker_host}
        words = [str(word) for word in (*self.beside(), *argv)]
        return subprocess.Popen(words, env=around, stdin=subprocess.DEVNULL)

    def load_sample(self, name: str = NAME) -> str:
        """Have the sample image in this engine; returns its name."""
        ensure_image(name, docker_host=self.docker_host)
        return name

    def start(self) -> None:
        """Start the engine and wait until it answers."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start the engine."""
        words = [
            *self.beside(),
            "dockerd",
            f"--config-file={self._home}/daemon.json",
            f"--data-root={self._home}/data",
            f"--exec-root={self._home}/exec",
            f"--pidfile={self._home}/pid",
            f"--host={self.docker_host}",
            f"--bip={BRIDGE_INSIDE}",
            *self._options,
        ]
        with (self._home / "log").open("ab") as log:
            self._daemon = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self) -> None:
        """Until it answers; an error with the end of its log if it ends instead."""
        eventually(self._answers_or_ended, within=120)
        if self._daemon is not None and self._daemon.poll() is not None:
            raise RuntimeError(f"{self.name} did not start: {(self._home / 'log').read_text()[-1500:]}")

    def stop(self) -> None:
        """End the engine in good order; its containers end with it."""
        self._signal(signal.SIGTERM)
        self._reap()

    def kill(self) -> None:
        """Kill the engine; its containers live on until it is started again."""
        self._signal(signal.SIGKILL)
        self._reap()
        # Its containerd dies with it. As long as that one's number is known, a new dockerd would wait for its answers.
        pids = [self._home / "pid", self._home / "exec/containerd/containerd.pid"]
        eventually(lambda: not any(_running(path) for path in pids))
        for path in pids:
            path.unlink(missing_ok=True)

    def restart(self) -> None:
        """Stop and start in good order."""
        self.stop()
        self.start()

    def configure(self, **changes: object) -> None:
        """Write these into its configuration (daemon.json), which it reads at its next start."""
        path = self._home / "daemon.json"
        changes = {word.replace("_", "-"): value for word, value in changes.items()}
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    def freeze(self) -> None:
        """Stop the engine in mid-sentence: connections are accepted, nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen engine go on."""
        self._signal(signal.SIGCONT)

    def reset(self) -> None:
        """An engine that answers, on a sound network, with no container, volume or network of a test; images stay."""
        self.revive()
        self.net.heal()
        self._remove_containers()
        self.docker("volume", "prune", "-f")
        self.docker("network", "prune", "-f")

    def revive(self) -> None:
        """Whatever was done to it, have it answer."""
        self.thaw()
        if self.pid is None:
            self.launch()
        self.wait()

    @property
    def pid(self) -> int | None:
        """The running dockerd of this engine, also one that an earlier process started."""
        with suppress(OSError, ValueError):
            pid = int((self._home / "pid").read_text())
            if str(self._home).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return None

    def create(self) -> None:
        """Make the namespace and its link to the bed's bridge."""
        self._home.mkdir(parents=True)
        (self._home / "daemon.json").write_text(json.dumps(self._settings()))
        space = self._namespace
        run("ip", "netns", "add", space)
        run("ip", "link", "add", space, "type", "veth", "peer", "name", "eth0", "netns", space)
        run("ip", "link", "set", space, "master", self._bridge, "up")
        run("ip", "-n", space, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            run("ip", "-n", space, "link", "set", link, "up")
        run("ip", "-n", space, "route", "add", "default", "via", self._gateway)

    def give_disk(self, size: int) -> None:
        """Before it is launched: a disk of its own of so many bytes, for images and containers."""
        disk, data = self._home / "disk.img", self._home / "data"
        data.mkdir()
        with disk.open("wb") as file:
            file.truncate(size)
        run("mkfs.ext4", "-q", "-m", "0", disk)
        run("mount", "-o", "loop", disk, data)

    def destroy(self) -> None:
        """Remove the engine, its containers, namespace and data, in whatever state they are."""
        with suppress(RuntimeError, OSError):
            self.revive()
            self._remove_containers()
            self.stop()
        for pid in (*_processes_of(self._home), *_containers_of(self._home)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run("ip", "link", "del", self._namespace, check=False)
        run("ip", "netns", "del", self._namespace, check=False)
        for mount in _mounts_below(self._home):
            run("umount", "-l", mount, check=False)
        if self._home.exists():
            shutil.rmtree(self._home)

    def _remove_containers(self) -> None:
        containers = self.docker("ps", "-aq").split()
        if containers:
            self.docker("rm", "-fv", *containers)

    def _answers_or_ended(self) -> bool:
        if self._daemon is not None and self._daemon.poll() is not None:
            return True
        return bool(self.docker("version", "--format", "{{.Server.Version}}", check=False))

    def _settings(self) -> dict[str, str]:
        """Nothing of this machine's; before version 23 an engine's identity lies in /etc unless told otherwise."""
        version = re.search(r"version (\d+)", run("dockerd", "--version"))
        old = version is not None and int(version[1]) < 23
        return {"deprecated-key-path": f"{self._home}/key.json"} if old else {}

    def beside(self) -> list[str]:
        """The words before a command that is to run in the engine's namespace; the pid stays the command's own."""
        # Not `ip netns exec`: that one mounts a fresh /sys and so hides the cgroups.
        return ["nsenter", f"--net=/run/netns/{self._namespace}"]

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is not None:
            os.kill(pid, number)

    def _reap(self) -> None:
        if self._daemon is not None:
            self._daemon.wait(timeout=120)
            self._daemon = None
        eventually(lambda: self.pid is None, within=120)


def _running(pid_file: Path) -> bool:
    return pid_file.exists() and Path("/proc", pid_file.read_text().strip()).exists()


def _processes_of(home: Path) -> Iterator[int]:
    """Processes whose command line names this folder: what an engine started and did not end."""
    needle = f"{home}/".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if needle in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid():
                yield int(folder.name)


def _containers_of(home: Path) -> Iterator[int]:
    """First processes of the containers that an engine which cannot be started any more has left running."""
    for path in home.glob("exec/containerd/daemon/io.containerd.runtime.v2.task/moby/*/init.pid"):
        pid = int(path.read_text())
        with suppress(OSError):
            if path.parent.name in Path(f"/proc/{pid}/cgroup").read_text():
                yield pid


def _mounts_below(home: Path) -> list[str]:
    """Mount points in this folder, the deepest first."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return sorted((mount for mount in mounts if mount.startswith(f"{home}/")), reverse=True)
