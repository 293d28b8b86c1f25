"""Logins of registries: kept sealed, given only to nodes that pull from there, and no reason to restart anything."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fledx.control_plane.audit import AuditFilter
from fledx.control_plane.desired import desired_state
from fledx.errors import InvalidSpec, NotFound
from fledx.models.codec import encode
from fledx.models.ingress import GatewayFacts
from fledx.models.node import NodeFacts
from fledx.models.placement import Constraints
from fledx.models.registry import RegistryLogin
from fledx.sealing import Seal
from tests.builders import spec
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio
HOST = "registry.example.com:5000"


def login(**fields: Any) -> RegistryLogin:
    return RegistryLogin(**{"host": HOST, "username": "puller", "password": "planted-0451", **fields})


async def audited(stage: Stage) -> list[dict[str, Any]]:
    found, _ = await stage.audit.page(AuditFilter(), limit=100, offset=0)
    return [json.loads(line) for line in found]


async def test_a_login_goes_only_to_nodes_that_run_an_image_of_its_registry(stage: Stage) -> None:
    ours, other = await stage.node("edge-1", labels={"a": "1"}), await stage.node("edge-2", labels={"a": "2"})
    at = {key: Constraints(labels={"a": key}) for key in ("1", "2")}
    await stage.registries.put(login(), by=ME)
    await stage.registries.put(login(host="docker.io", password="hub-planted"), by=ME)
    await stage.deployments.create(spec(name="shop", image=f"{HOST}/shop:1", constraints=at["1"]), by=ME)
    await stage.deployments.create(spec(name="web", image="ghcr.io/web:1", constraints=at["2"]), by=ME)

    assert stage.desired(ours).registries == (login(),)
    assert stage.desired(other).registries == ()
    assert stage.registries.get(HOST).used_by == ("shop",)


async def test_another_password_reaches_the_nodes_at_once_and_makes_no_new_revision(stage: Stage) -> None:
    node = await stage.node("edge-1")
    shop = await stage.deployments.create(spec(name="shop", image=f"{HOST}/shop:1"), by=ME)
    await stage.registries.put(login(), by=ME)
    before, stage.told[:] = stage.desired(node), []

    made, new = await stage.registries.put(login(password="changed"), by=ME)

    after = stage.desired(node)
    assert (made.version, new, stage.told) == (2, False, [{node}])
    assert after.registries[0].password == "changed"
    assert [each.template for each in after.replicas] == [each.template for each in before.replicas]
    assert stage.deployments.get("shop").revision == shop.revision


async def test_the_envoy_of_a_gateway_is_pulled_with_the_login_of_its_registry(stage: Stage) -> None:
    facts = NodeFacts(name="gate", gateway=GatewayFacts(http_port=80, image=f"{HOST}/envoy:1"))
    gate, other = await stage.node("gate", gateway=facts.gateway), await stage.node("edge-1")
    stage.told.clear()

    await stage.registries.put(login(), by=ME)

    assert [{gate}] == stage.told
    assert ((login(),), ()) == (stage.desired(gate).registries, stage.desired(other).registries)
    before = stage.desired(gate).revision
    await stage.nodes.told(gate, replace(facts, gateway=GatewayFacts(http_port=80, image="envoyproxy/envoy:v1.33")))
    assert () == stage.desired(gate).registries
    assert before < stage.desired(gate).revision


async def test_the_same_login_again_is_no_change(stage: Stage) -> None:
    await stage.registries.put(login(), by=ME)
    stage.told.clear()

    made, new = await stage.registries.put(login(), by=ME)

    assert (made.version, new, stage.told) == (1, False, [set()])
    assert len(stage.happened("registry.set")) == 1


async def test_a_password_is_nowhere_in_clear(stage: Stage, tmp_path: Path) -> None:
    await stage.registries.put(login(), by=ME)
    await stage.registries.put(login(password="planted-0452"), by=ME)
    shown = [stage.registries.get(HOST), *stage.registries.page(limit=10, offset=0)[0]]
    told = [encode(each) for each in (*shown, *stage.happened(), *await audited(stage))]

    assert "planted" not in json.dumps(told) + repr(login())
    assert all(b"planted" not in file.read_bytes() for file in tmp_path.iterdir())
    assert [each["action"] for each in await audited(stage)] == ["registry.set", "registry.set"]


async def test_one_name_of_a_registry_is_as_good_as_another(stage: Stage) -> None:
    await stage.registries.put(login(host="Index.Docker.io"), by=ME)
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(name="web", image="nginx"), by=ME)

    assert [each.host for each in stage.desired(node).registries] == ["docker.io"]
    assert stage.registries.get("index.docker.io").used_by == ("web",)


async def test_a_deleted_login_goes_from_the_nodes(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(name="shop", image=f"{HOST}/shop:1"), by=ME)
    await stage.registries.put(login(), by=ME)

    await stage.registries.delete(HOST, by=ME)

    assert stage.desired(node).registries == ()
    with pytest.raises(NotFound, match="no login for registry"):
        await stage.registries.delete(HOST, by=ME)


async def test_a_login_whose_key_is_lost_is_shown_as_that_and_sent_to_nobody(stage: Stage) -> None:
    from fledx.control_plane.registries import Registries

    node = await stage.node("edge-1")
    await stage.deployments.create(spec(name="shop", image=f"{HOST}/shop:1"), by=ME)
    await stage.registries.put(login(), by=ME)
    other = Seal(b"x" * 32)
    registries = Registries(stage.store, stage.changes, other)

    assert registries.unreadable() == [HOST]
    assert not registries.get(HOST).readable
    state = stage.store.read(lambda sql: desired_state(sql, node, other))
    assert state is not None
    assert state.registries == ()


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"host": "http://registry.example.com"}, "host"),
        ({"host": "registry.example.com/team"}, "host"),
        ({"host": ""}, "host"),
        ({"host": "a b"}, "host"),
        ({"username": "a:b"}, "username"),
        ({"username": ""}, "username"),
        ({"password": ""}, "password"),
        ({"password": "planted\n"}, "password"),
        ({"password": "planted" * 5000}, "password"),
    ],
)
def test_a_login_that_cannot_work_is_refused_without_repeating_it(fields: dict[str, str], path: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        login(**fields)

    assert [each for each, _ in refused.value.problems] == [path]
    assert "planted" not in refused.value.text
