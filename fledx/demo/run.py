"""The door of the demo: sets the system up, shows it or checks it, and takes everything away again."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from fledx.client.api import ControlPlane
from fledx.client.asking import Credentials
from fledx.client.connection import SocketTransport
from fledx.client.http1 import Address
from fledx.demo.processes import Role, environment, free_port, own_command, wait_for
from fledx.demo.story import Story, web
from fledx.errors import FledxError, Unavailable
from fledx.sample.image import NAME, Engine, ensure_image

NODES = 3
START_SECONDS = 180.0
IN_USE = "in use"
"""In what a control plane says at its end whose ports others have, be it the API's or the tunnel's."""


class System:
    """A control plane and its agents in one folder."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder = folder
        self.engine = engine
        self.environ = environment(folder)
        self.port, self.control_plane = self._control_plane()
        self.agents: list[Role] = []
        self.metrics_ports: list[int] = []

    @property
    def url(self) -> str:
        """Where its API answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """The operator token that the control plane has made."""
        return (self.folder / "state/fledx/cp/operator-token").read_text().strip()

    def api(self) -> ControlPlane:
        """A client; one connection, to be closed."""
        transport = SocketTransport(Address(scheme="http", host="127.0.0.1", port=self.port))
        return ControlPlane(transport, Credentials(operator_token=self.token), peer=self.url)

    def start(self) -> None:
        """Start the control plane, then the agents, and wait until all nodes are ready."""
        self.start_where_free()
        with contextlib.closing(self.api()) as api:
            join = api.join_token({"uses": NODES, "ttl_seconds": 600})["join"]
        for number in range(1, NODES + 1):
            self.agents.append(self._agent(f"demo-{number}", join))
        for role in self.agents:
            role.start()
        wait_for(f"{NODES} nodes ready", self._all_ready, seconds=START_SECONDS, roles=self.agents)

    def start_where_free(self) -> None:
        """Start the control plane; at other ports when somebody was quicker at those that were free."""
        for again in (True, True, False):
            try:
                return self.start_control_plane()
            except Unavailable as problem:
                if not (again and IN_USE in str(problem)):
                    raise
                self.port, self.control_plane = self._control_plane()

    def start_control_plane(self) -> None:
        """Start it and wait until its API answers."""
        self.control_plane.start()
        wait_for("control plane ready", self._answers, seconds=START_SECONDS, roles=[self.control_plane])

    def _answers(self) -> dict[str, Any]:
        with contextlib.closing(self.api()) as api:
            return api.health()

    def _all_ready(self) -> bool:
        with contextlib.closing(self.api()) as api:
            return int(api.status()["summary"]["nodes"]["ready"]) == NODES

    def _control_plane(self) -> tuple[int, Role]:
        """One that has not started, and the port of its API."""
        port = free_port(8080)
        own = {
            "FLEDX_CP_SERVER_PORT": str(port),
            "FLEDX_CP_TUNNEL_HOST": "127.0.0.1",
            "FLEDX_CP_TUNNEL_ADVERTISED_HOST": "127.0.0.1",
            "FLEDX_CP_TUNNEL_ADVERTISED_PORT": str(free_port(7443)),
        }
        return port, Role("control-plane", ["cp"], {**self.environ, **own}, self.folder)

    def _agent(self, name: str, join: str) -> Role:
        self.metrics_ports.append(free_port(9090 + int(name[-1])))
        own = {
            "FLEDX_AGENT_JOIN": join,
            "FLEDX_AGENT_NAME": name,
            "FLEDX_AGENT_DATA_DIR": str(self.folder / name),
            "FLEDX_AGENT_LABELS": f"zone={name[-1]}",
            # Below 32768, from where on the kernel hands ports out: one that was in use there is not free for a minute.
            "FLEDX_AGENT_PORTS_RANGE": f"30{name[-1]}00-30{name[-1]}99",
            "FLEDX_AGENT_DOCKER_HOST": self.engine.address,
            "FLEDX_AGENT_CLEANUP_ON_SHUTDOWN": "true",
            "FLEDX_AGENT_METRICS_PORT": str(self.metrics_ports[-1]),
            "FLEDX_AGENT_HEALTH_PORT": "0",
        }
        return Role(name, ["agent"], {**self.environ, **own}, self.folder)

    def stop(self) -> None:
        """Stop everything; the agents take their containers with them, and what they left is removed by label."""
        node_ids = self._node_ids()
        for role in self.agents:
            role.ask_to_stop()
        for role in [*self.agents, self.control_plane]:
            role.stop()
        for node_id in node_ids:
            for container in self.engine.containers(f"fledx.node_id={node_id}"):
                self.engine.remove_container(container["Id"])

    def _node_ids(self) -> list[str]:
        try:
            with contextlib.closing(self.api()) as api:
                return [node["node_id"] for node in api.nodes({}).items]
        except (FledxError, OSError):
            return []


def main(*, check: bool) -> int:
    """Show the system until Ctrl-C, or go through the whole story once; the exit code."""
    with ended_by_signals(), tempfile.TemporaryDirectory(prefix="fledx-demo-") as folder:
        engine = Engine.at(None)
        had = engine.inspect(NAME) is not None
        say("making the sample image from this machine's own Python ...")
        ensure_image(NAME)
        system = System(Path(folder), engine)
        try:
            say("starting a control plane and three agents ...")
            system.start()
            if check:
                return Story(system, say).check()
            return _show(system)
        except KeyboardInterrupt:
            say("\nstopping ...")
            return 0 if not check else 130
        except FledxError as problem:
            say(f"the demo failed: {problem}")
            return 1
        finally:
            system.stop()
            if not had:
                engine.remove(NAME)
            say("everything is removed again")


def say(text: str) -> None:
    """Progress is for people: stderr."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """
    SIGTERM and SIGHUP end the demo as Ctrl-C does, so that it cleans up.

    Whoever presses it once more meanwhile is told to wait; the third ends it, whatever is left behind.
    """
    heard: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        if len(heard) != 2:
            raise KeyboardInterrupt
        say("still removing what it made; once more ends it as it is")

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(system: System) -> int:
    with contextlib.closing(system.api()) as api:
        api.create_deployment(web(NODES))
        found = wait_for("web running", lambda: _running(api), seconds=START_SECONDS, roles=system.agents)
    print(_told(system, found), flush=True)
    wait_for("Ctrl-C", lambda: None, seconds=10 * 365 * 86400.0, roles=[*system.agents, system.control_plane])
    return 0


def _running(api: ControlPlane) -> dict[str, Any] | None:
    found = api.deployment("web")
    if found["status"] == "failed":
        raise Unavailable(f"web failed: {found.get('reason')}")
    return found if found["status"] == "running" else None


def _told(system: System, deployment: dict[str, Any]) -> str:
    """What a newcomer is told: where the app answers, and what to try."""
    replicas = [
        f"  replica {given['replica_number']} on {given['node']}: http://127.0.0.1:{given['ports'][0]['host_port']}/"
        for given in deployment["assignments"]
    ]
    fledx = " ".join(own_command())
    lines = [
        f"\nA control plane ({system.url}), {NODES} nodes, and the deployment web, running:\n",
        *replicas,
        "\nTry, in another terminal:\n",
        f"  export FLEDX_CLI_CONTROL_PLANE_URL={system.url}",
        f"  export FLEDX_CLI_OPERATOR_TOKEN=$(cat {system.folder}/state/fledx/cp/operator-token)",
        f"  alias fledx='{fledx}'",
        "  fledx status",
        "  fledx deployments show web",
        "  fledx logs web --follow",
        "  fledx scale web=5",
        "  fledx deployments update web --env VERSION=2",
        "  docker rm -f $(docker ps -q --filter label=fledx.deployment=web | head -1)   # and look again",
        "  fledx events --follow",
        "  fledx metrics show",
        f"\nPrometheus finds series at {system.url}/metrics and, of the agents, at "
        + ", ".join(f"127.0.0.1:{port}/metrics" for port in system.metrics_ports),
        "\nCtrl-C stops the demo and removes every trace of it.",
    ]
    return "\n".join(lines)
