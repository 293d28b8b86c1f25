"""Configs are kept by versions; a change goes through the deployments that use them step by step."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from fledx.control_plane.loops.rollouts import Rollouts
from fledx.errors import Conflict, InvalidSpec, NotFound
from fledx.models.config import ConfigEntry, ConfigFile, ConfigSpec
from fledx.models.deployment import UpdatePolicy
from fledx.models.desired import ReplicaDesired
from fledx.models.secret import SecretFile
from tests.builders import spec
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio


def config(name: str = "shop", files: tuple[ConfigFile, ...] = (), **values: str) -> ConfigSpec:
    """A config of plain values."""
    entries = tuple(ConfigEntry(key=key, value=value) for key, value in values.items())
    return ConfigSpec(name=name, entries=entries, files=files)


async def roll(stage: Stage, *nodes: str, seconds: int = 15) -> None:
    """Time passes, agents do what they are told, and the loop looks once a second."""
    loop = Rollouts(stage.store, stage.changes)
    for _ in range(seconds):
        stage.now += 1
        await loop.look()
        for node in nodes:
            await stage.runs(node)


def envs(stage: Stage, node: str) -> list[dict[str, str]]:
    return [dict(replica.env or {}) for replica in stage.desired(node).replicas]


def only(stage: Stage, node: str) -> ReplicaDesired:
    (replica,) = stage.desired(node).replicas
    return replica


async def test_a_config_is_kept_and_shown_with_sorted_entries_and_files(stage: Stage) -> None:
    made = await stage.configs.create(config(B="2", A="1", files=(ConfigFile(path="/etc/x", content="hi"),)), by=ME)

    assert made.metadata.version == 1
    assert [(entry.key, entry.value) for entry in made.entries] == [("A", "1"), ("B", "2")]
    assert stage.configs.get("SHOP") == stage.configs.get(made.metadata.config_id[:6]) == made
    (item,), total = stage.configs.page(limit=10, offset=0)
    assert (item.entry_count, item.file_count, total) == (2, 1, 1)


async def test_a_taken_name_is_a_conflict(stage: Stage) -> None:
    await stage.configs.create(config(), by=ME)
    await stage.configs.create(config("other"), by=ME)

    with pytest.raises(Conflict, match="config Shop already"):
        await stage.configs.create(config("Shop"), by=ME)
    with pytest.raises(Conflict, match="shop already"):
        await stage.configs.update("other", {"name": "shop"}, by=ME)


async def test_a_change_replaces_what_it_names_and_raises_the_version(stage: Stage) -> None:
    await stage.configs.create(config(A="1", files=(ConfigFile(path="/etc/x", content="hi"),)), by=ME)

    now = await stage.configs.update("shop", {"entries": [{"key": "B", "value": "2"}], "files": None}, by=ME)

    assert [entry.key for entry in now.entries] == ["B"]
    assert [file.path for file in now.files] == ["/etc/x"]
    assert now.metadata.version == 2
    assert (await stage.configs.update("shop", {}, by=ME)).metadata.version == 3
    assert (await stage.configs.update("shop", {"files": [], "version": 9}, by=ME)).files == ()
    with pytest.raises(InvalidSpec, match="not above the present one, 9"):
        await stage.configs.update("shop", {"version": 9}, by=ME)
    with pytest.raises(InvalidSpec, match="not a field of a config"):
        await stage.configs.update("shop", {"entrys": []}, by=ME)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": "x" * 260}, "is not a name"),
        ({"entries": [{"key": "A", "value": "x" * 4097}]}, "longer than 4096 bytes"),
        ({"entries": [{"key": "A"}]}, "either a value or a secret_ref"),
        ({"entries": [{"key": "A", "value": "1", "secret_ref": "s"}]}, "either a value or a secret_ref"),
        ({"entries": [{"key": "A", "value": "1"}, {"key": "B", "secret_ref": "s"}]}, "plain values and secrets"),
        ({"entries": [{"key": "A", "value": "1"}, {"key": "a", "value": "2"}]}, "listed twice"),
        ({"entries": [{"key": "A B", "value": "1"}]}, "not a variable's name"),
        ({"entries": [{"key": "A", "secret_ref": "a/b"}]}, "not a secret's name"),
        ({"files": [{"path": "etc/x", "content": "1"}]}, "not an absolute path"),
        ({"files": [{"path": "/x", "content": "1", "file_ref": "s"}]}, "one of content"),
        ({"files": [{"path": "/x", "content_base64": "?"}]}, "is not base64"),
        ({"files": [{"path": "/x", "content": "y" * 1048577}]}, "larger than 1048576 bytes"),
        ({"version": 0}, "less than 1"),
    ],
)
async def test_a_bad_config_is_refused_and_says_why(stage: Stage, fields: dict[str, Any], says: str) -> None:
    await stage.configs.create(config(A="1"), by=ME)

    with pytest.raises(InvalidSpec, match=says):
        await stage.configs.update("shop", fields, by=ME)

    assert stage.configs.get("shop").metadata.version == 1


async def test_attaching_twice_keeps_the_first_time_and_detaching_what_is_not_attached_is_fine(stage: Stage) -> None:
    await stage.deployments.create(spec(), by=ME)
    await stage.configs.create(config(A="1"), by=ME)

    first, new = await stage.configs.attach("shop", "deployment", "web", by=ME)
    stage.now += 5
    again, new_again = await stage.configs.attach("shop", "deployment", "web", by=ME)

    assert (new, new_again) == (True, False)
    assert (first.attached, again.attached_at) == (True, first.attached_at)
    assert stage.configs.get("shop").deployments == ("web",)
    assert stage.deployments.get("web").configs == ("shop",)
    gone = await stage.configs.detach("shop", "deployment", "web", by=ME)
    assert (gone.attached, gone.attached_at) == (False, None)
    assert not (await stage.configs.detach("shop", "deployment", "web", by=ME)).attached
    with pytest.raises(NotFound, match="no config 'shp'"):
        await stage.configs.attach("shp", "deployment", "web", by=ME)
    with pytest.raises(NotFound, match="no node 'web'"):
        await stage.configs.attach("shop", "node", "web", by=ME)


async def test_precedence_is_node_then_deployment_then_the_spec_each_level_by_name(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.configs.create(config("m-node", A="node", B="node", C="node", D="node"), by=ME)
    await stage.configs.create(config("z-node", A="node z", N="z"), by=ME)
    await stage.configs.create(config("b-own", B="b", C="b", D="b"), by=ME)
    await stage.configs.create(config("c-own", C="c", D="c"), by=ME)
    for name in ("m-node", "z-node"):
        await stage.configs.attach(name, "node", "edge-1", by=ME)
    await stage.deployments.create(spec(env={"D": "spec"}), by=ME)
    for name in ("c-own", "b-own"):
        await stage.configs.attach(name, "deployment", "web", by=ME)

    await roll(stage, node)

    assert envs(stage, node) == [{"A": "node z", "N": "z", "B": "b", "C": "c", "D": "spec"}]


async def test_a_changed_config_rolls_its_deployments_one_replica_at_a_time(stage: Stage) -> None:
    node = await stage.node("edge-1")
    policy = UpdatePolicy(min_healthy_seconds=3)
    await stage.configs.create(config(LEVEL="1"), by=ME)
    await stage.deployments.create(spec(replicas=2, update=policy), by=ME)
    await stage.deployments.create(spec(name="other"), by=ME)
    await stage.configs.attach("shop", "deployment", "web", by=ME)
    await roll(stage, node, seconds=60)
    other = {each.deployment: each.template for each in stage.desired(node).replicas}["other"]
    before = stage.deployments.get("web")

    await stage.configs.update("shop", {"entries": [{"key": "LEVEL", "value": "2"}]}, by=ME)
    loop = Rollouts(stage.store, stage.changes)
    for _ in range(5):
        stage.now += 1
        await loop.look()

    levels = sorted(env["LEVEL"] for env in envs(stage, node) if env)
    assert levels == ["1", "2"]
    await roll(stage, node)
    assert [env["LEVEL"] for env in envs(stage, node) if env] == ["2", "2"]
    assert {each.deployment: each.template for each in stage.desired(node).replicas}["other"] == other
    now = stage.deployments.get("web")
    assert (now.revision, now.generation, now.status) == (before.revision + 1, before.generation, "running")
    assert "config shop changed to version 2 by tester" in [event.reason for event in stage.happened()]


async def test_a_change_that_leaves_the_content_alone_rolls_nothing(stage: Stage) -> None:
    await stage.node("edge-1")
    await stage.configs.create(config(A="1"), by=ME)
    await stage.deployments.create(spec(), by=ME)
    await stage.configs.attach("shop", "deployment", "web", by=ME)
    before = stage.deployments.get("web").revision

    await stage.configs.update("shop", {"entries": [{"key": "A", "value": "1"}]}, by=ME)

    assert stage.deployments.get("web").revision == before


async def test_a_config_of_one_node_changes_only_what_runs_there(stage: Stage) -> None:
    first, second = await stage.node("edge-1"), await stage.node("edge-2")
    await stage.deployments.create(spec(replicas=2), by=ME)
    await roll(stage, first, second)
    elsewhere = only(stage, second).template
    await stage.configs.create(config(ZONE="north"), by=ME)

    await stage.configs.attach("shop", "node", "edge-1", by=ME)
    await roll(stage, first, second)

    assert envs(stage, first) == [{"ZONE": "north"}]
    assert only(stage, second).template == elsewhere
    assert stage.deployments.get("web").status == "running"


async def test_a_replica_that_comes_to_a_node_later_gets_that_nodes_configs(stage: Stage) -> None:
    await stage.deployments.create(spec(), by=ME)
    first = await stage.node("edge-1")
    await stage.configs.create(config(ZONE="north"), by=ME)
    second = await stage.node("edge-2")
    await stage.configs.attach("shop", "node", "edge-2", by=ME)

    await stage.deployments.patch("web", {"replicas": 2}, by=ME)

    assert (envs(stage, first), envs(stage, second)) == ([{}], [{"ZONE": "north"}])
    assert stage.deployments.get("web").revision == 1


async def test_a_config_that_breaks_the_app_is_gone_back_from(stage: Stage) -> None:
    node = await stage.node("edge-1")
    policy = UpdatePolicy(min_healthy_seconds=1, progress_deadline_seconds=10)
    await stage.configs.create(config(LEVEL="1"), by=ME)
    await stage.deployments.create(spec(update=policy), by=ME)
    await stage.configs.attach("shop", "deployment", "web", by=ME)
    await roll(stage, node, seconds=60)
    good = stage.deployments.get("web").revision

    await stage.configs.update("shop", {"entries": [{"key": "LEVEL", "value": "broken"}]}, by=ME)
    await roll(stage, seconds=20)

    now = stage.deployments.get("web")
    assert now.revision == good
    assert envs(stage, node) == [{"LEVEL": "1"}]


async def test_files_are_delivered_and_give_way_to_what_the_spec_puts_there(stage: Stage) -> None:
    node = await stage.node("edge-1")
    files = (
        ConfigFile(path="/etc/app.conf", content="colour = blue\n"),
        ConfigFile(path="/etc/logo.png", content_base64=base64.b64encode(b"\x89PNG\x00").decode()),
        ConfigFile(path="/run/key", content="not this one"),
        ConfigFile(path="/run/cert", file_ref="tls"),
    )
    await stage.secrets.put("tls", b"certificate", by=ME)
    await stage.configs.create(config(files=files), by=ME)
    await stage.deployments.create(spec(secret_files=(SecretFile(path="/run/key", secret="tls"),)), by=ME)
    await stage.configs.attach("shop", "deployment", "web", by=ME)

    await roll(stage, node)

    replica = only(stage, node)
    assert {file.path: base64.b64decode(file.content) for file in replica.files} == {
        "/etc/app.conf": b"colour = blue\n",
        "/etc/logo.png": b"\x89PNG\x00",
    }
    assert [(file.path, file.secret) for file in replica.secret_files or ()] == [
        ("/run/key", "tls"),
        ("/run/cert", "tls"),
    ]
    assert [value.raw for value in replica.secrets] == [b"certificate"]


async def test_deleting_a_config_takes_it_from_its_deployments(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.configs.create(config(A="1"), by=ME)
    await stage.deployments.create(spec(), by=ME)
    await stage.configs.attach("shop", "deployment", "web", by=ME)
    await roll(stage, node, seconds=5)
    assert envs(stage, node) == [{"A": "1"}]

    gone = await stage.configs.delete("shop", by=ME)
    await roll(stage, node, seconds=60)

    assert gone.name == "shop"
    assert envs(stage, node) == [{}]
    with pytest.raises(NotFound):
        stage.configs.get("shop")


async def test_a_deleted_deployment_is_no_user_of_a_config_any_more(stage: Stage) -> None:
    await stage.configs.create(config(A="1"), by=ME)
    await stage.deployments.create(spec(), by=ME)
    await stage.configs.attach("shop", "deployment", "web", by=ME)

    await stage.deployments.delete("web", by=ME)

    assert stage.configs.get("shop").attached_deployments == ()
