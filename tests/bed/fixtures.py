"""The machines that tests ask for by name; each kind is made once a session, when the first test wants it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed.engines import Engines


@pytest.fixture(scope="session")
def engines_of_session() -> Iterator[Engines]:
    """Three engines with the sample image in each; tests ask for `engines`."""
    with Engines.up(3) as bed:
        bed.load_sample()
        yield bed


@pytest.fixture
def engines(engines_of_session: Engines) -> Iterator[Engines]:
    """Three engines ``e1`` to ``e3``, sound and empty but for the sample image, whatever a test did to them before."""
    yield engines_of_session
    engines_of_session.reset()
