"""Certificates, made once, and the two kinds of door: with TLS and in the clear."""

from __future__ import annotations

import pytest

from tests.unit.tunnel.world import Trust


@pytest.fixture(scope="session")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """The CA and certificate of the control plane."""
    return Trust.make(tmp_path_factory.mktemp("trust") / "own")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """Those of somebody else, for the same host name."""
    return Trust.make(tmp_path_factory.mktemp("trust") / "stranger")


@pytest.fixture(params=["tls", "clear"])
def either(request: pytest.FixtureRequest, trust: Trust) -> Trust | None:
    """With TLS, and without."""
    return trust if request.param == "tls" else None
