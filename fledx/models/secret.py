"""Secrets: references from a deployment, what is told of one, and values on their way to a node."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field

from fledx.errors import InvalidSpec
from fledx.models.check import Faults, absolute_path, env_name, secret_name, shown

MAX_SECRET_BYTES = 1024 * 1024
DEFAULT_MODE = 0o400
OWNER = re.compile(r"(\d{1,10})(?::(\d{1,10}))?")
MODE = re.compile(r"0?[0-7]{3}")


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
    """
    A file in the container filled from a secret.

    ``owner`` is ``UID`` or ``UID:GID`` (None is root), ``mode`` octal digits (None is 0400).
    """

    path: str
    secret: str
    optional: bool = False
    owner: str | None = None
    mode: str | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        faults.add("path", absolute_path(self.path))
        faults.add("secret", secret_name(self.secret))
        if self.owner is not None and OWNER.fullmatch(self.owner) is None:
            faults.add("owner", f"{shown(self.owner)} is not UID or UID:GID in numbers")
        if self.mode is not None and MODE.fullmatch(self.mode) is None:
            faults.add("mode", f"{shown(self.mode)} is not a mode such as 0440")
        faults.settle()

    @property
    def ids(self) -> tuple[int, int]:
        """User and group the file belongs to; a user without a group has the group of the same number."""
        found = OWNER.fullmatch(self.owner or "0")
        if found is None:
            raise InvalidSpec("owner", "is not UID or UID:GID")
        return int(found[1]), int(found[2] or found[1])

    @property
    def bits(self) -> int:
        """The mode as a number."""
        return DEFAULT_MODE if self.mode is None else int(self.mode, 8)


@dataclass(frozen=True, kw_only=True)
class SecretValue:
    """A secret on its way to the one replica that needs it, in base64; no `repr` shows it."""

    name: str
    value: str = field(repr=False)

    @classmethod
    def of(cls, name: str, raw: bytes) -> SecretValue:
        """From the bytes themselves."""
        return cls(name=name, value=base64.b64encode(raw).decode("ascii"))

    @property
    def raw(self) -> bytes:
        """The bytes themselves."""
        return base64.b64decode(self.value)


@dataclass(frozen=True, kw_only=True)
class Secret:
    """
    What is told of a secret, which is never its value.

    ``version`` rises when the value changes; ``used_by`` names the deployments that refer to it. ``readable`` is false
    when it was sealed with a key that this control plane does not have.
    """

    name: str
    version: int
    created_at: str
    updated_at: str
    used_by: tuple[str, ...] = ()
    readable: bool = True
