"""What an operator can set for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fledx.settings.declare import seconds, setting

DEFAULT_URL = "http://localhost:8080"


@dataclass(frozen=True, kw_only=True)
class OperatorSettings:
    """A flag wins over the environment, which wins over the profile, which wins over the default."""

    PREFIX: ClassVar[str] = "FLEDX_CLI"

    control_plane_url: str | None = setting(None, f"URL of the control plane [{DEFAULT_URL}]")
    operator_token: str | None = setting(None, "your token", secret=True)
    operator_header: str | None = setting(None, "header that carries the token [authorization]")
    registration_token: str | None = setting(None, "token that registers nodes", secret=True)
    ca_cert_path: str | None = setting(None, "PEM file of the certificate authority to trust")
    timeout: float | None = setting(None, "seconds of silence before giving up [30]", parse=seconds(least=0.1))
