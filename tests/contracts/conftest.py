"""The engines that contracts are held against."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contracts.engine import Engine, docker_engine, fake_engine


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.docker)])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """Either, one after the other."""
    async with fake_engine() if request.param == "fake" else docker_engine() as made:
        yield made


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker)])
async def docker(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """The real one, for what a fake would only repeat."""
    async with docker_engine() as made:
        yield made
