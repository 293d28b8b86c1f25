"""Containers and images: what an engine is told of them and tells of them, and why it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fledx.errors import Conflict, FledxError, NotFound
from fledx.models.confinement import Device, Tmpfs, Ulimit
from fledx.models.image import familiar
from fledx.models.port import PortMapping
from fledx.models.template import DEFAULT_STOP_GRACE, Limits


class ImageMissing(NotFound):
    """The engine does not have the image."""

    code = "image_missing"


class NameTaken(Conflict):
    """Another container has this name."""

    code = "name_taken"


class PortTaken(Conflict):
    """A port of the node is in use."""

    code = "port_taken"


class Refused(FledxError):
    """The engine will not do this, and says why."""

    code = "refused"


class PullFailed(FledxError):
    """
    An image did not arrive; ``kind`` is what stood in the way.

    not_found, denied, platform, no_space, rate_limited, unreachable, cut or other. The text says it with the image's
    name. ``retry_after`` are seconds for which the registry asks not to be asked.
    """

    code = "pull_failed"

    def __init__(self, kind: str, text: str, *, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(text, hint=hint)
        self.kind = kind
        self.retry_after = retry_after


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A host file or directory, resolved and allowed, or a volume by name, and where the container sees it."""

    source: str
    target: str
    read_only: bool = False
    volume: bool = False


@dataclass(frozen=True, kw_only=True)
class Confinement:
    """
    For a container of the agent's own, on the node's network and with as little else as it can do with.

    Its root file system is read-only; ``user`` is ``uid:gid``, and of all privileges it has only ``capabilities``.
    """

    user: str
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """
    All an engine needs to make one container.

    ``command`` replaces the image's arguments, not its entry point; ``entrypoint`` replaces that.
    """

    name: str
    image: str
    command: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortMapping, ...] = ()
    mounts: tuple[Mount, ...] = ()
    limits: Limits | None = None
    stop_grace: float = DEFAULT_STOP_GRACE
    entrypoint: tuple[str, ...] | None = None
    confinement: Confinement | None = None
    init: bool | None = None
    user: str | None = None
    read_only: bool | None = None
    tmpfs: tuple[Tmpfs, ...] | None = None
    ulimits: tuple[Ulimit, ...] | None = None
    devices: tuple[Device, ...] | None = None
    cap_add: tuple[str, ...] | None = None
    cap_drop: tuple[str, ...] | None = None
    privileged: bool | None = None
    network_mode: str | None = None
    stop_signal: str | None = None


@dataclass(frozen=True, kw_only=True)
class Container:
    """
    One container as the engine shows it; times are RFC 3339.

    ``state`` is the engine's word: created, running, paused, restarting, removing, exited or dead. ``exit_code`` is
    None while it has not ended. ``address`` is reachable from the node, None where it has none; on the host's own
    network (``host_network``) it is loopback. ``ports`` are those published now, with their host ports. ``stop_grace``
    is what it was made with, in seconds. ``pid`` is its first process, as the engine's machine numbers it.
    """

    id: str
    name: str
    image: str
    labels: Mapping[str, str]
    state: str
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    error: str | None = None
    address: str | None = None
    host_network: bool = False
    ports: tuple[PortMapping, ...] = ()
    stop_grace: float = DEFAULT_STOP_GRACE
    pid: int | None = None


@dataclass(frozen=True, kw_only=True)
class RuntimeEvent:
    """
    Something happened to a container of this node.

    ``kind`` is start, die, oom, pause, unpause, destroy or halt; halt says that somebody asked for its end (stop, a
    killing signal, forced removal), and comes before die.
    """

    kind: str
    container_id: str


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One line, or a piece of at most 16 KiB of a longer one: ``stream`` is stdout or stderr, ``time`` the engine's."""

    stream: str
    time: str
    line: str


@dataclass(frozen=True, kw_only=True)
class Usage:
    """
    Counters of one running container.

    ``cpu_seconds`` since its start, ``memory_bytes`` now and without page cache that can be dropped, the others bytes
    since its start. ``at`` is when the engine read them, in seconds of its clock.
    """

    at: float
    cpu_seconds: float
    memory_bytes: int
    network_rx_bytes: int = 0
    network_tx_bytes: int = 0
    blk_read_bytes: int = 0
    blk_write_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a command inside a container ended; ``exit_code`` None means that its time ran out."""

    exit_code: int | None
    output: str


@dataclass(frozen=True, kw_only=True)
class Image:
    """
    An image that the engine has.

    ``tags`` are its names (`nginx:1.27`), ``digests`` those under which registries gave it (`nginx@sha256:...`), both
    in Docker's familiar form; one that was built or loaded here has none of the latter. ``size`` is in bytes, unpacked.
    """

    id: str
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    size: int = 0

    def digest_at(self, repository: str) -> str | None:
        """The digest under which that repository gave it."""
        name = familiar(repository)
        found = (each.partition("@") for each in self.digests)
        return next((digest for of, _, digest in found if familiar(of) == name), None)
