"""Hosts and paths belong to one deployment each."""

from __future__ import annotations

import tempfile
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fledx.control_plane.changes import Transaction
from fledx.control_plane.revising import go_back
from fledx.control_plane.store import claims
from fledx.control_plane.store.deployments import by_id, names
from fledx.errors import Conflict
from fledx.models.deployment import DeploymentSpec
from fledx.models.ingress import IngressRule
from fledx.models.port import PortMapping
from tests.builders import spec
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio


def serving(name: str, *rules: str, **changes: object) -> DeploymentSpec:
    """A deployment that claims these."""
    ingress = tuple(IngressRule.parse(rule) for rule in rules)
    return spec(**{"name": name, "ports": (PortMapping(container_port=80),), "ingress": ingress, **changes})


async def test_the_second_who_claims_a_host_and_path_is_told_of_the_first(stage: Stage) -> None:
    await stage.deployments.create(serving("shop", "shop.example.com/api"), by=ME)

    with pytest.raises(Conflict) as refused:
        await stage.deployments.create(serving("other", "SHOP.example.com/api/:80"), by=ME)

    assert refused.value.text == "deployment shop serves shop.example.com/api (prefix) already"
    assert refused.value.hint is not None
    assert "--clear-ingress" in refused.value.hint
    assert [item.name for item in [stage.deployments.get("shop")]] == ["shop"]


async def test_other_paths_kinds_of_path_and_wildcards_do_not_conflict(stage: Stage) -> None:
    await stage.deployments.create(serving("shop", "shop.example.com"), by=ME)
    exact = IngressRule(host="shop.example.com", path_type="exact")

    await stage.deployments.create(serving("api", "shop.example.com/api"), by=ME)
    await stage.deployments.create(serving("rest", "*.example.com"), by=ME)
    made = await stage.deployments.create(serving("front", ingress=(exact,)), by=ME)

    assert made.ingress == (exact,)


async def test_an_update_cannot_take_what_another_has_and_changes_nothing(stage: Stage) -> None:
    await stage.deployments.create(serving("shop", "shop.example.com"), by=ME)
    await stage.deployments.create(serving("other", "other.example.com"), by=ME)

    with pytest.raises(Conflict, match="deployment shop serves"):
        await stage.deployments.patch("other", {"ingress": [{"host": "shop.example.com"}], "replicas": 3}, by=ME)

    now = stage.deployments.get("other")
    assert (now.generation, now.replicas) == (1, 1)
    assert stage.store.read(claims.everything) == [("other.example.com", "other"), ("shop.example.com", "shop")]


async def test_a_stopped_one_keeps_its_claim_and_a_deleted_or_cleared_one_frees_it(stage: Stage) -> None:
    await stage.deployments.create(serving("shop", "shop.example.com", desired_state="stopped"), by=ME)
    with pytest.raises(Conflict):
        await stage.deployments.create(serving("other", "shop.example.com"), by=ME)

    await stage.deployments.delete("shop", by=ME)
    await stage.deployments.create(serving("other", "shop.example.com"), by=ME)
    await stage.deployments.patch("other", {"ingress": []}, by=ME)

    assert (await stage.deployments.create(serving("third", "shop.example.com"), by=ME)).ingress is not None


async def test_a_change_of_ingress_raises_the_generation_and_restarts_nothing(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(serving("shop", "shop.example.com"), by=ME)
    before = stage.desired(node).replicas[0]

    changed = await stage.deployments.patch("shop", {"ingress": [{"host": "new.example.com"}]}, by=ME)

    after = stage.desired(node).replicas[0]
    assert (changed.generation, changed.revision) == (2, 1)
    assert (before.template, before.fence) == (after.template, after.fence)


async def test_going_back_to_a_template_with_other_ports_keeps_the_rules_clear(stage: Stage) -> None:
    await stage.node("edge-1")
    two = (PortMapping(container_port=80), PortMapping(container_port=81))
    await stage.deployments.create(serving("shop", "shop.example.com:80", ports=two), by=ME)
    one = [{"container_port": 8080}]
    await stage.deployments.patch("shop", {"ports": one, "ingress": [{"host": "shop.example.com"}]}, by=ME)

    def back(tx: Transaction) -> None:
        stored = by_id(tx.sql, stage.deployments.get("shop").deployment_id)
        assert stored is not None
        go_back(tx, stored, 1, why="no good", by="me")

    await stage.act(back)

    now = stage.deployments.get("shop")
    assert [rule.port for rule in now.ingress or ()] == [8080]
    assert now.ports == two


STEPS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["put", "delete"]),
        st.lists(st.sampled_from(["x.example", "x.example/a", "*.example", "y.example"]), max_size=3, unique=True),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_whatever_is_created_changed_and_deleted_each_claim_has_one_owner(
    steps: list[tuple[str, str, list[str]]],
) -> None:
    async def play() -> None:
        with tempfile.TemporaryDirectory() as directory:
            stage = Stage(Path(directory) / "fledx.db")
            owners: dict[str, str] = {}
            for name, step, rules in steps:
                await _one(stage, owners, name, step, rules)
            stage.store.close()

    anyio.run(play)


async def _one(stage: Stage, owners: dict[str, str], name: str, step: str, rules: list[str]) -> None:
    """One step, beside a plain dictionary that says what must come of it."""
    there = name in stage.store.read(names).values()
    if step == "delete":
        if there:
            await stage.deployments.delete(name, by=ME)
        free(owners, name)
        return
    wanted = serving(name, *rules)
    refused = any(owners.get(rule, name) != name for rule in rules)
    work = stage.deployments.replace(name, wanted, by=ME) if there else stage.deployments.create(wanted, by=ME)
    if refused:
        with pytest.raises(Conflict):
            await work
    else:
        await work
        free(owners, name)
        owners.update(dict.fromkeys(rules, name))


def free(owners: dict[str, str], name: str) -> None:
    for rule in [rule for rule, owner in owners.items() if owner == name]:
        del owners[rule]
