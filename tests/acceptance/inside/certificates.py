"""Keys, certificates and sealed bytes, by cryptography."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fledx")])
now = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(1)).sign(
    key, hashes.SHA256()
)
assert certificate.public_bytes(serialization.Encoding.PEM).startswith(b"-----BEGIN CERTIFICATE")
box = AESGCM(AESGCM.generate_key(128))
assert box.decrypt(bytes(12), box.encrypt(bytes(12), b"text", None), None) == b"text"
