"""Private registries, tags that move, registries in trouble, disks that fill: real engines, a real registry."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.gateways import forget_shared
from tests.acceptance.system import System, contents
from tests.bed.engine import Engine
from tests.bed.engines import Engines
from tests.bed.front import Asked, Front
from tests.bed.registry import PASSWORD, USER
from tests.bed.shelf import Shelf
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.slow]
SMALL_DISK = 220_000_000
RESERVE = 60_000_000
WITHIN = 120.0


@dataclass
class Field:
    """A control plane, two nodes with engines of their own (the second has a small disk), and a registry."""

    system: System
    engines: Engines
    front: Front
    shelf: Shelf
    made: list[str] = field(default_factory=list)

    def name(self, tag: str) -> str:
        return f"{self.front.address}/{tag}"

    def engine(self, node: str) -> Engine:
        return self.engines["e1" if node == "big" else "e2"]

    def start(self, name: str, tag: str, *flags: str, node: str | None = "big", wait: bool = True) -> None:
        line = ["deployments", "create", "--name", name, "--image", self.name(tag), "--watch-time", "0s"]
        line += ["--min-healthy", "0s", "--stop-grace", "0s", "--on-failure", "pause", *flags]
        line += ["--require-label", f"node={node}"] if node else []
        done = self.system.cli(*line, *([] if wait else ["--detach"]))
        self.made.append(name)
        assert done.returncode == 0, done.stdout + done.stderr

    def change(self, name: str, *flags: str, wait: bool = False) -> None:
        done = self.system.cli("deployments", "update", name, *flags, *([] if wait else ["--detach"]))
        assert done.returncode == 0, done.stdout + done.stderr

    def login(self, password: str) -> str:
        own = {"FLEDX_CLI_CONTROL_PLANE_URL": self.system.url, "FLEDX_CLI_OPERATOR_TOKEN": self.system.token}
        command = self.system._command("registries", "login", self.front.address, "-u", USER, "--password-stdin")
        environ = {**self.system.environ, **own}
        done = subprocess.run(
            command, env=environ, input=password, text=True, capture_output=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def message(self, name: str) -> str:
        """What the one replica of a deployment says of itself."""
        return " ".join(str(each.get("message", "")) for each in self.system.deployment(name)["instances"])

    def says(self, name: str, *words: str) -> str:
        """That, once all these words are in it."""

        def look() -> str:
            text = self.message(name)
            assert all(word in text for word in words), text
            return text

        return eventually(look, within=WITHIN)

    def running(self, name: str, node: str = "big") -> list[tuple[str, int, str]]:
        """Id, process and image of the containers of a deployment that run on a node."""
        engine = self.engine(node)
        ids = engine.docker("ps", "-q", "--filter", f"label=fledx.deployment={name}").split()
        found = json.loads(engine.docker("inspect", *ids)) if ids else []
        return [(each["Id"], each["State"]["Pid"], each["Config"]["Image"]) for each in found]

    def settled(self, name: str) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            found = self.system.deployment(name)
            assert found["status"] == "running", found.get("reason")
            return found

        return eventually(look, within=WITHIN)

    def clear(self) -> None:
        """No deployment, a registry that behaves and lets us in."""
        self.front.behave()
        for name in self.made:
            self.system.cli("deployments", "delete", name, "--yes")
        self.made.clear()
        self.login(PASSWORD)


@pytest.fixture(scope="module")
def whole(pyz: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with ExitStack() as stack:
        shelf = stack.enter_context(Shelf())
        bed = stack.enter_context(Engines.up(1, options=["--insecure-registry=10.79.0.0/16"]))
        bed.add(1, disk=SMALL_DISK)
        front = Front(bed.gateway, registry=shelf.port)
        stack.callback(front.close)
        system = stack.enter_context(System(pyz, tmp_path_factory.mktemp("registries")))
        system.start_control_plane()
        for name, engine in (("big", bed["e1"]), ("small", bed["e2"])):
            system.start_agent(
                name,
                FLEDX_AGENT_DOCKER_HOST=engine.docker_host,
                FLEDX_AGENT_LABELS=f"node={name}",
                FLEDX_AGENT_DISK_RESERVE_BYTES=str(RESERVE),
                FLEDX_AGENT_DISK_CLEAN_PERCENT="95" if name == "big" else "20",
                FLEDX_AGENT_CONFIG_DIR=str(system.folder / f"etc-{name}"),
                FLEDX_AGENT_RESTART_BACKOFF_MAX_SECS="2",
            )
        eventually(lambda: system.ready_nodes() == 2, within=120)
        yield Field(system=system, engines=bed, front=front, shelf=shelf)


@pytest.fixture
def there(whole: Field) -> Field:
    whole.clear()
    return whole


def manifests(asked: Asked) -> bool:
    return "/manifests/" in asked.path


def test_a_login_held_centrally_opens_a_private_registry_and_is_found_nowhere(there: Field) -> None:
    there.shelf.put("shop:1", note="one")
    there.system.cli("registries", "delete", there.front.address, "--yes")
    there.start("shop", "shop:1", wait=False)
    there.says("shop", "denies access", "fledx registries login")

    said = there.login("wrong-planted-0451")
    there.says("shop", f"denies access to {USER}")
    said += there.login(PASSWORD)
    there.settled("shop")

    before = there.running("shop")
    there.login("wrong-planted-0451")
    there.login(PASSWORD)
    assert there.running("shop") == before
    said += there.system.cli("registries", "list", "--json").stdout + there.system.cli("audit", "--json").stdout
    said += there.engine("big").docker("inspect", before[0][0])
    planted = ("planted-0451", PASSWORD)
    assert not [word for word in planted if word in said]
    files = {path: kept for path, kept in contents(there.system.folder).items() if "cache" not in path.parts}
    assert len(files) > 5
    assert not [path for path, kept in files.items() for word in planted if word.encode() in kept]


@pytest.fixture
def gate(there: Field) -> Iterator[str]:
    """The name of a node that is a gateway, with an Envoy from the registry, which nobody has a login for yet."""
    there.shelf.put("envoy:1", note="it is the pull that counts")
    there.system.cli("registries", "delete", there.front.address, "--yes")
    process = there.system.start_agent(
        "gate",
        FLEDX_AGENT_DOCKER_HOST=there.engine("big").docker_host,
        FLEDX_AGENT_CONFIG_DIR=str(there.system.folder / "etc-gate"),
        FLEDX_AGENT_GATEWAY_ENABLED="true",
        FLEDX_AGENT_GATEWAY_ENVOY_IMAGE=there.name("envoy:1"),
    )
    yield "gate"
    process.stop()
    node_id = json.loads((there.system.folder / "gate/identity.json").read_text())["node_id"]
    forget_shared(node_id)
    assert there.system.cli("nodes", "delete", "gate", "--yes", "--force").returncode == 0


def test_the_envoy_of_a_gateway_is_pulled_with_the_login_held_centrally(there: Field, gate: str) -> None:
    def told(*words: str) -> bool:
        shown = there.system.cli("nodes", "show", gate).stdout
        return all(word in shown for word in words)

    eventually(lambda: told("failed", "denies access"), within=WITHIN)
    there.login(PASSWORD)
    eventually(lambda: there.engine("big").docker("images", "-q", there.name("envoy:1")), within=WITHIN)


def test_all_replicas_run_the_same_bytes_though_the_tag_moves(there: Field) -> None:
    one = there.shelf.put("moving:1", note="one")
    there.start("moving", "moving:1", "--spread", node=None)
    two = there.shelf.put("moving:1", note="two")
    done = there.system.cli("deployments", "scale", "moving=2")
    assert done.returncode == 0, done.stderr
    both = [there.running("moving", node) for node in ("big", "small")]

    assert [each[2] for each in both[0] + both[1]] == [f"{there.name('moving')}@{one}"] * 2
    assert one in there.system.cli("deployments", "show", "moving").stdout

    done = there.system.cli("deployments", "restart", "moving")
    assert done.returncode == 0, done.stderr
    images = [each[2] for node in ("big", "small") for each in there.running("moving", node)]
    assert images == [f"{there.name('moving')}@{two}"] * 2
    history = there.system.cli("deployments", "history", "moving").stdout
    assert one[:19] in history
    assert two[:19] in history

    done = there.system.cli("deployments", "rollback", "moving")
    assert done.returncode == 0, done.stderr
    images = [each[2] for node in ("big", "small") for each in there.running("moving", node)]
    assert images == [f"{there.name('moving')}@{one}"] * 2


def test_fault_30_the_old_version_serves_whatever_the_registry_does_and_says_what_it_is(there: Field) -> None:
    there.shelf.put("app:1", note="one")
    there.shelf.put("app:2", note="two")
    there.shelf.put_foreign("app:foreign", like="app:1", arch="s390x")
    there.start("app", "app:1")
    before = there.running("app")

    def kept(*words: str) -> None:
        there.says("app", "does not start", *words)
        assert there.running("app") == before
        assert there.system.deployment("app")["instances"][0]["ready"]

    there.change("app", "--image", there.name("app:none"))
    kept("the registry has no such image or tag", "manifest unknown")
    there.change("app", "--image", there.name("app:foreign"))
    kept("it exists for linux/s390x, and this node is linux/")
    there.change("app", "--image", "127.0.0.1:1/app:1")
    kept("the registry cannot be reached", "connection refused")

    there.front.behave(refuse=(403, "DENIED", "requested access to the resource is denied"))
    there.change("app", "--image", there.name("app:2"))
    kept("denies access", "denied")
    there.front.behave(refuse=(503, "UNAVAILABLE", "maintenance"))
    there.change("app", "--env", "A=1")
    kept("the registry cannot be reached", "503")
    there.front.behave(hang_up=True)
    there.change("app", "--env", "A=2")
    kept("the connection to the registry broke off", "EOF")

    there.front.behave(refuse=(429, "TOOMANYREQUESTS", "slow down, retry-after: 6s"))
    there.change("app", "--env", "A=3")
    kept("rate limit", "tried again after")
    assert there.front.count(manifests) <= 4
    there.front.behave()
    there.settled("app")
    assert [each[2].partition("@")[0] for each in there.running("app")] == [there.name("app")]
    assert there.running("app") != before


def test_fault_30_a_pull_that_breaks_off_goes_on_where_it_was_and_its_progress_is_seen(there: Field) -> None:
    digest = there.shelf.put("large:1", note="large", filling=12_000_000)
    there.front.behave(cut_at=6_000_000, cuts=1, rate=3_000_000)
    flags = ["--image", there.name("large:1"), "--require-label", "node=big", "--watch-time", "0s"]
    there.made.append("large")
    done = there.system.cli("deployments", "create", "--name", "large", *flags)

    assert done.returncode == 0, done.stderr
    assert "% of 1" in done.stderr, done.stderr
    assert f"({digest[:19]})" in done.stderr
    assert there.front.count(lambda asked: asked.range is not None) == 1
    assert there.running("large")[0][2] == f"{there.name('large')}@{digest}"


def test_fault_31_images_that_no_revision_needs_make_room_in_order_and_the_one_to_go_back_to_stays(
    there: Field,
) -> None:
    engine = there.engine("small")
    foreign = engine.load_sample("fledx-foreign:1")
    digests = [there.shelf.put(f"fill:{i}", note=f"fill {i}") for i in range(4)]
    other = there.shelf.put("orphan:1", note="orphan")
    there.start("orphan", "orphan:1", node="small")
    there.system.cli("deployments", "delete", "orphan", "--yes")
    there.start("fill", "fill:0", node="small")
    for i in range(1, 4):
        there.change("fill", "--image", there.name(f"fill:{i}"), wait=True)

    def removed() -> list[str]:
        told = [each["reason"] for each in there.system.events("node.disk")]
        return [text.split()[2].rpartition("@")[2] for text in told if text.startswith("removed image")]

    eventually(lambda: digests[0] in removed(), within=WITHIN)
    left = engine.docker("images", "--digests", "--no-trunc", "--format", "{{.Repository}}@{{.Digest}}")
    assert removed().index(other) < removed().index(digests[0])
    assert digests[2] in left
    assert digests[3] in left
    assert engine.docker("images", "-q", foreign)
    logs = json.loads(engine.docker("inspect", there.running("fill", "small")[0][0]))[0]["HostConfig"]["LogConfig"]
    assert logs == {"Type": "json-file", "Config": {"max-size": "10000000", "max-file": "3"}}


def test_fault_30_what_does_not_fit_is_not_pulled_the_old_one_serves_and_it_comes_when_there_is_room(
    there: Field,
) -> None:
    engine = there.engine("small")
    data = there.engines.home / "e2/data"
    there.shelf.put("fits:1", note="fits")
    there.shelf.put("huge:1", note="huge", filling=30_000_000)
    there.start("fits", "fits:1", node="small")
    before = there.running("fits", "small")
    engine.docker("image", "prune", "-af")
    free = room_at(data)
    (data / "ballast").write_bytes(bytes(free - RESERVE - 15_000_000))

    there.change("fits", "--image", there.name("huge:1"))
    there.says("fits", "the disk is nearly full", "more to fetch", "stay free")
    assert there.running("fits", "small") == before
    (data / "more").write_bytes(bytes(20_000_000))
    eventually(lambda: "are kept free: no image is pulled" in disk_of(there, "small"), within=90, every=1)
    assert there.system.ready_nodes() == 2

    for name in ("ballast", "more"):
        (data / name).unlink()
    there.settled("fits")
    assert there.running("fits", "small")[0][2].startswith(there.name("huge"))
    eventually(lambda: disk_of(there, "small") == "")


def disk_of(there: Field, node: str) -> str:
    """What `nodes show` says of a node's disk; empty while all is well."""
    lines = there.system.cli("nodes", "show", node).stdout.splitlines()
    return next((line for line in lines if line.split()[:1] == ["disk"]), "")


def room_at(path: Path) -> int:
    """Bytes that may be written below a directory."""

    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
