"""A real Prometheus, of the distribution, that scrapes and evaluates every second."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tests.tools.machine import install_packages
from tests.waiting import eventually


def ensure_prometheus() -> None:
    """Have `prometheus` and `promtool` on this machine."""
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        why = "there is no Prometheus for the tests"
        install_packages(["prometheus"], why, allowed=True, recommended=False)


def promtool(*arguments: str, given: bytes = b"") -> str:
    """What promtool says; it must be content."""
    done = subprocess.run(["promtool", *arguments], input=given, capture_output=True, check=False, timeout=180)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


class Prometheus:
    """Scrapes the control plane as job `fledx` and agents as job `fledx-agent`; ends with its `with` block."""

    def __init__(self, folder: Path, control_plane: int, agents: Sequence[int], rules: str = "groups: []\n") -> None:
        self.port = free_port()
        folder.mkdir(exist_ok=True)
        (folder / "rules.yml").write_text(rules)
        targets = {"fledx": [control_plane], "fledx-agent": list(agents)}
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}
            for job, ports in targets.items()
        ]
        every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config = {"global": every, "rule_files": ["rules.yml"], "scrape_configs": jobs}
        (folder / "prometheus.yml").write_text(json.dumps(config))
        self._folder = folder

    def __enter__(self) -> Prometheus:
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self._folder}/prometheus.yml",
                    f"--storage.tsdb.path={self._folder}/data",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self._ready, within=120)
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        self._process.wait(120)

    def _ready(self) -> bool:
        assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=30) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def ask(self, path: str, **query: str) -> Any:
        """The `data` of an answer of its API."""
        asked = urllib.parse.urlencode(query)
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}?{asked}", timeout=60) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series an expression gives now."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        return {each["labels"]["alertname"] for each in self.ask("alerts")["alerts"] if each["state"] == "firing"}
