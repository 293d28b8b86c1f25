"""The machines that tests ask for by name; each kind is made once a session, when the first test wants it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fledx.sample.image import NAME, ensure_image
from tests.bed.engines import Engines
from tests.bed.host import Host
from tests.bed.hosts import Hosts, Shape


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


@pytest.fixture(scope="session")
def hosts_of_session() -> Iterator[Hosts]:
    """Three Debian 12 hosts, ``cp``, ``n1`` and ``n2``, and a registry; tests ask for `hosts`."""
    with Hosts.claimed() as bed:
        bed.up(2)
        yield bed


@pytest.fixture
def hosts(hosts_of_session: Hosts) -> Iterator[Hosts]:
    """
    Hosts ``cp``, ``n1`` and ``n2`` that run, with a sound network between them and a registry.

    What earlier tests installed is still there: `Hosts.renew` makes a bare host again in two seconds.
    """
    yield hosts_of_session
    hosts_of_session.restore()


@pytest.fixture
def fresh_host(hosts_of_session: Hosts) -> Iterator[Host]:
    """A host with git and the distribution's Python, but without Docker, pip and venv; another one for each test."""
    yield hosts_of_session.add("fresh", Shape(target="fresh"))
    hosts_of_session.remove("fresh")


@pytest.fixture(scope="session")
def sample_in_registry(hosts_of_session: Hosts) -> str:
    """The name by which hosts pull the sample image."""
    ensure_image(NAME)
    return hosts_of_session.registry.push(NAME)
