"""Configs and secrets on the built file and a real engine: what arrives in containers, and nowhere else."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from fledx.sample.image import PORT
from tests.acceptance.desk import Desk
from tests.acceptance.system import System, contents
from tests.bed.hosts import Hosts
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def env(system: System, name: str) -> dict[str, str]:
    """The environment that the sample app tells of."""
    port = system.deployment(name)["assignments"][0]["ports"][0]["host_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/env", timeout=60) as answer:
        found: dict[str, str] = json.loads(answer.read())
    return found


def inside(system: System, name: str, path: str) -> Path:
    """A file as the one running container of a deployment sees it."""
    (pid,) = system.processes(name).values()
    return Path(f"/proc/{pid}/root{path}")


def settled(system: System, name: str) -> dict[str, Any]:
    """The deployment, once it runs its present revision."""

    def look() -> dict[str, Any] | None:
        found = system.deployment(name)
        return found if found["status"] == "running" else None

    found = eventually(look, within=120)
    assert found is not None
    return found


def put(system: System, name: str, value: bytes) -> None:
    """`fledx secrets set NAME`, the value on stdin."""
    own = {"FLEDX_CLI_CONTROL_PLANE_URL": system.url, "FLEDX_CLI_OPERATOR_TOKEN": system.token}
    command = [*system._command("secrets", "set", name), "--from-file", "-"]
    done = subprocess.run(
        command, env={**system.environ, **own}, input=value, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert value not in done.stdout + done.stderr


def ok(system: System, *words: str) -> str:
    done = system.cli(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def started(system: System, tmp_path: Path) -> System:
    """A control plane and a node whose key lies apart from its data."""
    system.start()
    system.start_agent("edge-1", FLEDX_AGENT_CONFIG_DIR=str(tmp_path / "etc"))
    eventually(lambda: system.ready_nodes() == 1, within=120)
    return system


def _node_ids(system: System) -> list[str]:
    return [json.loads(file.read_text())["node_id"] for file in system.folder.glob("*/identity.json")]


def test_every_config_command_of_the_readme(started: System, tmp_path: Path) -> None:
    """Verbatim, with ids; and what each does to the container that uses the config."""
    system = started
    (tmp_path / "config.env").write_text("FROM_FILE=yes\nKEY=other\n")
    ok(system, "configs", "create", "--name", "myconfig", "--var", "KEY=VALUE")
    ok(system, "configs", "create", "--name", "envconfig", "--from-env-file", str(tmp_path / "config.env"))
    ok(system, "configs", "create", "--name", "secretconfig", "--secret-entry", "API_KEY=my-secret")
    put(system, "my-secret", b"hunter2")
    ids = {
        item["metadata"]["name"]: item["metadata"]["config_id"] for item in system.cli_json("configs", "list")["items"]
    }
    system.deploy("web")
    node, web = _node_ids(system)[0], system.deployment("web")["deployment_id"]

    config = ids["myconfig"]
    ok(system, "configs", "attach", "deployment", "--config-id", config, "--deployment-id", web)
    ok(system, "configs", "attach", "node", "--config-id", ids["envconfig"], "--node-id", node)
    ok(system, "configs", "attach", "deployment", "--config-id", ids["secretconfig"], "--deployment-id", web)
    eventually(lambda: env(system, "web").get("API_KEY") == "hunter2", within=120)
    settled(system, "web")
    assert (env(system, "web")["KEY"], env(system, "web")["FROM_FILE"]) == ("VALUE", "yes")
    assert "KEY = VALUE" in ok(system, "configs", "show", "--id", config)
    table = ok(system, "deployments", "show", "web", "--env")
    assert "config myconfig" in table
    assert "node config envconfig" in table
    assert "VALUE" not in table.replace("VALUE   ", "")

    ok(system, "configs", "update", "--id", config, "--var", "NEW_KEY=NEW_VALUE")
    eventually(lambda: env(system, "web").get("NEW_KEY") == "NEW_VALUE", within=120)
    assert env(system, "web")["KEY"] == "other"

    ok(system, "configs", "detach", "deployment", "--config-id", config, "--deployment-id", web)
    ok(system, "configs", "detach", "node", "--config-id", ids["envconfig"], "--node-id", node)
    eventually(lambda: not {"NEW_KEY", "FROM_FILE"} & env(system, "web").keys(), within=120)
    ok(system, "configs", "delete", "--id", config)
    assert "myconfig" not in ok(system, "configs", "list")


def test_secret_files_lie_in_memory_and_follow_a_rotation(started: System, tmp_path: Path) -> None:
    """
    Fault 44: a binary megabyte, 0400 and read-only in the container; another value is another container, and the old
    one is gone from memory.
    """
    system = started
    binary = bytes(range(256)) * 4096
    (tmp_path / "app.conf").write_text("colour = blue\n")
    put(system, "db", binary)
    ok(system, "configs", "create", "files", "--file", f"/etc/app.conf=@{tmp_path}/app.conf", "--file", "/run/other=db")
    system.deploy("web", "--config", "files", "--secret-file", "/run/db=db,owner=1000:1000")

    file = inside(system, "web", "/run/db")
    assert file.read_bytes() == inside(system, "web", "/run/other").read_bytes() == binary
    assert (file.stat().st_mode & 0o777, file.stat().st_uid) == (0o400, 1000)
    assert inside(system, "web", "/etc/app.conf").read_text() == "colour = blue\n"
    mounts = {mount["Destination"]: mount for mount in system.containers("web")[0]["Mounts"]}
    assert not mounts["/run/db"]["RW"]
    assert mounts["/run/db"]["Source"].startswith(("/dev/shm/", "/run/"))
    before = system.deployment("web")["revision"]

    put(system, "db", b"rotated")
    eventually(lambda: system.deployment("web")["revision"] == before + 1)
    settled(system, "web")

    assert inside(system, "web", "/run/db").read_bytes() == b"rotated"
    eventually(lambda: not Path(mounts["/run/db"]["Source"]).exists(), within=120)


def test_a_missing_secret_holds_a_change_up_while_the_old_container_serves(started: System) -> None:
    """Fault 44, missing."""
    system = started
    system.deploy("web")
    before = system.processes("web")

    done = system.cli("deployments", "update", "web", "--secret-env", "TOKEN=token", "--wait-timeout", "6s")
    assert done.returncode == 3
    eventually(lambda: "secret token does not exist" in str(system.deployment("web")))
    assert system.processes("web") == before

    put(system, "token", b"hunter2")
    eventually(lambda: env(system, "web").get("TOKEN") == "hunter2", within=120)
    settled(system, "web")


def test_a_node_that_starts_cold_and_alone_has_its_secrets(started: System) -> None:
    """No control plane, the container down, memory empty: the agent starts it from its own sealed state."""
    system = started
    put(system, "db", b"hunter2")
    system.deploy("web", "--secret-file", "/run/db=db", "--secret-env", "PASSWORD=db")
    (container,) = system.containers("web")
    source = next(Path(mount["Source"]) for mount in container["Mounts"] if mount["Destination"] == "/run/db")
    system.control_plane.kill()
    system.agents["edge-1"].kill()
    subprocess.run(["docker", "stop", "-t", "1", container["Id"]], check=True, capture_output=True, timeout=120)
    shutil.rmtree(source.parent.parent.parent)

    system.agents["edge-1"].start()
    eventually(lambda: system.processes("web"), within=120)

    assert inside(system, "web", "/run/db").read_bytes() == b"hunter2"
    (pid,) = system.processes("web").values()
    assert b"PASSWORD=hunter2\0" in Path(f"/proc/{pid}/environ").read_bytes()


def test_the_nodes_own_secret_wins(system: System, tmp_path: Path) -> None:
    system.start()
    system.start_agent("edge-1", FLEDX_SECRET_db="own", FLEDX_AGENT_CONFIG_DIR=str(tmp_path / "etc"))
    put(system, "db", b"central")

    system.deploy("web", "--secret-env", "PASSWORD=db")

    assert env(system, "web")["PASSWORD"] == "own"


def test_fifty_planted_secrets_are_found_nowhere_in_clear(started: System) -> None:
    """Fault 45: database and backups, logs, ps, events, audit, errors, API, docker inspect, the agent's directory."""
    system = started
    planted = [f"planted-secret-{number:02d}-{'q' * number}" for number in range(50)]
    flags: list[str] = []
    for number, value in enumerate(planted):
        with contextlib.closing(system.api()) as api:
            api.put_secret(f"s{number}", value.encode())
        flags += ["--secret-file", f"/run/s{number}=s{number}"]
    put(system, "s0", planted[0].encode())
    system.deploy("web", *flags)
    refused = system.cli("secrets", "delete", "s1")
    assert "s1 is used by web" in refused.stderr
    put(system, "s49", (planted[49] + "-rotated").encode())
    eventually(lambda: settled(system, "web")["revision"] == 2)
    ok(system, "secrets", "delete", "s2", "--force")
    eventually(lambda: "secret s2 does not exist" in str(system.deployment("web")["rollout"].get("reason")))
    assert inside(system, "web", "/run/s49").read_text() == planted[49] + "-rotated"
    for number, value in enumerate(planted[:49]):
        assert inside(system, "web", f"/run/s{number}").read_text() == value
    backup, whole = system.folder / "backup.db", system.folder / "with-keys.db"
    ok(system, "cp", "backup", str(backup))
    ok(system, "cp", "backup", str(whole), "--with-keys")
    api_texts = [
        ok(system, *words)
        for words in (
            ("secrets", "list", "--json"),
            ("events", "--json"),
            ("audit", "--json"),
            ("deployments", "show", "web", "--json"),
            ("deployments", "show", "web", "--env", "--json"),
            ("nodes", "show", "edge-1", "--json"),
        )
    ]
    ps = subprocess.run(["ps", "axeww"], capture_output=True, text=True, timeout=120, check=True).stdout
    told = "\n".join([*api_texts, ps, refused.stderr, json.dumps(system.containers("web"))])
    kept = contents(system.folder)
    assert any(path.name == "desired.json" for path in kept)
    key = kept[system.folder / "state/fledx/cp/secrets.key"]
    assert key in kept[whole]
    assert key not in kept[backup]

    for process in (system.control_plane, system.agents["edge-1"]):
        assert "Max core file size        0 " in Path(f"/proc/{process.pid}/limits").read_text()
    for value in planted:
        assert value not in told
        found = [str(path) for path, content in kept.items() if value.encode() in content]
        assert found == []


READ = "import os; print(open('/run/db').read(), open('/run/own').read(), os.environ['PW'])"


@pytest.mark.bed
def test_a_service_that_is_not_root_has_its_secrets_after_a_reboot_without_a_control_plane(
    pyz: Path, hosts_of_session: Hosts, sample_in_registry: str, tmp_path: Path
) -> None:
    """On a real host as bootstrap leaves it: its own user, hardened, /run in memory, the key below /etc."""
    bed = hosts_of_session
    bed.renew("cp", "n1")
    desk, node = Desk(pyz, tmp_path / "home", bed), bed["n1"]
    desk.does("bootstrap", "cp", "--cp-hostname", bed["cp"].address, "--ssh-host", "ops@cp")
    desk.does("bootstrap", "agent", "--ssh-host", "ops@n1")
    desk.does("secrets", "set", "db", stdin="hunter2\n")
    files = ["--secret-file", "/run/db=db", "--secret-file", "/run/own=db,owner=1000:1000", "--secret-env", "PW=db"]
    desk.does("deployments", "create", "web", "--image", sample_in_registry, "--port", str(PORT), *files)

    def read() -> str:
        container = node.docker("ps", "-q", "--filter", "label=fledx.node_id").split()
        return node.docker("exec", container[0], "/usr/bin/python3", "-I", "-S", "-c", READ) if container else ""

    assert read().split() == ["hunter2"] * 3
    assert node.shell("stat -c '%U %a' /etc/fledx/agent/agent.key").split() == ["fledx-agent", "600"]
    assert node.shell("grep -rl hunter2 /var/lib/fledx /etc/fledx /var/log || true") == ""
    try:
        bed["cp"].stop()
        node.reboot()
        eventually(lambda: read().split() == ["hunter2"] * 3, within=120)
    finally:
        bed.restore()
