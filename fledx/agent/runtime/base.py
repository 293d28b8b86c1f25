"""
What the agent asks of a container engine.

Every call may raise Unavailable: the engine is absent, dead, or did not answer within the call's limit; then nothing is
known about whether it was done. An absent container is a value or fine, never an error, unless the call says otherwise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from fledx.agent.runtime.containers import Container, ContainerSpec, Execution, Image, LogEntry, RuntimeEvent, Usage
from fledx.models.exec import ExecRequest
from fledx.models.port import PortMapping
from fledx.models.registry import RegistryLogin

Tell = Callable[[str], None]
"""Takes a short sentence on how far something has got."""


class Command(Protocol):
    """A command that runs inside a container and is talked to. One task may read and one may write."""

    def output(self) -> AsyncIterator[tuple[str, bytes]]:
        """
        ``stdout`` or ``stderr`` and what was written, at most 64 KiB, read only as fast as it is consumed.

        With a terminal all is ``stdout``. Ends with the command.
        """

    async def send(self, data: bytes) -> None:
        """Give it input, as fast as it takes it; Unavailable once it takes none any more."""

    async def end_input(self) -> None:
        """There will be no more input."""

    async def resize(self, rows: int, columns: int) -> None:
        """Its terminal has another size; without one nothing happens."""

    async def signal(self, number: int) -> None:
        """Send it a signal, if it still runs and the engine lets us."""

    async def exit_code(self) -> int:
        """How it ended, once its output has; 126 and 127 where it could not be started at all."""


Room = Callable[[int], None]
"""Hears how many bytes a pull has still to fetch, as far as it knows; raises PullFailed when there is no room."""


class ImageStore(Protocol):
    """The engine's images, and the way to registries."""

    async def image(self, name: str) -> Image | None:
        """An image by tag, digest or id, None if it is not there."""

    async def all_images(self) -> tuple[Image, ...]:
        """All of them."""

    async def resolve(self, name: str, login: RegistryLogin | None) -> str | None:
        """
        The digest that a tag stands for at its registry just now; None from an engine that cannot ask.

        Raises PullFailed, also when what it stands for cannot run here.
        """

    async def pull(
        self, name: str, tell: Tell, *, login: RegistryLogin | None = None, room: Room = lambda missing: None
    ) -> None:
        """
        Get an image, telling how far it is about once a second; `room` is asked ten times as often.

        Without a login, what the node itself has for that registry is used. Cancelling stops it. Raises PullFailed.
        """

    async def remove_image(self, name: str) -> bool:
        """Remove an image under one of its names; whether it is gone, which it is not while a container uses it."""

    async def data_root(self) -> str | None:
        """The directory where the engine keeps images, None if it does not say."""


class Runtime(ImageStore, Protocol):
    """The engine of this node."""

    async def describe(self) -> str:
        """The engine's name and version; the cheapest way to learn that it answers."""

    async def look(self, node_id: str) -> tuple[Container, ...]:
        """All containers, in any state, with the label ``fledx.node_id`` of this node."""

    async def labelled(self, name: str, value: str) -> tuple[Container, ...]:
        """All containers, in any state, with this label."""

    async def inspect(self, container_id: str) -> Container | None:
        """One container, None if it is gone."""

    async def create(self, spec: ContainerSpec) -> str:
        """
        Make a container that does not run yet and return its id.

        Raises ImageMissing, NameTaken, and Refused for what the engine will not accept.
        """

    async def start(self, container_id: str) -> None:
        """Start it; one that runs already is fine. Raises PortTaken, NotFound, and Refused with the engine's reason."""

    async def stop(self, container_id: str, *, grace: float) -> None:
        """End it with its own stop signal, and by force after `grace` seconds; one that is gone or ended is fine."""

    async def pause(self, container_id: str) -> None:
        """Freeze a running container; one that is paused is fine. Raises NotFound for one that does not run."""

    async def resume(self, container_id: str) -> None:
        """Let a paused container go on; one that is not paused is fine."""

    async def remove(self, container_id: str) -> None:
        """Remove it with its anonymous volumes, ended or not; one that is gone is fine."""

    async def holder(self, port: PortMapping) -> str | None:
        """The name of a running container that publishes this host port."""

    def events(self, node_id: str) -> AbstractAsyncContextManager[AsyncIterator[RuntimeEvent]]:
        """What happens from the moment of entering on; the iterator ends when the engine goes away."""

    def logs(
        self,
        container_id: str,
        *,
        follow: bool = False,
        since: str | None = None,
        until: str | None = None,
        tail: int | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[Sequence[LogEntry]]]:
        """
        What a container wrote, oldest first, read only as fast as it is consumed; bytes that are no text are replaced.

        Entries that have arrived together come together, some 64 KiB at most.
        Bounds are RFC 3339 and inclusive. Following ends with the container. Raises NotFound when entered.
        """

    async def usage(self, container_id: str) -> Usage | None:
        """Counters of a running container, None when it does not run."""

    async def execute(self, container_id: str, command: Sequence[str], *, limit: float, most: int) -> Execution:
        """
        Run a command inside and wait at most `limit` seconds for it; at most `most` bytes of its output are kept.

        A command whose time ran out is killed where that is possible. Raises NotFound when the container does not run.
        """

    def command(self, container_id: str, wanted: ExecRequest) -> AbstractAsyncContextManager[Command]:
        """
        Run a command inside and talk to it; one that still runs when the block is left gets SIGHUP.

        Raises NotFound when the container does not run, Refused with the engine's reason.
        """

    async def volume(self, name: str) -> Mapping[str, str] | None:
        """The labels of a volume, None where there is none of that name."""

    async def make_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a volume; one that is there already stays as it is."""

    async def remove_volume(self, name: str) -> bool:
        """Delete a volume and what lies in it; whether it is gone now: one that a container has stays."""

    async def volume_sizes(self, node_id: str) -> Mapping[str, int]:
        """
        Bytes in each volume that carries this node's id, by name; those that the engine cannot measure are left out.

        The engine walks through them, which costs the disk: to be asked seldom.
        """

    def archive(self, container_id: str, path: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """
        What lies at a path of a container, running or not, as a tar; read only as fast as it is consumed.

        A path that ends in `/.` is the content of that directory. Raises NotFound when entered.
        """

    async def unpack(self, container_id: str, path: str, pieces: AsyncIterator[bytes]) -> None:
        """Extract a tar into a directory of a container; `pieces` are read only as fast as the engine takes them."""

    async def aclose(self) -> None:
        """Give up all connections."""
