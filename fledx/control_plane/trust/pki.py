"""Our own certificate authority: made at the first start, pinned by every join string, never replaced by itself."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fledx.errors import Unavailable

AUTHORITY_LIFE = timedelta(days=20 * 365)
SERVER_LIFE = timedelta(days=90)
RENEW_BEFORE = timedelta(days=30)
BACKDATED = timedelta(days=1)  # clocks of edge machines run behind


@dataclass(frozen=True, kw_only=True)
class Authority:
    """The authority's certificate and key; `pem` is what clients are given."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """The certificate alone."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def der(self) -> bytes:
        """The certificate as it is fingerprinted."""
        return self.certificate.public_bytes(serialization.Encoding.DER)


def authority(directory: Path, now: datetime) -> Authority:
    """The authority kept in `directory` (`ca.pem`, `ca.key`), made there if neither file exists."""
    certificate_file, key_file = directory / "ca.pem", directory / "ca.key"
    if not certificate_file.exists() and not key_file.exists():
        made = _new_authority(now)
        write_private(key_file, _key_pem(made.key))
        write_private(certificate_file, made.pem.encode())
        return made
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, ValueError) as problem:
        raise Unavailable(
            f"the certificate authority in {directory} cannot be read: {problem}",
            hint="restore ca.pem and ca.key from a backup: every node trusts this authority and no other",
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Unavailable(f"{key_file} does not hold a P-256 key")
    return Authority(certificate=certificate, key=key)


def _new_authority(now: datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"fledx authority {os.urandom(4).hex()}")])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key, now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate=certificate, key=key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
    )


def server_certificate(directory: Path, ca: Authority, names: Sequence[str], now: datetime) -> tuple[Path, Path, bool]:
    """
    The server's certificate chain and key (`server.pem`, `server.key`), and whether they were made just now.

    They are made anew when absent, unreadable, of another authority, within 30 days of their end, or when a name is
    missing in them.
    """
    chain_file, key_file = directory / "server.pem", directory / "server.key"
    if key_file.exists() and _still_good(chain_file, ca, names, now):
        return chain_file, key_file, False
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fledx control plane")])
    certificate = (
        _builder(subject, ca.certificate.subject, key, now, SERVER_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.certificate.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
        .sign(ca.key, hashes.SHA256())
    )
    chain = certificate.public_bytes(serialization.Encoding.PEM) + ca.pem.encode()
    write_private(key_file, _key_pem(key))
    write_private(chain_file, chain)
    return chain_file, key_file, True


def _still_good(chain_file: Path, ca: Authority, names: Sequence[str], now: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(chain_file.read_bytes())
        certificate.verify_directly_issued_by(ca.certificate)
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    wanted = {_general_name(name) for name in names}
    return wanted <= set(extension.value) and certificate.not_valid_after_utc > now + RENEW_BEFORE


def expiry(chain_file: Path) -> float:
    """When the first certificate of a chain ends, in unix seconds."""
    return x509.load_pem_x509_certificate(chain_file.read_bytes()).not_valid_after_utc.timestamp()


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read: whole and on the disk, or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def utc_now() -> datetime:
    """The moment, aware."""
    return datetime.now(timezone.utc)
