"""Watching fledx as its operators do: a real Prometheus, the printed dashboard and rules, one id through all logs."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from fledx.cli.monitoring.alerts import ALERTS
from fledx.cli.monitoring.dashboard import ROWS
from fledx.client.api import ControlPlane
from fledx.client.asking import Credentials
from fledx.client.connection import SocketTransport
from fledx.client.http1 import Address
from fledx.sample.image import NAME
from tests.acceptance.prometheus import Prometheus, ensure_prometheus, promtool
from tests.acceptance.system import System
from tests.issued import DAY, issued
from tests.ports import free_port
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.slow]
STATE_BYTES = 16 * 1024 * 1024


@pytest.fixture(scope="module", autouse=True)
def _prometheus() -> None:
    ensure_prometheus()


@dataclass(frozen=True, kw_only=True)
class Demo:
    """The running demo: the ports at which its roles show their series, and its operator's token."""

    control_plane: int
    agents: Sequence[int]
    token: str

    def scale(self, replicas: int) -> None:
        """Change its deployment; each change is written, sent to the nodes and placed."""
        transport = SocketTransport(Address(scheme="http", host="127.0.0.1", port=self.control_plane), timeout=60)
        credentials = Credentials(operator_token=self.token)
        with contextlib.closing(ControlPlane(transport, credentials, peer="the demo")) as api:
            api.patch_deployment("web", {"replicas": replicas})


@contextlib.contextmanager
def demo(pyz: Path, folder: Path) -> Iterator[Demo]:
    """The demo while the block runs."""
    told = folder / "told"
    with told.open("wb") as out:
        running = subprocess.Popen(
            [sys.executable, "-IS", str(pyz), "demo"], stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:

        def shown() -> str:
            assert running.poll() is None, told.read_text()
            return told.read_text() if "Ctrl-C stops" in told.read_text() else ""

        text = eventually(shown, within=90)
        first, *agents = [int(port) for port in re.findall(r":(\d+)/metrics", text)]
        token = Path(re.findall(r"OPERATOR_TOKEN=\$\(cat (.+)\)", text)[0]).read_text().strip()
        yield Demo(control_plane=first, agents=agents, token=token)
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(60)


def page(port: int) -> bytes:
    """The series of a role as it shows them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        return bytes(answer.read())


def test_prometheus_scrapes_the_demo_and_every_query_of_the_dashboard_has_an_answer(
    pyz: Path, sample: str, tmp_path: Path
) -> None:
    queries = {query for row in ROWS for panel in row.panels for query, _ in panel.queries}
    with demo(pyz, tmp_path) as shown:
        for port in (shown.control_plane, *shown.agents):
            assert promtool("check", "metrics", given=page(port)) == ""
        with Prometheus(tmp_path / "prometheus", shown.control_plane, shown.agents) as prometheus:
            eventually(lambda: len(prometheus.query("up == 1")) == 4, within=120)
            assert {each["metric"]["job"] for each in prometheus.query("up")} == {"fledx", "fledx-agent"}
            replicas = itertools.cycle((2, 3))

            def answered() -> bool:
                """Something happens all the time: a share of what did not happen is no number."""
                shown.scale(next(replicas))
                asked = {query: query.replace("$__rate_interval", "1m") for query in queries}
                silent = {query for query, words in asked.items() if not numbers(prometheus, words)}
                assert not silent, f"no number: {silent}"
                return True

            eventually(answered, within=90, every=1.0)


def numbers(prometheus: Prometheus, expression: str) -> list[str]:
    """The values an expression gives now, those that are numbers."""
    return [each["value"][1] for each in prometheus.query(expression) if each["value"][1] != "NaN"]


def test_a_request_is_found_by_its_id_in_the_logs_of_both_roles(system: System) -> None:
    system.start("one")
    body = {"name": "traced", "image": "no-such-image.invalid/x:1"}
    request = urllib.request.Request(
        f"{system.url}/api/v1/deployments",
        data=json.dumps(body).encode(),
        headers={
            "authorization": f"Bearer {system.token}",
            "content-type": "application/json",
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        },
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        trace = answer.headers["x-request-id"]
    assert trace == "4bf92f3577b34da6a3ce929d0e0e4736"

    def said(name: str) -> list[dict[str, object]]:
        process = system.control_plane if name == "cp" else system.agents[name]
        lines = [json.loads(line) for line in process.said().splitlines() if line.startswith("{")]
        assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
        return [line for line in lines if line.get("request_id") == trace]

    (answered,) = [line for line in said("cp") if line["message"] == "answered"]
    assert (answered["method"], answered["route"], answered["status"]) == ("POST", "/api/v1/deployments", 201)
    eventually(lambda: any(line["message"] == "desired state taken" for line in said("one")))
    eventually(lambda: any(line.get("deployment") == "traced" for line in said("one")))
    assert any(
        line["request_id"] == trace for line in system.cli_json("audit", "--action", "deployment.create")["items"]
    )


def test_every_alert_rule_is_sound_and_fires_on_what_it_is_for(tmp_path: Path, pyz: Path) -> None:
    rules = subprocess.run(
        [sys.executable, "-IS", str(pyz), "metrics", "alerts"], capture_output=True, check=True, timeout=60
    ).stdout
    (tmp_path / "rules.yml").write_bytes(rules)
    (tmp_path / "tests.json").write_text(json.dumps({"rule_files": ["rules.yml"], "tests": [*cases()]}))

    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", str(tmp_path / "rules.yml"))
    promtool("test", "rules", str(tmp_path / "tests.json"))


#: What makes each rule fire, and what is as near to that as can be without firing it: series as promtool writes them.
SERIES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "FledxControlPlaneDown": ({'up{job="fledx"}': "0x200"}, {'up{job="fledx"}': "1x200"}),
    "FledxNodeUnreachable": (
        {'fledx_nodes{status="unreachable"}': "1x200"},
        {'fledx_nodes{status="ready"}': "9x200", 'fledx_nodes{status="unreachable"}': "0x200"},
    ),
    "FledxNodeEngineDown": ({'fledx_nodes{status="error"}': "1x200"}, {'fledx_nodes{status="error"}': "0x200"}),
    "FledxDeploymentFailed": (
        {'fledx_deployments{status="failed"}': "2x200"},
        {'fledx_deployments{status="failed"}': "0x200"},
    ),
    "FledxReplicasUnplaced": (
        {'fledx_replicas{state="unplaced"}': "1x200"},
        {'fledx_replicas{state="unplaced"}': "0x200"},
    ),
    "FledxReplicasNotReady": (
        {'fledx_replicas{state="wanted"}': "3x200", 'fledx_replicas{state="ready"}': "2x200"},
        {'fledx_replicas{state="wanted"}': "3x200", 'fledx_replicas{state="ready"}': "3x200"},
    ),
    "FledxRolledBack": (
        {'fledx_events_total{kind="deployment.rolled_back"}': "0x190 1x10"},
        {'fledx_events_total{kind="deployment.rolled_back"}': "1x200"},
    ),
    "FledxApiErrors": (
        {"fledx_http_failures_total": "0+6x200"},
        {"fledx_http_failures_total": "0+0x200"},
    ),
    "FledxApiSlow": (
        {
            'fledx_http_request_duration_seconds_bucket{method="POST",le="1"}': "0+0x200",
            'fledx_http_request_duration_seconds_bucket{method="POST",le="+Inf"}': "0+6x200",
            'fledx_http_request_duration_seconds_bucket{method="POST",le="2.5"}': "0+6x200",
        },
        {
            'fledx_http_request_duration_seconds_bucket{method="POST",le="1"}': "0+6x200",
            'fledx_http_request_duration_seconds_bucket{method="POST",le="+Inf"}': "0+6x200",
        },
    ),
    "FledxTokensRefused": (
        {'fledx_tokens_refused_total{kind="operator"}': "0+30x200"},
        {'fledx_tokens_refused_total{kind="operator"}': "0+3x200"},
    ),
    "FledxBackupOld": (
        {"fledx_backup_last_success_timestamp_seconds": "-180000x200"},
        {"fledx_backup_last_success_timestamp_seconds": "0x200"},
    ),
    "FledxCertificateEnds": (
        {'fledx_certificate_expiry_timestamp_seconds{use="server"}': "864000x200"},
        {'fledx_certificate_expiry_timestamp_seconds{use="server"}': "8640000x200"},
    ),
    "FledxAgentDisconnected": ({"fledx_agent_tunnel_connected": "0x200"}, {"fledx_agent_tunnel_connected": "1x200"}),
    "FledxAgentEngineDown": ({"fledx_agent_runtime_up": "0x200"}, {"fledx_agent_runtime_up": "1x200"}),
    "FledxGatewayFailed": (
        {'fledx_gateways{state="failed"}': "1x200", 'fledx_gateways{state="serving"}': "2x200"},
        {'fledx_gateways{state="failed"}': "0x200", 'fledx_gateways{state="serving"}': "3x200"},
    ),
    "FledxReplicaRestarts": (
        {'fledx_agent_happenings_total{kind="restart"}': "0+1x200"},
        {'fledx_agent_happenings_total{kind="restart"}': "0+0x200"},
    ),
}


def cases() -> Iterator[dict[str, object]]:
    """Two tests for each rule in promtool's words: it fires, it does not."""
    assert SERIES.keys() == {alert.name for alert in ALERTS}
    for name, both in SERIES.items():
        for fires, series in zip((True, False), both, strict=True):
            inputs = [{"series": each, "values": values} for each, values in series.items()]
            counted = {"expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'}
            expected = {"eval_time": "199m", "exp_samples": [{"labels": "{}", "value": int(fires)}], **counted}
            yield {"name": name, "interval": "1m", "input_series": inputs, "promql_expr_test": [expected]}


@pytest.fixture
def small_state(tmp_path: Path) -> Iterator[Path]:
    """The state directory as a file system of its own that is soon full."""
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={STATE_BYTES}", "fledx-test", str(state)], check=True)
    yield state
    subprocess.run(["umount", "--lazy", str(state)], check=True)


@pytest.fixture
def watched(small_state: Path, system: System, tmp_path: Path) -> Iterator[Watched]:
    """
    A control plane that takes no backups, three agents: one on an engine that can be taken away, and one is to be a
    gateway with an Envoy that no registry has.
    """
    rules = re.sub(r"(?m)^(\s+for:).*$", r"\1 0s", system.cli("metrics", "alerts").stdout)
    ports = [free_port(), free_port()]
    system.control_plane.environ |= {
        "FLEDX_CP_BACKUP_INTERVAL_SECS": "0",
        "FLEDX_CP_TUNNEL_HEARTBEAT_INTERVAL_SECS": "1",
    }
    system.start_control_plane()
    (tmp_path / "engine.sock").symlink_to("/var/run/docker.sock")
    pace = {f"FLEDX_AGENT_RESTART_{word}": value for word, value in PACE.items()}
    system.start_agent("one", FLEDX_AGENT_METRICS_PORT=str(ports[0]), **pace)
    engine = f"unix://{tmp_path / 'engine.sock'}"
    system.start_agent("two", FLEDX_AGENT_METRICS_PORT=str(ports[1]), FLEDX_AGENT_DOCKER_HOST=engine)
    system.start_agent(
        "three",
        FLEDX_AGENT_GATEWAY_ENABLED="true",
        FLEDX_AGENT_GATEWAY_ENVOY_IMAGE=NO_ENVOY,
        FLEDX_AGENT_GATEWAY_HTTP_PORT=str(free_port()),
        FLEDX_AGENT_GATEWAY_HTTPS_PORT="0",
    )
    ending = issued(["shop.example.com"], now=time.time(), ends=5 * DAY)
    (tmp_path / "chain.pem").write_text(ending.chain)
    (tmp_path / "key.pem").write_text(ending.key)
    made = system.cli(
        "certificates", "create", "shop", "--cert", f"{tmp_path}/chain.pem", "--key", f"{tmp_path}/key.pem"
    )
    assert made.returncode == 0, made.stderr
    system.control_plane.kill()  # certificates are looked at when it starts, and once a minute
    system.start_control_plane()
    eventually(lambda: system.ready_nodes() == 3, within=120)
    with Prometheus(tmp_path / "prometheus", system.api_port, ports, rules) as prometheus:
        yield Watched(system, prometheus, tmp_path)


NO_ENVOY = "127.0.0.1:1/no/such-envoy:1"
PACE = {"BACKOFF_SECS": "0.1", "BACKOFF_MAX_SECS": "0.1", "FAILURE_LIMIT": "12"}


class Watched:
    """A system with a Prometheus beside it; ``fired`` are the alerts that were seen so far."""

    def __init__(self, system: System, prometheus: Prometheus, folder: Path) -> None:
        self.system = system
        self.prometheus = prometheus
        self.folder = folder
        self.fired: set[str] = set()

    def fires(self, *names: str) -> None:
        """Wait until these fire, which none of them did before."""
        assert not self.fired & set(names)
        eventually(lambda: set(names) <= self.prometheus.firing(), within=120, every=0.5)
        self.fired |= set(names)

    def create(self, name: str, *flags: str) -> None:
        """Ask for the sample app under another name, and do not wait."""
        done = self.system.cli("deployments", "create", name, "--image", NAME, "--detach", *flags)
        assert done.returncode == 0, done.stderr

    def post(self, name: str, token: str, *, variables: int = 0) -> None:
        """One request for a config with so many large variables; any answer will do."""
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        entries = [{"key": f"V{i}", "value": "x" * 4000} for i in range(variables)]
        body = json.dumps({"name": name, "entries": entries}).encode()
        request = urllib.request.Request(f"{self.system.url}/api/v1/configs", data=body, headers=headers)
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=20) as answer:
            answer.read()


def test_each_alert_fires_for_its_own_real_cause(watched: Watched) -> None:
    system = watched.system
    watched.fires("FledxBackupOld", "FledxCertificateEnds", "FledxGatewayFailed")
    assert any(NO_ENVOY in each["reason"] for each in system.events("gateway.failed"))

    watched.create("nowhere", "--require-label", "disk=none")
    watched.fires("FledxReplicasUnplaced", "FledxReplicasNotReady")
    system.deploy("web", "--watch-time", "0", "--min-healthy", "0")
    assert system.cli("deployments", "update", "web", "--env", "A=2").returncode == 0
    assert system.cli("deployments", "rollback", "web").returncode == 0
    watched.fires("FledxRolledBack")
    node = next(each["node_id"] for each in system.cli_json("nodes", "list")["items"] if each["name"] == "one")
    watched.create("crashing", "--env", "EXIT_AFTER=0.1", "--affinity-node", node)
    watched.fires("FledxReplicaRestarts", "FledxDeploymentFailed")

    for i in range(200):
        watched.post(f"c-{i}", "wrong")
    watched.fires("FledxTokensRefused")
    slow_database(watched)
    watched.fires("FledxApiSlow")
    full_disk(watched)
    watched.fires("FledxApiErrors")

    (watched.folder / "engine.sock").unlink()
    watched.fires("FledxNodeEngineDown", "FledxAgentEngineDown")
    system.agents["three"].kill()
    watched.fires("FledxNodeUnreachable")
    system.control_plane.kill()
    watched.fires("FledxControlPlaneDown", "FledxAgentDisconnected")
    assert watched.fired == {alert.name for alert in ALERTS}


def slow_database(watched: Watched) -> None:
    """Somebody else holds the database for a while, as a tool for backups might; a change waits for it."""
    token = watched.system.token
    database = watched.folder / "state/fledx/cp/fledx.db"
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = [threading.Thread(target=watched.post, args=(f"slow-{i}", token)) for i in range(8)]
        for thread in waiting:
            thread.start()
        time.sleep(2.0)
        other.execute("ROLLBACK")
        for thread in waiting:
            thread.join()


def full_disk(watched: Watched) -> None:
    """The state's file system fills up; every change is refused until there is room again."""
    token = watched.system.token
    ballast = watched.folder / "state/ballast"
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        for _ in range(STATE_BYTES // 4096):
            os.write(file.fileno(), bytes(4096))
    for i in range(40):
        watched.post(f"full-{i}", token, variables=100)
    ballast.unlink()
