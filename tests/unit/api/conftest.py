"""The API on fakes."""

from __future__ import annotations

import pytest

from tests.unit.api.site import Site


@pytest.fixture
async def site() -> Site:
    """Built inside the loop, as its events belong to one."""
    return Site()
