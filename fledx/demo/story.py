"""The whole story, once, each step verified where a user would see it: at the app, in the logs, in the engine."""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from fledx.client.api import ControlPlane
from fledx.demo.processes import Role, wait_for
from fledx.errors import FledxError, NotFound, Unavailable
from fledx.sample.image import NAME, PORT, Engine

T = TypeVar("T")
SECONDS = 180.0
WEB = "web"


class Staged(Protocol):
    """The running system that the story is told of."""

    engine: Engine
    agents: list[Role]
    control_plane: Role

    def api(self) -> ControlPlane:
        """A new client."""

    def start_control_plane(self) -> None:
        """Start it again and wait until it answers."""


class Story:
    """One run of the check; stops at the first step that does not hold."""

    def __init__(self, system: Staged, say: Callable[[str], None]) -> None:
        self._system = system
        self._say = say
        self._api = system.api()
        self._id = ""

    def check(self) -> int:
        """Go through all steps; 0, or 1 with the step that failed and why."""
        steps: list[tuple[str, Callable[[], str]]] = [
            ("create a deployment of 3 replicas", self._create),
            ("every replica answers over HTTP, on its own node", self._answers),
            ("their real output is in the logs", self._logs),
            ("a container removed by hand comes back, with the reason", self._drift),
            ("kill -9 the control plane: the containers keep their processes", self._crash),
            ("update: every replica serves the new version", self._update),
            ("scale to 5 and back to 2", self._scale),
            ("stop and start", self._stop_and_start),
            ("delete: no container is left", self._delete),
        ]
        for title, step in steps:
            try:
                self._say(f"ok    {title}: {step()}")
            except FledxError as problem:
                self._say(f"FAIL  {title}: {problem}")
                for role in [self._system.control_plane, *self._system.agents]:
                    self._say(f"----- {role.name}\n{role.last_words()}")
                return 1
        return 0

    def _create(self) -> str:
        self._id = str(self._api.create_deployment({**web(3), "env": {"VERSION": "1"}})["deployment_id"])
        found = self._running(3)
        return f"running as {found['deployment_id'][:8]}"

    def _answers(self) -> str:
        found = self._running(3)
        nodes = {given["node"] for given in found["assignments"]}
        if len(nodes) != 3:
            raise Unavailable(f"3 replicas stand on {sorted(nodes)}")
        pages = [fetch(port) for port in ports_of(found)]
        if not all("version: 1" in page for page in pages):
            raise Unavailable(f"the app answered {pages[0]!r}")
        return ", ".join(f"{given['node']} on port {given['ports'][0]['host_port']}" for given in found["assignments"])

    def _logs(self) -> str:
        for port in ports_of(self._running(3)):
            fetch(port, "/env")

        def look() -> set[int] | None:
            with contextlib.closing(self._api_streamed()) as lines:
                seen = {line["replica_number"] for line in lines if "GET /env" in line.get("line", "")}
            return seen if seen == {0, 1, 2} else None

        wait_for("the requests in the logs of all replicas", look, seconds=SECONDS)
        return "requests found in all 3"

    def _api_streamed(self) -> Any:
        return self._system.api().logs([WEB], {})

    def _drift(self) -> str:
        victim = self._containers()[0]
        number = int(victim["Config"]["Labels"]["fledx.replica"])
        self._system.engine.remove_container(victim["Id"])

        def look() -> bool:
            alive = [each for each in self._containers() if int(each["Config"]["Labels"]["fledx.replica"]) == number]
            return any(each["Id"] != victim["Id"] and each["State"]["Running"] for each in alive)

        wait_for(f"replica {number} again", look, seconds=SECONDS, roles=self._system.agents)
        self._running(3)
        events = wait_for("the reason", lambda: self._events("replica.drift"), seconds=SECONDS)
        return str(events[-1]["reason"])

    def _crash(self) -> str:
        before = self._processes()
        self._system.control_plane.kill()
        for port in ports_of_containers(self._containers()):
            fetch(port)
        self._system.start_control_plane()
        self._api.close()
        self._api = self._system.api()
        self._running(3)
        if self._processes() != before:
            raise Unavailable("a container was restarted")
        return f"{len(before)} processes kept"

    def _update(self) -> str:
        self._api.patch_deployment(WEB, {"env": {"VERSION": "2"}})
        found = self._running(3)
        answers = [fetch(port) for port in ports_of(found)]
        if not all("version: 2" in answer for answer in answers):
            raise Unavailable(f"an app still answers {answers}")
        return f"revision {found['revision']} on all"

    def _scale(self) -> str:
        kept = self._processes()
        self._api.patch_deployment(WEB, {"replicas": 5})
        for port in ports_of(self._running(5)):
            fetch(port)
        if not kept <= self._processes():
            raise Unavailable("scaling restarted a container")
        self._api.patch_deployment(WEB, {"replicas": 2})
        self._running(2)
        wait_for("2 running containers", lambda: len(self._alive()) == 2, seconds=SECONDS)
        return "nothing else was touched"

    def _stop_and_start(self) -> str:
        self._api.patch_deployment(WEB, {"desired_state": "stopped"})
        wait_for("no container", lambda: not self._alive(), seconds=SECONDS)
        self._api.patch_deployment(WEB, {"desired_state": "running"})
        self._running(2)
        return "gone and back"

    def _delete(self) -> str:
        self._api.delete_deployment(WEB)
        wait_for("no container", lambda: not self._containers(), seconds=SECONDS)
        try:
            self._api.deployment(WEB)
        except NotFound:
            return "nothing left"
        raise Unavailable("the deployment is still there")

    def _running(self, replicas: int) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self._api.deployment(WEB)
            if found["status"] == "failed":
                raise Unavailable(f"{WEB} failed: {found.get('reason')}")
            done = found["status"] == "running" and found["ready_replicas"] == replicas
            return found if done and len(found["assignments"]) == replicas else None

        return wait_for(f"{replicas} replicas running", look, seconds=SECONDS, roles=self._system.agents)

    def _events(self, kind: str) -> list[dict[str, Any]] | None:
        return self._api.events({"kind": kind}) or None

    def _containers(self) -> list[dict[str, Any]]:
        return self._system.engine.containers(f"fledx.deployment_id={self._id}")

    def _alive(self) -> list[dict[str, Any]]:
        return [each for each in self._containers() if each["State"]["Running"]]

    def _processes(self) -> set[tuple[str, int]]:
        return {(each["Id"], each["State"]["Pid"]) for each in self._alive()}


def web(replicas: int) -> dict[str, Any]:
    """The sample app, ready once it says so itself."""
    readiness = {"type": "http", "port": PORT, "path": "/healthz", "interval_seconds": 1}
    return {
        "name": WEB,
        "image": NAME,
        "replicas": replicas,
        "ports": [{"container_port": PORT}],
        "health": {"readiness": readiness},
    }


def ports_of(deployment: dict[str, Any]) -> list[int]:
    """The host port of each replica."""
    return [int(given["ports"][0]["host_port"]) for given in deployment["assignments"]]


def ports_of_containers(containers: list[dict[str, Any]]) -> list[int]:
    """The same as the engine sees it."""
    found = [each["NetworkSettings"]["Ports"][f"{PORT}/tcp"] for each in containers]
    return [int(bindings[0]["HostPort"]) for bindings in found]


def fetch(port: int, path: str = "/") -> str:
    """What the app answers on a port of this machine."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError) as problem:
        raise Unavailable(f"nothing answers on port {port}: {problem}") from None
