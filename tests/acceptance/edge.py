"""A control plane on this machine, and agents that each have an engine and an address of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fledx.sample.image import Engine as Seen
from tests.acceptance.system import Process, System, forget_memory
from tests.bed.engines import Engines


class Edge(System):
    """Agents bear the names of their engines; `agent_data` may put their data directories elsewhere."""

    def __init__(self, pyz: Path, folder: Path, engines: Engines, *, agent_data: Path | None = None) -> None:
        self.engines = engines
        self._agent_data = agent_data or folder
        super().__init__(pyz, folder)

    def __enter__(self) -> Edge:
        return self

    def _control_plane_environ(self) -> dict[str, str]:
        here = self.engines.gateway
        return {
            **super()._control_plane_environ(),
            "FLEDX_CP_TUNNEL_HOST": here,
            "FLEDX_CP_TUNNEL_ADVERTISED_HOST": here,
        }

    def agent(self, name: str, **settings: str) -> Process:
        """The process of an agent beside the engine of its name."""
        made = super().agent(name, **settings)
        engine = self.engines[name]
        made.command = [*engine.beside(), *made.command]
        made.environ["DOCKER_HOST"] = engine.docker_host
        made.environ["FLEDX_AGENT_DATA_DIR"] = str(self._agent_data / name)
        return made

    def containers(self, deployment: str | None = None) -> list[dict[str, Any]]:
        """Docker's descriptions of the containers of all agents; every engine must answer."""
        found = [each for engine in self.engines for each in Seen(engine.docker_host).containers("fledx.node_id")]
        return [each for each in found if deployment in (None, each["Config"]["Labels"].get("fledx.deployment"))]

    def __exit__(self, *exception: object) -> None:
        for process in [*self.agents.values(), self.control_plane]:
            if process.running is not None and process.running.poll() is None:
                process.kill()
        for engine in self.engines:
            engine.reset()
        forget_memory(self._agent_data)
