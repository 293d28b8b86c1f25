"""What the agent relies on of an engine's images, held against the fake and against the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fledx.agent.runtime.containers import PullFailed
from tests.contracts.engine import Engine

pytestmark = pytest.mark.anyio
ABSENT = "127.0.0.1:1/none:1"
DIGEST = "sha256:" + "0" * 64


@pytest.mark.docker_only("gives every image a digest")
async def test_an_image_that_was_made_here_has_a_name_and_no_digest(engine: Engine) -> None:
    name = engine.spec().image
    image = await engine.runtime.image(name)

    assert image is not None
    assert (name in image.tags, image.digests) == (True, ())
    assert image.digest_at(name.partition(":")[0]) is None
    assert image.id in {each.id for each in await engine.runtime.all_images()}


async def test_what_is_not_there_is_none_and_its_removal_fine(engine: Engine) -> None:
    assert await engine.runtime.image(ABSENT) is None
    assert await engine.runtime.image(f"127.0.0.1:1/none@{DIGEST}") is None
    assert await engine.runtime.remove_image(ABSENT)


async def test_an_image_that_a_container_uses_stays(engine: Engine) -> None:
    container_id = await engine.running()
    image = (await engine.shown(container_id)).image

    assert not await engine.runtime.remove_image(image)
    assert await engine.runtime.image(image) is not None


@pytest.mark.docker_only("asks a registry only by pulling")
async def test_a_registry_that_does_not_answer_is_told_with_the_images_name(docker: Engine) -> None:
    with pytest.raises(PullFailed, match=ABSENT) as failed:
        await docker.runtime.resolve(ABSENT, None)
    assert failed.value.kind == "unreachable"
    root = await docker.runtime.data_root()
    assert root is not None
    assert Path(root).is_dir()
