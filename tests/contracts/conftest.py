"""
The engines that contracts are held against.

`DOCKER_HOST=unix:///run/podman/podman.sock` holds them against Podman (4.3 was tried, with the image handed over by
`docker save`, and Debian's catatonit for `--init`): what is marked `docker_only` is then expected to fail.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contracts.engine import Engine, docker_engine, fake_engine


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.docker)])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """Either, one after the other."""
    async with fake_engine() if request.param == "fake" else docker_engine() as made:
        await expect(request, made)
        yield made


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker)])
async def docker(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """The real one, for what a fake would only repeat."""
    async with docker_engine() as made:
        await expect(request, made)
        yield made


async def expect(request: pytest.FixtureRequest, engine: Engine) -> None:
    """What only Docker does is no fault of another engine's."""
    only = request.node.get_closest_marker("docker_only")
    if only is not None and engine.fake is None and not (await engine.runtime.describe()).startswith("docker "):
        request.applymarker(pytest.mark.xfail(reason=only.args[0], strict=True))
