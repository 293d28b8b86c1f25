"""What every test may ask for."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.bed.fixtures"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """fledx runs on asyncio and nothing else."""
    return "asyncio"
