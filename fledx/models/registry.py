"""Registries that ask who one is: what is told of one, and its login on the way to a node."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from fledx.models.check import Faults, control_free, line, shown
from fledx.models.image import settled_registry

HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
MAX_PASSWORD_BYTES = 16 * 1024
"""Longer than any token of a cloud's registry."""


@dataclass(frozen=True, kw_only=True)
class RegistryLogin:
    """
    Who one is at a registry (``registry.example.com:5000``, or ``docker.io``); no `repr` shows the password.

    It goes only to nodes that run an image of that registry.
    """

    host: str
    username: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        faults = Faults()
        faults.add("host", host_fault(self.host))
        object.__setattr__(self, "host", settled_registry(self.host))
        faults.add("username", line(self.username) or (": is in it" if ":" in self.username else None))
        faults.add("password", _password_fault(self.password))
        faults.settle()


def host_fault(host: str) -> str | None:
    """What is wrong with the name of a registry."""
    if HOST.fullmatch(host.strip()) and len(host) <= 255:
        return None
    return f"{shown(host)} is not a registry, such as registry.example.com, 10.0.0.1:5000 or docker.io"


def _password_fault(password: str) -> str | None:
    """Without the password itself."""
    if not password:
        return "is empty"
    if len(password.encode(errors="surrogatepass")) > MAX_PASSWORD_BYTES:
        return f"is longer than {MAX_PASSWORD_BYTES} bytes"
    return "contains a control character" if control_free(password) else None


@dataclass(frozen=True, kw_only=True)
class Registry:
    """
    What is told of a registry's login, which is never its password.

    ``version`` rises with every change; ``used_by`` names the deployments whose image is from there. ``readable`` is
    false when it was sealed with a key that this control plane does not have.
    """

    host: str
    username: str
    version: int
    created_at: str
    updated_at: str
    used_by: tuple[str, ...] = ()
    readable: bool = True
