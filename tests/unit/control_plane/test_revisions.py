"""What a deployment was before, and the ways back."""

from __future__ import annotations

import pytest

from fledx.control_plane.revisions import Revisions
from fledx.errors import Conflict, NotFound
from fledx.models.deployment import UpdatePolicy
from tests.builders import spec
from tests.unit.control_plane.conftest import ME, Stage
from tests.unit.control_plane.test_rolling import Roll

pytestmark = pytest.mark.anyio


async def updated(stage: Stage, image: str) -> Roll:
    """Two replicas that have run `web:1` and now run another image, the rollout complete."""
    roll = Roll(stage)
    await roll.begin()
    await stage.deployments.patch("web", {"image": image}, by=ME)
    await arrive(roll)
    return roll


async def arrive(roll: Roll) -> None:
    for _ in range(3):
        await roll.wait(5)
        await roll.runs()
    await roll.wait(40)


def revisions(stage: Stage) -> Revisions:
    return Revisions(stage.store, stage.changes, stage.deployments)


async def test_the_history_tells_who_changed_what_and_what_became_of_it(stage: Stage) -> None:
    await updated(stage, "web:2")
    await stage.deployments.patch("web", {"image": "web:3", "env": {"A": "1"}}, by=ME)

    found, total = revisions(stage).page("web", limit=2, offset=0)

    assert total == 3
    assert [(each.revision, each.state, each.current, each.changed) for each in found] == [
        (3, "progressing", True, ("env", "image")),
        (2, "complete", False, ("image",)),
    ]
    assert (found[0].image, found[0].created_by) == ("web:3", "tester")
    assert revisions(stage).page("web", limit=50, offset=2)[0][0].changed == ()


async def test_the_way_back_leads_to_the_last_good_revision_by_default(stage: Stage) -> None:
    roll = await updated(stage, "web:2")

    now = await revisions(stage).rollback("web", by=ME)

    assert (now.revision, now.image, now.rollout and now.rollout.state) == (1, "web:1", "progressing")
    await arrive(roll)
    assert roll.images() == ["web:1", "web:1"]
    assert stage.deployments.get("web").status == "running"
    assert "tester" in stage.happened("deployment.rolled_back")[0].reason


async def test_the_way_out_of_an_update_that_is_still_rolling_is_not_a_second_update(stage: Stage) -> None:
    roll = await updated(stage, "web:2")
    await stage.deployments.patch("web", {"image": "web:3"}, by=ME)
    await roll.wait(3)

    assert (await revisions(stage).rollback("web", by=ME)).revision == 2

    await arrive(roll)
    assert (roll.images(), roll.state()) == (["web:2", "web:2"], "rolled_back")
    states = {each.revision: each.state for each in revisions(stage).page("web", limit=50, offset=0)[0]}
    assert states == {1: "complete", 2: "complete", 3: "superseded"}


async def test_an_older_revision_that_fails_leads_back_to_the_one_that_was_good(stage: Stage) -> None:
    roll = await updated(stage, "web:2")
    await revisions(stage).rollback("web", by=ME, to=1)

    await roll.wait(70)

    assert stage.deployments.get("web").image == "web:2"


async def test_where_there_is_no_way_back_it_says_so(stage: Stage) -> None:
    roll = Roll(stage)
    await roll.begin()

    with pytest.raises(Conflict, match="no good revision before 1"):
        await revisions(stage).rollback("web", by=ME)
    with pytest.raises(Conflict, match="at revision 1 already"):
        await revisions(stage).rollback("web", by=ME, to=1)
    with pytest.raises(NotFound, match="no revision 9"):
        await revisions(stage).rollback("web", by=ME, to=9)
    with pytest.raises(Conflict, match="generation"):
        await revisions(stage).rollback("web", by=ME, generation=7)


async def test_a_restart_makes_new_containers_step_by_step(stage: Stage) -> None:
    roll = Roll(stage)
    await roll.begin()
    before = [replica.template for replica in stage.desired(roll.node).replicas]

    now = await revisions(stage).restart("web", by=ME)

    assert now.revision == 2
    await roll.wait(2)
    first = [replica.template for replica in stage.desired(roll.node).replicas]
    assert [old == new for old, new in zip(before, first, strict=True)] == [False, True]
    await arrive(roll)
    assert not set(before) & {replica.template for replica in stage.desired(roll.node).replicas}
    assert revisions(stage).page("web", limit=1, offset=0)[0][0].changed == ("restarted_at",)


async def test_a_spec_from_a_file_that_says_nothing_of_a_restart_restarts_nothing(stage: Stage) -> None:
    roll = Roll(stage)
    await roll.begin()
    await revisions(stage).restart("web", by=ME)
    now = stage.deployments.get("web")

    again = await stage.deployments.replace("web", spec(replicas=2, update=now.update), by=ME)

    assert again.revision == now.revision


async def test_what_is_stopped_is_not_restarted(stage: Stage) -> None:
    await stage.deployments.create(spec(desired_state="stopped"), by=ME)

    with pytest.raises(Conflict, match="web is stopped"):
        await revisions(stage).restart("web", by=ME)


async def test_what_served_a_moment_ago_is_gone_back_to_though_it_was_never_called_complete(stage: Stage) -> None:
    node = await stage.node("edge-1")
    made = await stage.deployments.create(spec(update=UpdatePolicy(progress_deadline_seconds=5)), by=ME)
    await stage.runs(node)
    await stage.deployments.patch("web", {"image": "web:2"}, by=ME)
    roll = Roll(stage)

    await roll.wait(10)

    assert stage.deployments.get(made.deployment_id).image == "web:1"
