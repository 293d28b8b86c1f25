"""Certificates and their private keys, each in a file of its own."""

from __future__ import annotations

from fledx.agent.ingress.envoy_config.shapes import Json, typed, word
from fledx.models.ingress import GatewayCertificate


def secret_of(certificate: GatewayCertificate) -> Json:
    """The certificate as Envoy takes it."""
    return typed(
        "extensions.transport_sockets.tls.v3.Secret",
        name=word(certificate.name),
        tls_certificate={
            "certificate_chain": {"inline_string": certificate.chain},
            "private_key": {"inline_string": certificate.key},
        },
    )
