"""References from a deployment to secrets; the values never stand in a spec."""

from __future__ import annotations

from dataclasses import dataclass

from fledx.models.check import Faults, absolute_path, env_name, secret_name


@dataclass(frozen=True, kw_only=True)
class SecretEnv:
    """An environment variable filled from a secret; an optional one is left out where the secret is missing."""

    name: str
    secret: str
    optional: bool = False

    def __post_init__(self) -> None:
        faults = Faults()
        faults.add("name", env_name(self.name))
        faults.add("secret", secret_name(self.secret))
        faults.settle()


@dataclass(frozen=True, kw_only=True)
class SecretFile:
    """A file in the container filled from a secret."""

    path: str
    secret: str
    optional: bool = False

    def __post_init__(self) -> None:
        faults = Faults()
        faults.add("path", absolute_path(self.path))
        faults.add("secret", secret_name(self.secret))
        faults.settle()
