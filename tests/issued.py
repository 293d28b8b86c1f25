"""Certificates and keys as an authority would issue them, for any hosts and any time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A certificate and its key, both PEM."""

    chain: str
    key: str


def issued(
    hosts: Sequence[str],
    *,
    now: float,
    begins: timedelta = -DAY,
    ends: timedelta = 90 * DAY,
    key: Any = None,
    issuer: str = "an authority",
) -> Issued:
    """For these hosts, valid from `begins` to `ends` after `now`; without hosts it has only a common name."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    moment = datetime.fromtimestamp(now, timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server")]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment + begins)
        .not_valid_after(moment + ends)
    )
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    signer = ec.generate_private_key(ec.SECP256R1())
    made = builder.sign(signer, hashes.SHA256())
    return Issued(chain=made.public_bytes(serialization.Encoding.PEM).decode(), key=key_pem(key))


def key_pem(key: Any, passphrase: bytes | None = None) -> str:
    """A private key as PKCS #8, encrypted with a passphrase if there is one."""
    plain = serialization.NoEncryption()
    sealing = plain if passphrase is None else serialization.BestAvailableEncryption(passphrase)
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealing)
    return pem.decode()
