"""What the acceptance tests share: the built file, and a system of real processes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import build
from fledx.sample.image import NAME, ensure_image
from tests.acceptance.gateways import Fleet, gateway
from tests.acceptance.system import ENGINE, System
from tests.tools import wheels


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive under test: the one that `build.py test` made, else one made here."""
    if "FLEDX_PYZ" in os.environ:
        return Path(os.environ["FLEDX_PYZ"])
    path = tmp_path_factory.mktemp("dist") / "fledx.pyz"
    path.write_bytes(build.assemble(wheels.fetch(install=False)))
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def sample() -> str:
    """The sample image, in the engine of this machine."""
    ensure_image(NAME, docker_host=ENGINE)
    return NAME


@pytest.fixture
def system(pyz: Path, sample: str, tmp_path: Path) -> Iterator[System]:
    """A system that a test starts as it needs it."""
    with System(pyz, tmp_path) as made:
        yield made


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """A gateway that has not been started, with Envoy's image in this machine's engine."""
    async with gateway(tmp_path) as made:
        yield made
