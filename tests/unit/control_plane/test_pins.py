"""What a tag stands for: said once for a revision, and the same for all of its replicas (fault 30)."""

from __future__ import annotations

import pytest

from fledx.errors import InvalidSpec
from fledx.models.deployment import Deployment
from fledx.models.port import PortMapping
from tests.builders import spec
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio
ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


async def deployed(stage: Stage) -> tuple[Deployment, str, str]:
    """Two replicas, one on each of two nodes."""
    nodes = [await stage.node(name) for name in ("edge-1", "edge-2")]
    ports = (PortMapping(container_port=80, host_port=8080),)
    made = await stage.deployments.create(spec(name="web", image="shop:1", replicas=2, ports=ports), by=ME)
    return made, nodes[0], nodes[1]


def digests(stage: Stage, *node_ids: str) -> list[str | None]:
    return [replica.digest for node_id in node_ids for replica in stage.desired(node_id).replicas]


async def test_the_first_node_that_finds_out_says_it_for_all(stage: Stage) -> None:
    web, one, two = await deployed(stage)
    templates = [replica.template for node in (one, two) for replica in stage.desired(node).replicas]
    stage.told.clear()

    await stage.pins.claim(one, web.deployment_id, 1, ONE)
    await stage.pins.claim(two, web.deployment_id, 1, TWO)

    assert digests(stage, one, two) == [ONE, ONE]
    assert stage.told[0] == {one, two}
    assert [replica.template for node in (one, two) for replica in stage.desired(node).replicas] == templates
    assert stage.deployments.get("web").image_digest == ONE
    assert stage.happened("deployment.pinned")[0].reason == f"revision 1 is shop@{ONE}, as node edge-1 found"


async def test_a_node_says_nothing_of_what_it_does_not_run(stage: Stage) -> None:
    web, one, _ = await deployed(stage)
    stranger = await stage.node("edge-3")

    await stage.pins.claim(stranger, web.deployment_id, 1, TWO)
    await stage.pins.claim(one, web.deployment_id, 7, TWO)
    await stage.pins.claim(one, "no such deployment", 1, TWO)
    with pytest.raises(InvalidSpec, match="is not a digest"):
        await stage.pins.claim(one, web.deployment_id, 1, "latest")

    assert digests(stage, one) == [None]


async def test_a_new_revision_and_a_restart_ask_anew_and_a_rollback_gets_what_it_had(stage: Stage) -> None:
    from fledx.control_plane.revisions import Revisions

    web, one, _ = await deployed(stage)
    revisions = Revisions(stage.store, stage.changes, stage.deployments)
    await stage.pins.claim(one, web.deployment_id, 1, ONE)

    await revisions.restart("web", by=ME)
    assert stage.deployments.get("web").image_digest is None
    await stage.deployments.patch("web", {"env": {"A": "1"}}, by=ME)
    assert stage.deployments.get("web").image_digest is None

    await revisions.rollback("web", by=ME, to=1)
    assert stage.deployments.get("web").image_digest == ONE
    assert [each.digest for each in revisions.page("web", limit=9, offset=0)[0]] == [None, None, ONE]


async def test_a_revision_that_makes_no_new_containers_keeps_the_digest(stage: Stage) -> None:
    web, one, two = await deployed(stage)
    await stage.pins.claim(one, web.deployment_id, 1, ONE)

    await stage.deployments.patch("web", {"pull": "always"}, by=ME)

    now = stage.deployments.get("web")
    assert (now.revision, now.image_digest) == (2, ONE)
    assert digests(stage, one, two) == [ONE, ONE]


async def test_an_image_that_names_its_digest_needs_nobody_to_find_out(stage: Stage) -> None:
    node = await stage.node("edge-1")
    web = await stage.deployments.create(spec(name="web", image=f"shop@{ONE}"), by=ME)

    await stage.pins.claim(node, web.deployment_id, 1, TWO)

    assert digests(stage, node) == [None]
