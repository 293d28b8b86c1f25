"""Two operators at once: one wins, the other hears who and when; a retry has one effect (faults 34 and 35)."""

from __future__ import annotations

import re

import anyio
import pytest

from fledx.errors import Conflict
from fledx.models.deployment import Deployment, DeploymentSpec
from fledx.models.token import Operator
from tests.unit.control_plane.conftest import Stage

pytestmark = pytest.mark.anyio
ALICE, BOB = Operator(name="alice"), Operator(name="bob")
WHEN = r"at 20\d\d-\d\d-\d\dT[0-9:.]+Z\)"


def web(image: str) -> DeploymentSpec:
    return DeploymentSpec(name="web", image=image)


async def test_fault_34_of_two_creates_one_wins_and_the_other_hears_who_and_when(stage: Stage) -> None:
    made: list[Deployment] = []
    refused: list[str] = []

    async def create(by: Operator) -> None:
        try:
            made.append(await stage.deployments.create(web(by.name), by=by))
        except Conflict as problem:
            refused.append(problem.text)

    async with anyio.create_task_group() as both:
        both.start_soon(create, ALICE)
        both.start_soon(create, BOB)

    assert len(made) == len(refused) == 1
    assert re.fullmatch(rf"there is a deployment web already \(created by {made[0].image} {WHEN}", refused[0])


async def test_fault_34_of_two_updates_of_the_same_generation_one_wins(stage: Stage) -> None:
    before = await stage.deployments.create(web("nginx:1"), by=ALICE)
    refused: list[str] = []

    async def update(by: Operator) -> None:
        try:
            await stage.deployments.patch("web", {"image": by.name}, by=by, generation=before.generation)
        except Conflict as problem:
            refused.append(problem.text)

    async with anyio.create_task_group() as both:
        both.start_soon(update, ALICE)
        both.start_soon(update, BOB)

    winner = stage.deployments.get("web").image
    told = rf"web is at generation 2, not 1: somebody changed it meanwhile \(image changed by {winner} {WHEN}"
    assert [bool(re.fullmatch(told, text)) for text in refused] == [True]


async def test_fault_34_an_operator_that_is_gone_leaves_no_lock_behind(stage: Stage) -> None:
    with anyio.move_on_after(0):
        await stage.deployments.create(web("nginx:1"), by=ALICE)

    with anyio.fail_after(60):
        await stage.deployments.create(DeploymentSpec(name="api", image="nginx:1"), by=BOB)
    assert (await stage.audit.verify()).intact


async def test_fault_35_the_same_key_has_one_effect_however_often_it_comes(stage: Stage) -> None:
    made: set[str] = set()

    async def create() -> None:
        found = await stage.deployments.create(web("nginx:1"), by=ALICE, idempotency_key="once")
        made.add(found.deployment_id)

    async with anyio.create_task_group() as many:
        for _ in range(10):
            many.start_soon(create)

    assert len(made) == 1
    assert [each.kind for each in stage.happened("deployment.created")] == ["deployment.created"]
    with pytest.raises(Conflict, match="used for another request"):
        await stage.deployments.create(web("nginx:2"), by=ALICE, idempotency_key="once")
    with pytest.raises(Conflict, match="there is a deployment web already"):
        await stage.deployments.create(web("nginx:1"), by=BOB, idempotency_key="once")
