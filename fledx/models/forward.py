"""A connection into a replica, as it is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from fledx.errors import InvalidSpec
from fledx.models import check


@dataclass(frozen=True, kw_only=True)
class ReplicaRef:
    """A replica by its deployment's name, id or id's beginning, and its number; without one any that is ready."""

    deployment: str
    replica: int | None = None

    def __post_init__(self) -> None:
        faults = check.Faults()
        faults.add("deployment", check.line(self.deployment))
        if self.replica is not None and not 0 <= self.replica < 1_000_000:
            faults.add("replica", f"{self.replica} is not the number of a replica")
        faults.settle()

    @classmethod
    def parse(cls, text: str) -> ReplicaRef:
        """``NAME[/REPLICA]``."""
        name, slash, number = text.partition("/")
        if slash and not (number.isascii() and number.isdigit() and len(number) < 7):
            raise InvalidSpec("", f"{check.shown(text)} is not NAME or NAME/REPLICA, such as web/0")
        return cls(deployment=name, replica=int(number) if slash else None)

    def __str__(self) -> str:
        return self.deployment if self.replica is None else f"{self.deployment}/{self.replica}"


@dataclass(frozen=True, kw_only=True)
class ForwardRequest:
    """
    The meta of a `forward` stream, beside the words for the replica: the container's port.

    With ``look`` nothing is connected: the answer only tells which replica it would be.
    """

    port: int
    look: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise InvalidSpec("port", f"{self.port} is not between 1 and 65535")


@dataclass(frozen=True, kw_only=True)
class Forwarding:
    """A port of this machine (0: any free one) that leads to a port of a replica's container."""

    host: str = "127.0.0.1"
    local: int
    remote: int

    def __post_init__(self) -> None:
        if not 0 <= self.local <= 65535 or not 1 <= self.remote <= 65535:
            raise InvalidSpec("", f"{self.local}:{self.remote} are not ports up to 65535")

    @classmethod
    def parse(cls, text: str) -> Forwarding:
        """``[[ADDRESS:]LOCAL:]REMOTE``: without LOCAL the same port here; an empty or 0 LOCAL is any free one."""
        rest, colon, remote = text.rpartition(":")
        host, named, local = rest.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            if named and not host:
                raise ValueError("no address")
            numbers = _number(local or "0") if colon else _number(remote), _number(remote)
        except ValueError:
            text = check.shown(text)
            raise InvalidSpec("", f"{text} is not [ADDRESS:]LOCAL:REMOTE, such as 8080:80 or 0.0.0.0:8080:80") from None
        return cls(host=host or "127.0.0.1", local=numbers[0], remote=numbers[1])


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)
