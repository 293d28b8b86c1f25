"""Certificates and keys that operators bring: read, checked against each other, and refused with what is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from fledx.errors import InvalidSpec
from fledx.models.ingress import host_fault
from fledx.models.moment import stamp

MOST_CHARACTERS = 128 * 1024
BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----\s.*?-----END \1-----", re.DOTALL)
#: What Envoy takes; with any other key it would refuse all that it is to serve.
CURVES = ("secp256r1", "secp384r1", "secp521r1")
LEAST_RSA_BITS = 2048
MOST_HOSTS = 100


@dataclass(frozen=True, kw_only=True)
class Checked:
    """
    A certificate chain and its key, found good, each with its PEM blocks and nothing else.

    ``hosts`` are the DNS names it is made for, in lower case, perhaps with `*.`. Times are Unix seconds.
    """

    hosts: tuple[str, ...]
    issuer: str
    fingerprint: str
    not_before: float
    not_after: float
    chain: str
    key: str = field(repr=False)


def checked(chain: str, key: str, now: datetime) -> Checked:
    """
    Read both; InvalidSpec says which of them cannot be used, why, and what to do.

    Either text may hold further blocks, such as the other one. A certificate of the past or future is refused.
    """
    certificates, chain_pem = _certificates(chain)
    private, key_pem = _private_key(key)
    leaf = certificates[0]
    _match(certificates, private)
    _valid_at(leaf, now)
    return Checked(
        hosts=_hosts(leaf),
        issuer=leaf.issuer.rfc4514_string()[:255],
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
        not_before=leaf.not_valid_before_utc.timestamp(),
        not_after=leaf.not_valid_after_utc.timestamp(),
        chain=chain_pem,
        key=key_pem,
    )


def _blocks(text: str, path: str, ending: str) -> list[str]:
    if len(text) > MOST_CHARACTERS:
        raise InvalidSpec(path, f"has {len(text)} characters, and {MOST_CHARACTERS} is the most")
    return [match[0] for match in BLOCK.finditer(text) if match[1].endswith(ending)]


def _certificates(text: str) -> tuple[list[x509.Certificate], str]:
    blocks = _blocks(text, "chain", "CERTIFICATE")
    if not blocks:
        raise InvalidSpec(
            "chain",
            "holds no certificate in PEM",
            hint="it begins with -----BEGIN CERTIFICATE-----; `openssl x509 -in FILE -inform DER` turns DER into that",
        )
    found = []
    for number, block in enumerate(blocks, 1):
        try:
            found.append(x509.load_pem_x509_certificate(block.encode()))
        except (ValueError, UnsupportedAlgorithm):
            raise InvalidSpec(
                "chain", f"its certificate {number} is damaged", hint="copy the file again, whole and unchanged"
            ) from None
    return found, "\n".join(blocks) + "\n"


def _private_key(text: str) -> tuple[PrivateKeyTypes, str]:
    blocks = _blocks(text, "key", "PRIVATE KEY")
    if not blocks:
        raise InvalidSpec("key", "holds no private key in PEM", hint="it begins with -----BEGIN PRIVATE KEY-----")
    block = blocks[0]
    if "ENCRYPTED" in block:
        raise InvalidSpec(
            "key",
            "is encrypted with a passphrase",
            hint="`openssl pkey -in FILE -out PLAIN` opens it; here it is kept encrypted all the same",
        )
    try:
        key = serialization.load_pem_private_key(block.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidSpec("key", "is damaged, or of a kind that is not known here") from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < LEAST_RSA_BITS:
        raise InvalidSpec("key", f"has {key.key_size} bits, and a gateway takes RSA from {LEAST_RSA_BITS} on")
    known = isinstance(key, rsa.RSAPrivateKey) or (
        isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES
    )
    if not known:
        raise InvalidSpec("key", "is of a kind that a gateway does not take", hint="RSA or ECDSA (P-256) it does")
    return key, block + "\n"


def _match(certificates: list[x509.Certificate], key: PrivateKeyTypes) -> None:
    wanted = _public(key.public_key())
    fits = [_of(certificate) == wanted for certificate in certificates]
    if fits[0]:
        return
    if any(fits):
        raise InvalidSpec(
            "chain", "does not begin with the certificate of the key", hint="the server's own comes first, then issuers"
        )
    raise InvalidSpec(
        "key",
        "does not belong to the certificate",
        hint="`openssl pkey -in KEY -pubout` and `openssl x509 -in CERT -noout -pubkey` say the same where it does",
    )


def _of(certificate: x509.Certificate) -> bytes | None:
    try:
        return _public(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return None


def _public(key: object) -> bytes:
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(encoding, form)  # type: ignore[attr-defined,no-any-return]


def _valid_at(leaf: x509.Certificate, now: datetime) -> None:
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if now >= ends:
        raise InvalidSpec("chain", f"ended at {stamp(ends.timestamp())}", hint="have it renewed, and bring the new one")
    if now < begins:
        raise InvalidSpec(
            "chain",
            f"is not valid before {stamp(begins.timestamp())}",
            hint=f"this machine's clock says {stamp(now.timestamp())}; bring it when it is valid",
        )


def _hosts(leaf: x509.Certificate) -> tuple[str, ...]:
    """The DNS names among its alternative names; a common name alone counts for no client any more."""
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = extension.value.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        names = []
    hosts = [name.lower().rstrip(".") for name in names]
    good = tuple(dict.fromkeys(host for host in hosts if host_fault(host) is None))
    if not good:
        raise InvalidSpec(
            "chain",
            "names no host that it is for",
            hint="it needs DNS names among its subjectAltName; the common name alone is not looked at",
        )
    if len(good) > MOST_HOSTS:
        raise InvalidSpec("chain", f"is for {len(good)} hosts, and {MOST_HOSTS} is the most")
    return good
