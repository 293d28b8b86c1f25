"""A whole fledx of real processes, for tests that look at it from outside: at the API, the CLI, the engine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fledx.client.api import ControlPlane
from fledx.client.asking import Credentials
from fledx.client.connection import SocketTransport
from fledx.client.http1 import Address
from fledx.sample.image import NAME, PORT, Engine
from tests.ports import BESIDE, free_port
from tests.waiting import eventually

ENGINE = "unix:///var/run/docker.sock"


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder in which others are at work: what goes while it is looked at is not there."""
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                found[path] = path.read_bytes()
    return found


def forget_memory(folder: Path) -> None:
    """Take away what agents whose data lie in this folder kept in memory: secrets, and what they share with Envoy."""
    for file in folder.glob("*/identity.json"):
        short = json.loads(file.read_text())["node_id"][:8]
        for place in Path("/run"), Path("/dev/shm"):
            for left in place.glob(f"fledx-*-{short}"):
                shutil.rmtree(left, ignore_errors=True)


class Process:
    """One role; its output goes to a file, one JSON object a line."""

    def __init__(self, name: str, command: list[str], environ: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.command = command
        self.environ = dict(environ)
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, without waiting."""
        with self.log.open("ab") as out:
            self.running = subprocess.Popen(
                self.command, env=self.environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.running is not None
        return self.running.pid

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        assert self.running is not None
        self.running.kill()
        self.running.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code, which must come within a minute."""
        assert self.running is not None
        if self.running.poll() is None:
            self.running.send_signal(signal.SIGTERM)
        return self.running.wait(60)

    def said(self) -> str:
        """Everything it wrote so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class System:
    """A control plane and its agents in one folder; ends with its `with` block, containers included."""

    def __init__(self, pyz: Path, folder: Path) -> None:
        self.pyz = pyz
        self.folder = folder
        self.engine = Engine(ENGINE)
        self.api_port, self.tunnel_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.api_port}"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("FLEDX_")}
        self.environ = {**kept, "HOME": str(folder / "home"), "XDG_STATE_HOME": str(folder / "state"), "NO_COLOR": "1"}
        self.environ["FLEDX_CACHE_DIR"] = os.environ.get("FLEDX_CACHE_DIR", str(folder / "cache"))
        (folder / "home").mkdir(exist_ok=True)
        self.control_plane = Process("cp", self._command("cp", "--json-logs"), self._control_plane_environ(), folder)
        self.agents: dict[str, Process] = {}

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-IS", str(self.pyz), *arguments]

    def _control_plane_environ(self) -> dict[str, str]:
        return {
            **self.environ,
            "FLEDX_CP_SERVER_PORT": str(self.api_port),
            "FLEDX_CP_TUNNEL_HOST": "127.0.0.1",
            "FLEDX_CP_TUNNEL_ADVERTISED_HOST": "127.0.0.1",
            "FLEDX_CP_TUNNEL_ADVERTISED_PORT": str(self.tunnel_port),
        }

    def __enter__(self) -> System:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in [*self.agents.values(), self.control_plane]:
            if process.running is not None and process.running.poll() is None:
                process.kill()
        for container in self.containers():
            self.engine.remove_container(container["Id"])
        forget_memory(self.folder)

    def start(self, *agents: str) -> None:
        """Start the control plane and these agents, and wait until all are ready."""
        self.start_control_plane()
        for name in agents:
            self.start_agent(name)
        eventually(lambda: self.ready_nodes() >= len(agents), within=120)

    def start_control_plane(self) -> None:
        """Start it and wait until the API answers."""
        self.control_plane.start()

        def answers() -> bool:
            assert self.control_plane.running is not None
            assert self.control_plane.running.poll() is None, self.control_plane.said()
            with contextlib.suppress(Exception), contextlib.closing(self.api()) as api:
                return bool(api.health())
            return False

        eventually(answers, within=120)

    def start_agent(self, name: str, **settings: str) -> Process:
        """Join under a name and stay; `settings` are FLEDX_AGENT_ variables."""
        if name not in self.agents:
            with contextlib.closing(self.api()) as api:
                join = api.join_token({})["join"]
            self.agents[name] = self.agent(name, FLEDX_AGENT_JOIN=join, **settings)
        self.agents[name].start()
        return self.agents[name]

    def agent(self, name: str, **settings: str) -> Process:
        """The process of an agent with its own directory."""
        environ = {
            "FLEDX_AGENT_NAME": name,
            "FLEDX_AGENT_PORTS_RANGE": self._port_range(name),
            "FLEDX_AGENT_DATA_DIR": str(self.folder / name),
            "FLEDX_AGENT_METRICS_PORT": "0",
            "FLEDX_AGENT_HEALTH_PORT": "0",
        }
        return Process(
            name, self._command("agent", "--json-logs"), {**self.environ, **environ, **settings}, self.folder
        )

    @staticmethod
    def _port_range(name: str) -> str:
        """
        Agents that share a machine must not choose from the same ports, those of another test process included.

        Below 32768, from where on the kernel hands ports out to whoever dials.
        """
        first = 20000 + 100 * (sum(name.encode()) % 45 + 45 * (BESIDE % 2))
        return f"{first}-{first + 99}"

    @property
    def token(self) -> str:
        """The operator's token."""
        return (self.folder / "state/fledx/cp/operator-token").read_text().strip()

    def api(self) -> ControlPlane:
        """A client of the API; to be closed."""
        transport = SocketTransport(Address(scheme="http", host="127.0.0.1", port=self.api_port), timeout=60)
        return ControlPlane(transport, Credentials(operator_token=self.token), peer=self.url)

    def ready_nodes(self) -> int:
        """How many nodes are ready."""
        with contextlib.closing(self.api()) as api:
            return int(api.status()["summary"]["nodes"]["ready"])

    def operator_environ(self) -> dict[str, str]:
        """What the CLI needs to know of this system."""
        token = self.token if self.control_plane.running else ""
        return {**self.environ, "FLEDX_CLI_CONTROL_PLANE_URL": self.url, "FLEDX_CLI_OPERATOR_TOKEN": token}

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command of the CLI, without waiting."""
        quiet = subprocess.DEVNULL
        command = self._command(*arguments)
        return subprocess.Popen(command, env=self.operator_environ(), stdin=quiet, stdout=quiet, stderr=quiet)

    def command(self, *arguments: str) -> list[str]:
        """A command line of the built file."""
        return self._command(*arguments)

    def cli(self, *arguments: str, seconds: float = 180.0, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the CLI against this system."""
        return subprocess.run(
            self._command(*arguments),
            env={**self.operator_environ(), **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def cli_json(self, *arguments: str) -> Any:
        """The JSON a successful command prints."""
        done = self.cli(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def deploy(self, name: str, *flags: str, replicas: int = 1) -> dict[str, Any]:
        """Create a deployment of the sample app and wait until it runs."""
        port = f":{PORT}"
        line = ["deployments", "create", "--name", name, "--image", NAME, "--replicas", str(replicas), "--port", port]
        done = self.cli(*line, *flags)
        assert done.returncode == 0, done.stderr + done.stdout
        return self.deployment(name)

    def deployment(self, ref: str) -> dict[str, Any]:
        """A deployment as the API shows it."""
        with contextlib.closing(self.api()) as api:
            return api.deployment(ref)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind."""
        with contextlib.closing(self.api()) as api:
            return api.events({"kind": kind})

    def containers(self, deployment: str | None = None) -> list[dict[str, Any]]:
        """Docker's descriptions of this system's containers."""
        node_ids = [json.loads(file.read_text())["node_id"] for file in self.folder.glob("*/identity.json")]
        found = [each for node_id in node_ids for each in self.engine.containers(f"fledx.node_id={node_id}")]
        return [each for each in found if deployment in (None, each["Config"]["Labels"]["fledx.deployment"])]

    def processes(self, deployment: str) -> dict[str, int]:
        """Process id by container, of those that run."""
        found = self.containers(deployment)
        return {each["Id"]: int(each["State"]["Pid"]) for each in found if each["State"]["Running"]}
