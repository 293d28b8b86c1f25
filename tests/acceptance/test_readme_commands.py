"""
Every command line of the mission's README, as it stands there, executed on a running system, and its effect checked.

Those of bootstrap are tried on the bed's hosts; of placeholders only `<UUID>` and `<TOKEN>` are filled in.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fledx.sample.image import NAME, Engine
from tests.acceptance.system import ENGINE, System
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.slow]
PATIENCE = 180.0
IMAGES = ("nginx:latest", "myapp:v1.0", "myapp:v1.1")


@pytest.fixture(scope="module")
def images(sample: str) -> Iterator[None]:
    """The README's images, which are the sample app under other names."""
    engine = Engine(ENGINE)
    new = [name for name in IMAGES if engine.inspect(name) is None]
    for name in new:
        repository, _, tag = name.partition(":")
        status, body = engine._ask("POST", f"/images/{NAME}/tag?repo={repository}&tag={tag}")
        assert status == 201, body
    yield
    for name in new:
        engine.remove(name)


class Story:
    """What the lines are about, as it becomes known."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.out = self.err = ""

    def run(self, line: str, **ids: str) -> str:
        """Execute a line of the README; what went to stdout."""
        done = self.system.cli(*self._words(line, ids), HOME=str(self.system.folder / "home"))
        self.out, self.err = done.stdout, done.stderr
        assert done.returncode == 0, f"{line}: {done.returncode} {done.stderr}{done.stdout}"
        assert "Traceback" not in done.stderr
        return done.stdout

    def until(self, line: str, text: str, **ids: str) -> None:
        """Execute a line that goes on by itself until it shows a text, and then press Ctrl-C: 130."""
        environ = {
            **self.system.environ,
            "FLEDX_CLI_CONTROL_PLANE_URL": self.system.url,
            "FLEDX_CLI_OPERATOR_TOKEN": self.system.token,
        }
        command = self.system._command(*self._words(line, ids))
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
            assert it.stdout is not None
            shown, patience = "", threading.Timer(PATIENCE, it.kill)
            patience.start()
            while text not in shown:
                part = it.stdout.readline()
                assert part, f"{line}: ended without {text!r}: {shown}"
                shown += part
            patience.cancel()
            it.send_signal(signal.SIGINT)
            _, err = it.communicate(timeout=120)
        assert it.returncode == 130, f"{line}: {it.returncode} {err}"
        assert "Traceback" not in err

    def _words(self, line: str, ids: dict[str, str]) -> list[str]:
        words = shlex.split(line.replace("\\\n", " ").replace("<", "{").replace(">", "}"))
        assert words.pop(0) == "fledx"
        ordered = iter(ids.values())
        return [next(ordered) if word in ("{UUID}", "{TOKEN}") else word for word in words]

    def deployment(self, name: str) -> dict[str, Any]:
        return self.system.deployment(name)

    def becomes(self, name: str, **wanted: Any) -> dict[str, Any]:
        """The deployment, once its fields are so."""

        def look() -> dict[str, Any] | None:
            found = self.deployment(name)
            return found if all(found.get(key) == value for key, value in wanted.items()) else None

        found = eventually(look, within=120)
        assert found is not None
        return found


@pytest.fixture
def story(system: System, images: None, tmp_path: Path) -> Story:
    """Two nodes, and nothing on them."""
    system.start_control_plane()
    for name in ("edge-1", "edge-2"):
        system.start_agent(name)
    eventually(lambda: system.ready_nodes() == 2, within=120)
    (tmp_path / "config.env").write_text("FROM_FILE=yes\n# a remark\nexport OTHER=two words\n")
    return Story(system)


def test_deploy_your_first_application(story: Story) -> None:
    story.run("""fledx deployments create \\
      --name nginx-demo \\
      --image nginx:latest \\
      --replicas 2 \\
      --port 80""")
    found = story.becomes("nginx-demo", status="running", ready_replicas=2)
    assert found["image"] == "nginx:latest"
    assert [port["container_port"] for port in found["ports"]] == [80]
    assert len({each["ports"][0]["host_port"] for each in found["assignments"]}) >= 1
    story.until("fledx status --watch", "nginx-demo")

    for line, there, away in (
        ("fledx status", ("nginx-demo", "edge-1", "ready=2"), ()),
        ("fledx status --node-status ready --deploy-status running", ("nginx-demo", "edge-2"), ()),
        ("fledx status --nodes-only", ("edge-1",), ("nginx-demo",)),
        ("fledx status --deploys-only", ("nginx-demo",), ("edge-1  ready",)),
    ):
        shown = story.run(line)
        assert all(word in shown for word in there), f"{line}: {shown}"
        assert not any(word in shown for word in away), f"{line}: {shown}"


def test_the_missions_lines_on_deployments_do_what_they_say(story: Story) -> None:
    story.run("fledx deployments create --name myapp --image myapp:v1.0 --replicas 3 --port 8080")
    found = story.becomes("myapp", status="running", ready_replicas=3)
    uuid = found["deployment_id"]
    assert "myapp" in story.run("fledx deployments list")
    wide = story.run("fledx deployments list --status running --wide")
    assert uuid in wide
    assert "myapp" in story.run("fledx deployments status")
    assert "myapp" in story.run("fledx deployments status --status running")

    story.run("fledx deployments update --id <UUID> --image myapp:v1.1", id=uuid)
    assert story.becomes("myapp", image="myapp:v1.1", status="running", ready_replicas=3)["revision"] == 2
    story.run("fledx deployments update --id <UUID> --replicas 5", id=uuid)
    assert len(story.becomes("myapp", replicas=5, status="running", ready_replicas=5)["assignments"]) == 5

    assert "running  5/5 ready" in story.run("fledx deployments watch --id <UUID>", id=uuid)
    story.until("fledx deployments watch --id <UUID> --follow-logs", "listens on port", id=uuid)
    assert "listens on port" in story.run("fledx deployments logs")
    story.until("fledx deployments logs --resource-id <UUID> --follow", "listens on port", id=uuid)

    story.run("fledx deployments stop --id <UUID>", id=uuid)
    story.becomes("myapp", desired_state="stopped", status="stopped")
    eventually(lambda: not story.system.processes("myapp"), within=120)
    story.run("fledx deployments delete --id <UUID>", id=uuid)
    assert "myapp" not in story.run("fledx deployments list")
    eventually(lambda: not story.system.containers("myapp"), within=120)


def test_the_missions_lines_on_nodes_do_what_they_say(story: Story) -> None:
    assert "node_token: fn_" in story.run("fledx nodes register --name edge-node-1 --arch amd64 --os linux")
    shown = json.loads(story.system.cli("nodes", "show", "edge-node-1", "--json").stdout)
    assert (shown["status"], shown["arch"], shown["os"]) == ("registering", "amd64", "linux")
    again = story.system.cli("nodes", "register", "--name", "edge-node-1", "--label", "region=eu")
    assert (again.returncode, "already" in again.stderr) == (1, True), "a name means one node"
    story.run("fledx nodes register --name edge-node-2 --label region=eu --label zone=west")
    labels = json.loads(story.system.cli("nodes", "show", "edge-node-2", "--json").stdout)["labels"]
    assert labels == {"region": "eu", "zone": "west"}

    assert all(name in story.run("fledx nodes list") for name in ("edge-1", "edge-2", "edge-node-1"))
    ready = story.run("fledx nodes list --status ready --wide")
    assert "edge-1" in ready
    assert "edge-node-1" not in ready
    assert "ready=2" in story.run("fledx nodes status")
    assert "edge-1" not in story.run("fledx nodes status --status unreachable")


def test_the_missions_lines_on_configurations_do_what_they_say(story: Story, tmp_path: Path) -> None:
    system = story.system
    subprocess.run(
        system._command("secrets", "set", "my-secret"),
        env={**system.environ, "FLEDX_CLI_CONTROL_PLANE_URL": system.url, "FLEDX_CLI_OPERATOR_TOKEN": system.token},
        input=b"s3cr3t",
        check=True,
    )
    story.run("fledx configs create --name myconfig --var KEY=VALUE")
    made = story.system.cli_json("configs", "show", "myconfig")
    uuid = made["metadata"]["config_id"]
    assert made["entries"] == [{"key": "KEY", "value": "VALUE"}]
    assert "KEY = VALUE" in story.run("fledx configs show --id <UUID>", id=uuid)
    assert "myconfig" in story.run("fledx configs list")

    story.run("fledx configs update --id <UUID> --var NEW_KEY=NEW_VALUE", id=uuid)
    entries = story.system.cli_json("configs", "show", "myconfig")["entries"]
    assert {"key": "NEW_KEY", "value": "NEW_VALUE"} in entries

    story.system.deploy("web")
    deployment, node = story.deployment("web")["deployment_id"], node_id(story, "edge-1")
    for line, target, field in (
        ("fledx configs attach deployment --config-id <UUID> --deployment-id <UUID>", deployment, "deployments"),
        ("fledx configs attach node --config-id <UUID> --node-id <UUID>", node, "nodes"),
    ):
        story.run(line, config=uuid, target=target)
        assert target in story.system.cli_json("configs", "show", "myconfig")[f"attached_{field}"]
    story.becomes("web", status="running", ready_replicas=1)
    for line, target, field in (
        ("fledx configs detach deployment --config-id <UUID> --deployment-id <UUID>", deployment, "deployments"),
        ("fledx configs detach node --config-id <UUID> --node-id <UUID>", node, "nodes"),
    ):
        story.run(line, config=uuid, target=target)
        assert target not in story.system.cli_json("configs", "show", "myconfig").get(f"attached_{field}", ())

    story.run("fledx configs delete --id <UUID>", id=uuid)
    assert "myconfig" not in story.run("fledx configs list")
    with in_directory(tmp_path):
        story.run("fledx configs create --name myconfig --from-env-file ./config.env")
    found = {each["key"]: each["value"] for each in story.system.cli_json("configs", "show", "myconfig")["entries"]}
    assert found == {"FROM_FILE": "yes", "OTHER": "two words"}
    story.run("fledx configs delete --id <UUID>", id="myconfig")
    story.run("fledx configs create --name myconfig --secret-entry API_KEY=my-secret")
    assert story.system.cli_json("configs", "show", "myconfig")["entries"] == [
        {"key": "API_KEY", "secret_ref": "my-secret"}
    ]


def test_the_missions_lines_on_monitoring_do_what_they_say(story: Story) -> None:
    system = story.system
    system.deploy("web")
    uuid, node = story.deployment("web")["deployment_id"], node_id(story, "edge-1")
    with contextlib.closing(system.api()) as api:
        eventually(lambda: api.usage({"deployment": uuid}).items, within=300)  # a minute's average, once it is over
        api.deployment("web")
    assert "METHOD" in story.run("fledx metrics show")
    found = json.loads(story.run("fledx metrics show --limit 10 --json"))
    assert (found["limit"], found["window_secs"]) == (10, 60)
    assert any(each["path"] == "/api/v1/deployments/{ref}" for each in found["items"])

    shown = story.run("fledx usage list --deployment <UUID>", id=uuid)
    assert shown.splitlines()[0].split() == ["TIME", "DEPLOYMENT", "NODE", "REPLICA", "CPU", "MEM", "RX", "TX"]
    assert " web " in shown
    story.run("fledx usage list --node <UUID> --range 30m", id=node)
    assert " edge-1 " in story.out or "no usage data" in story.err
    for path in ("metrics", "health"):
        with urllib.request.urlopen(f"{system.url}/{path}", timeout=60) as answer:
            text = answer.read().decode()
        assert "fledx_tunnel_sessions 2.0" in text if path == "metrics" else json.loads(text)["status"] == "ok"


def test_the_missions_lines_on_profiles_do_what_they_say(story: Story) -> None:
    system = story.system
    story.run(
        """fledx profile set --name production \\
      --control-plane-url https://cp.example.com \\
      --operator-token <TOKEN>""",
        token="a-secret-token",
    )
    assert "production" in story.run("fledx profile list")
    story.run("fledx profile set-default --name production")
    for line in ("fledx profile show", "fledx profile show --name production"):
        shown = story.run(line)
        assert "https://cp.example.com" in shown
        assert "a-secret-token" not in shown
    file = system.folder / "home/.config/fledx/profiles.toml"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)

    story.run(f"fledx profile set --name production --control-plane-url {system.url} --operator-token {system.token}")
    done = subprocess.run(
        system._command("--profile", "production", "status"), env=system.environ, capture_output=True, text=True
    )
    assert (done.returncode, "edge-1" in done.stdout) == (0, True), done.stderr


def test_the_missions_lines_on_the_control_plane_itself_do_what_they_say(story: Story) -> None:
    """`fledx-cp` and `fledx-agent` are links to the file; `--migrations-dry-run` changes nothing."""
    system = story.system
    link = system.folder / "fledx-cp"
    link.symlink_to(system.pyz)
    done = subprocess.run(
        [str(link), "--migrations-dry-run"], env=system.environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "0 of " in done.stdout) == (0, True), done.stderr
    said = [json.loads(line) for line in system.control_plane.said().splitlines()]
    assert said, "--json-logs: one object a line"


def node_id(story: Story, name: str) -> str:
    """A node's id."""
    found: Callable[..., Any] = story.system.cli_json
    return str(found("nodes", "show", name)["node_id"])


@contextlib.contextmanager
def in_directory(path: Path) -> Iterator[None]:
    """Python 3.10 has no `contextlib.chdir`."""
    before = os.getcwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)
