"""Secrets are sealed where they are kept, go only where they are needed, and change gated like any rollout."""

from __future__ import annotations

import sqlite3

import pytest

from fledx.control_plane.desired import desired_state
from fledx.control_plane.loops.rollouts import Rollouts
from fledx.control_plane.secrets import Secrets
from fledx.control_plane.store import secrets as table
from fledx.errors import Conflict, InvalidSpec, NotFound
from fledx.models.config import ConfigEntry, ConfigSpec
from fledx.models.secret import SecretEnv, SecretFile
from fledx.sealing import Seal
from tests.builders import facts, spec
from tests.unit.control_plane.conftest import ME, Stage
from tests.unit.control_plane.test_configs import only, roll

pytestmark = pytest.mark.anyio
DB = (SecretEnv(name="PASSWORD", secret="db"),)


def values(stage: Stage, node: str) -> list[dict[str, bytes]]:
    return [{each.name: each.raw for each in replica.secrets} for replica in stage.desired(node).replicas]


async def test_a_secret_is_told_of_but_never_told(stage: Stage) -> None:
    made, new = await stage.secrets.put("db", b"hunter2", by=ME)
    await stage.deployments.create(spec(secret_env=DB), by=ME)

    assert (made.version, new) == (1, True)
    (shown,), total = stage.secrets.page(limit=10, offset=0)
    assert (shown.name, shown.used_by, shown.readable, total) == ("db", ("web",), True, 1)
    assert "hunter2" not in repr(shown)


async def test_fifty_secrets_are_nowhere_in_the_database_in_clear(stage: Stage) -> None:
    """Fault 45, in the database."""
    node = await stage.node("edge-1")
    planted = [f"planted-{number}-{'x' * number}".encode() for number in range(50)]
    for number, value in enumerate(planted):
        await stage.secrets.put(f"s{number}", value, by=ME)
        await stage.secrets.put(f"s{number}", value + b"+", by=ME)
    wanted = tuple(SecretFile(path=f"/run/s{number}", secret=f"s{number}") for number in range(50))
    await stage.deployments.create(spec(secret_files=wanted), by=ME)
    assert {each.raw for each in only(stage, node).secrets} == {value + b"+" for value in planted}

    stage.store.read(lambda sql: sql.execute("PRAGMA wal_checkpoint(FULL)").fetchall())
    kept = b"".join(path.read_bytes() for path in stage.store.path.parent.iterdir())
    told = repr(stage.happened()) + repr(stage.deployments.get("web")) + repr(stage.desired(node))
    assert not [value for value in planted if value in kept or value.decode() in told]


async def test_only_a_node_that_needs_a_secret_gets_it(stage: Stage) -> None:
    first, second = await stage.node("edge-1", labels={"a": "1"}), await stage.node("edge-2")
    await stage.secrets.put("db", b"hunter2", by=ME)
    await stage.secrets.put("unused", b"elsewhere", by=ME)
    await stage.deployments.create(spec(replicas=1, secret_env=DB), by=ME)
    await stage.deployments.create(spec(name="other"), by=ME)

    everything = values(stage, first) + values(stage, second)
    assert sorted(everything, key=len) == [{}, {"db": b"hunter2"}]


async def test_a_rotated_secret_goes_through_the_replicas_in_turn_and_never_mixes(stage: Stage) -> None:
    """Fault 44, rotation."""
    node = await stage.node("edge-1")
    await stage.secrets.put("db", b"old", by=ME)
    both = {"secret_env": DB, "secret_files": (SecretFile(path="/run/db", secret="db"),)}
    await stage.deployments.create(spec(replicas=2, **both), by=ME)
    await roll(stage, node, seconds=60)
    before = [replica.template for replica in stage.desired(node).replicas]

    await stage.secrets.put("db", b"new", by=ME)
    assert values(stage, node) == [{"db": b"old"}, {"db": b"old"}]
    loop = Rollouts(stage.store, stage.changes)
    for _ in range(5):
        stage.now += 1
        await loop.look()
    assert sorted(each["db"] for each in values(stage, node)) == [b"new", b"old"]
    await roll(stage, node)

    assert values(stage, node) == [{"db": b"new"}, {"db": b"new"}]
    assert set(before).isdisjoint(replica.template for replica in stage.desired(node).replicas)


async def test_a_secret_that_changes_during_a_rollout_is_not_mixed_into_it(stage: Stage) -> None:
    """Fault 44, rotation during a deploy."""
    node = await stage.node("edge-1")
    await stage.secrets.put("db", b"old", by=ME)
    await stage.deployments.create(spec(replicas=3, secret_env=DB), by=ME)
    await roll(stage, node, seconds=60)
    await stage.deployments.patch("web", {"image": "web:2"}, by=ME)
    loop = Rollouts(stage.store, stage.changes)
    await loop.look()

    await stage.secrets.put("db", b"new", by=ME)
    seen = set()
    for _ in range(40):
        seen |= {(each.image, each.secrets[0].raw) for each in stage.desired(node).replicas}
        stage.now += 1
        await loop.look()
        await stage.runs(node)

    assert seen == {("web:1", b"old"), ("web:2", b"old"), ("web:2", b"new")}
    assert values(stage, node) == [{"db": b"new"}] * 3


async def test_a_new_deployment_that_lacks_a_secret_runs_once_it_is_set(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(secret_env=DB), by=ME)
    assert values(stage, node) == [{}]

    await stage.secrets.put("db", b"hunter2", by=ME)
    loop = Rollouts(stage.store, stage.changes)
    await loop.look()

    assert values(stage, node) == [{"db": b"hunter2"}]
    await stage.runs(node)
    assert stage.deployments.get("web").status == "running"


async def test_the_value_it_has_already_is_no_change(stage: Stage) -> None:
    await stage.node("edge-1")
    await stage.secrets.put("db", b"hunter2", by=ME)
    await stage.deployments.create(spec(secret_env=DB), by=ME)

    again, new = await stage.secrets.put("db", b"hunter2", by=ME)

    assert (again.version, new) == (1, False)
    assert stage.deployments.get("web").revision == 1


async def test_a_missing_secret_blocks_the_rollout_with_its_reason_while_the_old_one_runs(stage: Stage) -> None:
    """Fault 44, missing."""
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(), by=ME)
    await roll(stage, node, seconds=60)
    before = only(stage, node)

    await stage.deployments.patch("web", {"secret_env": [{"name": "PASSWORD", "secret": "db"}]}, by=ME)
    await roll(stage, node)

    assert only(stage, node).template == before.template
    rollout = stage.deployments.get("web").rollout
    assert rollout is not None
    assert rollout.state == "progressing"
    assert rollout.reason is not None
    assert "revision 2 waits: secret db does not exist, neither here nor on node edge-1" in rollout.reason

    await stage.secrets.put("db", b"hunter2", by=ME)
    await roll(stage, node)

    assert values(stage, node) == [{"db": b"hunter2"}]
    after = stage.deployments.get("web")
    assert after.rollout is not None
    assert (after.status, after.rollout.reason) == ("running", None)


async def test_a_secret_the_node_has_of_its_own_is_not_missing(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(), by=ME)
    await roll(stage, node, seconds=60)
    await stage.deployments.patch("web", {"secret_env": [{"name": "PASSWORD", "secret": "db"}]}, by=ME)

    await stage.nodes.connected(node, facts(secrets=("db",)), "198.51.100.7")
    await roll(stage, node)

    assert only(stage, node).revision == 2


async def test_an_optional_secret_that_is_missing_is_left_out(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(), by=ME)
    await roll(stage, node, seconds=60)
    optional = [{"name": "PASSWORD", "secret": "db", "optional": True}]

    await stage.deployments.patch("web", {"secret_env": optional}, by=ME)
    await roll(stage, node)

    assert only(stage, node).revision == 2
    assert values(stage, node) == [{}]


async def test_a_config_may_refer_to_a_secret_and_follows_it(stage: Stage) -> None:
    node = await stage.node("edge-1")
    entries = (ConfigEntry(key="API_KEY", secret_ref="api"),)
    await stage.configs.create(ConfigSpec(name="shop", entries=entries), by=ME)
    await stage.configs.attach("shop", "node", "edge-1", by=ME)
    await stage.secrets.put("api", b"one", by=ME)
    await stage.deployments.create(spec(), by=ME)
    await roll(stage, node, seconds=60)
    assert values(stage, node) == [{"api": b"one"}]
    assert stage.secrets.get("api").used_by == ("web",)

    await stage.secrets.put("api", b"two", by=ME)
    await roll(stage, node)

    assert values(stage, node) == [{"api": b"two"}]
    assert [(each.name, each.secret) for each in only(stage, node).secret_env or ()] == [("API_KEY", "api")]


async def test_a_secret_in_use_is_not_deleted_unless_by_force_and_who_has_it_keeps_it(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.secrets.put("db", b"hunter2", by=ME)
    await stage.deployments.create(spec(secret_env=DB), by=ME)
    await roll(stage, node, seconds=60)

    with pytest.raises(Conflict, match="secret db is used by web"):
        await stage.secrets.delete("db", by=ME)
    await stage.secrets.delete("db", force=True, by=ME)
    await roll(stage, node)

    assert values(stage, node) == [{"db": b"hunter2"}]
    rollout = stage.deployments.get("web").rollout
    assert rollout is not None
    assert "secret db does not exist" in str(rollout.reason)
    with pytest.raises(NotFound):
        stage.secrets.get("db")


async def test_a_secret_that_nobody_uses_is_forgotten_when_it_is_deleted(stage: Stage) -> None:
    await stage.node("edge-1")
    await stage.deployments.create(spec(), by=ME)
    await stage.secrets.put("db", b"hunter2", by=ME)

    await stage.secrets.delete("db", by=ME)

    assert sealed(stage) == []


async def test_a_value_that_was_replaced_is_forgotten_once_nobody_can_go_back_to_it(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(name="unconcerned"), by=ME)
    await stage.secrets.put("db", b"old", by=ME)
    await stage.deployments.create(spec(secret_env=DB), by=ME)
    await roll(stage, node, seconds=60)
    await stage.secrets.put("db", b"new", by=ME)
    await stage.act(lambda tx: table.prune(tx.sql))
    assert [row["version"] for row in sealed(stage)] == [1, 2]

    await roll(stage, node, seconds=90)
    await stage.deployments.patch("web", {"image": "web:2"}, by=ME)
    await roll(stage, node, seconds=90)
    await stage.act(lambda tx: table.prune(tx.sql))

    assert [row["version"] for row in sealed(stage)] == [2]


def sealed(stage: Stage) -> list[sqlite3.Row]:
    return stage.store.read(lambda sql: sql.execute("SELECT * FROM secret_version ORDER BY version").fetchall())


async def test_without_its_key_a_secret_is_unreadable_and_changes_nothing_that_runs(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.secrets.put("db", b"hunter2", by=ME)
    await stage.deployments.create(spec(secret_env=DB), by=ME)
    before = only(stage, node).template
    lost = Seal(bytes(range(32)))

    state = stage.store.read(lambda sql: desired_state(sql, node, lost))

    assert state is not None
    assert (state.replicas[0].template, state.replicas[0].secrets) == (before, ())
    without = Secrets(stage.store, stage.changes, lost)
    assert not without.get("db").readable
    assert (without.unreadable(), stage.secrets.unreadable()) == (["db"], [])


@pytest.mark.parametrize("name", ["", "a b", "a/b", "..", "x" * 64, "-a", "a\n"])
async def test_a_name_that_could_not_be_a_file_is_refused(stage: Stage, name: str) -> None:
    with pytest.raises(InvalidSpec) as refusal:
        await stage.secrets.put(name, b"hunter2", by=ME)
    assert "hunter2" not in str(refusal.value)


async def test_a_megabyte_of_any_bytes_is_kept_and_more_is_refused(stage: Stage) -> None:
    """Fault 44, 1 MB and binary."""
    node = await stage.node("edge-1")
    big = bytes(range(256)) * 4096
    await stage.secrets.put("big", big, by=ME)
    await stage.deployments.create(spec(secret_files=(SecretFile(path="/run/big", secret="big"),)), by=ME)

    assert values(stage, node) == [{"big": big}]
    with pytest.raises(InvalidSpec, match="1048577 bytes, and 1048576 is the most"):
        await stage.secrets.put("big", big + b"x", by=ME)


async def test_names_that_differ_in_case_only_are_a_conflict(stage: Stage) -> None:
    await stage.secrets.put("db", b"1", by=ME)

    with pytest.raises(Conflict, match="there is a secret db already"):
        await stage.secrets.put("DB", b"2", by=ME)


async def test_an_unknown_secret_suggests_the_nearest(stage: Stage) -> None:
    await stage.secrets.put("database", b"1", by=ME)

    with pytest.raises(NotFound) as refusal:
        await stage.secrets.delete("databse", by=ME)

    assert refusal.value.hint == "did you mean database?"
