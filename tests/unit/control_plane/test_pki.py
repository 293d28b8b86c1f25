"""The authority is made once; the server's certificate follows its names and its age."""

from __future__ import annotations

import contextlib
import ssl
import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from fledx.control_plane.trust.pki import authority, server_certificate
from fledx.errors import Unavailable

NOW = datetime(2026, 11, 25, tzinfo=timezone.utc)
NAMES = ["localhost", "127.0.0.1", "cp.example.com"]


def test_the_authority_survives_restarts_and_its_key_is_private(tmp_path: Path) -> None:
    first = authority(tmp_path, NOW)

    assert authority(tmp_path, NOW + timedelta(days=400)).pem == first.pem
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600


def test_half_an_authority_is_refused_and_not_replaced(tmp_path: Path) -> None:
    authority(tmp_path, NOW)
    (tmp_path / "ca.key").unlink()

    with pytest.raises(Unavailable, match="cannot be read"):
        authority(tmp_path, NOW)


def test_the_servers_certificate_is_kept_while_it_is_good(tmp_path: Path) -> None:
    ca = authority(tmp_path, NOW)

    assert server_certificate(tmp_path, ca, NAMES, NOW)[2]
    assert not server_certificate(tmp_path, ca, NAMES, NOW)[2]
    assert not server_certificate(tmp_path, ca, NAMES[:1], NOW)[2]


@pytest.mark.parametrize("change", ["name", "age", "authority", "garbage"])
def test_it_is_made_anew_when_it_no_longer_does(tmp_path: Path, change: str) -> None:
    ca, names, now = authority(tmp_path, NOW), NAMES, NOW
    server_certificate(tmp_path, ca, names, now)

    if change == "name":
        names = [*NAMES, "10.0.0.7"]
    elif change == "age":
        now = NOW + timedelta(days=61)
    elif change == "authority":
        (tmp_path / "other").mkdir()
        ca = authority(tmp_path / "other", NOW)
    else:
        (tmp_path / "server.pem").write_text("garbage")

    assert server_certificate(tmp_path, ca, names, now)[2]


def test_a_client_that_pins_the_authority_accepts_the_server_by_each_of_its_names(tmp_path: Path) -> None:
    real_now = datetime.now(timezone.utc)
    ca = authority(tmp_path, real_now)
    chain, key, _ = server_certificate(tmp_path, ca, NAMES, real_now)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    client = ssl.create_default_context(cadata=ca.pem)

    for name in NAMES:
        _shake_hands(server, client, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(server, client, "other.example.com")


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(down, up, server_hostname=name), server.wrap_bio(up, down, server_side=True)]
    for _ in range(4):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
