"""Fingerprints in their forms, and contexts that cannot be made."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

import pytest

from fledx.errors import InvalidSpec
from fledx.tunnel.tls import client_context, digest, fingerprint, matching, server_context
from tests.unit.tunnel.world import Trust


def test_a_fingerprint_is_short_and_safe_to_paste() -> None:
    pin = fingerprint(b"certificate")

    assert len(pin) == 43
    assert pin.replace("-", "").replace("_", "").isalnum()
    assert digest(pin) == hashlib.sha256(b"certificate").digest()


def test_the_forms_other_tools_print_are_understood() -> None:
    expected = hashlib.sha256(b"certificate").digest()
    plain = expected.hex()
    colons = ":".join(plain[at : at + 2] for at in range(0, 64, 2)).upper()

    for pin in (
        plain,
        plain.upper(),
        colons,
        f"sha256:{plain}",
        f"sha256:{fingerprint(b'certificate')}",
        f" {plain}\n",
    ):
        assert digest(pin) == expected


@pytest.mark.parametrize("pin", ["", "abc", "z" * 43 + "!", "ab" * 20, "é" * 43])
def test_what_is_no_fingerprint_is_refused(pin: str) -> None:
    with pytest.raises(InvalidSpec, match="fingerprint"):
        digest(pin)


def test_only_the_pinned_certificates_are_taken(trust: Trust, stranger: Trust) -> None:
    both = f"# ours\n{stranger.pem}\n{trust.pem}"

    assert ssl.PEM_cert_to_DER_cert(matching(both, [trust.pin])) == ssl.PEM_cert_to_DER_cert(trust.pem)
    assert matching(both, []) == ""
    assert matching("", [trust.pin]) == ""
    assert matching("-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n", [trust.pin]) == ""


def test_contexts_speak_nothing_older_than_tls_1_3(trust: Trust) -> None:
    assert trust.client().minimum_version is trust.server().minimum_version is ssl.TLSVersion.TLSv1_3
    assert trust.client().check_hostname


def test_certificates_that_cannot_be_used_are_named(trust: Trust, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")

    with pytest.raises(InvalidSpec, match=r"missing.pem"):
        server_context(missing, missing)
    with pytest.raises(InvalidSpec, match="CA certificates"):
        client_context("no PEM at all")
