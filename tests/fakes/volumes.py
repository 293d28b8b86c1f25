"""The volumes of an engine in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio

from fledx.agent.runtime.containers import Container, ContainerSpec, Mount


class FakeVolumes(ABC):
    """``volumes`` are their labels by name, ``contents`` what is in them."""

    done: list[str]
    specs: dict[str, ContainerSpec]

    def __init__(self) -> None:
        self.volumes: dict[str, dict[str, str]] = {}
        self.contents: dict[str, bytes] = {}

    @abstractmethod
    async def _asked(self, what: str | None = None) -> None: ...

    @abstractmethod
    def _must(self, container_id: str) -> Container: ...

    @abstractmethod
    def all(self) -> list[Container]: ...

    async def volume(self, name: str) -> Mapping[str, str] | None:
        await self._asked()
        return self.volumes.get(name)

    async def make_volume(self, name: str, labels: Mapping[str, str]) -> None:
        await self._asked(f"make volume {name}")
        self.volumes.setdefault(name, dict(labels))

    async def remove_volume(self, name: str) -> bool:
        await self._asked()
        if any(mount.source == name for each in self.all() for mount in self._mounts(each.id)):
            return False
        if self.volumes.pop(name, None) is not None:
            self.done.append(f"remove volume {name}")
        self.contents.pop(name, None)
        return True

    async def volume_sizes(self, node_id: str) -> Mapping[str, int]:
        await self._asked("measure volumes")
        own = [name for name, labels in self.volumes.items() if labels.get("fledx.node_id") == node_id]
        return {name: len(self.contents.get(name, b"")) for name in own}

    @asynccontextmanager
    async def archive(self, container_id: str, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        await self._asked(f"archive {path}")
        self._must(container_id)
        yield self._pieces(container_id)

    async def _pieces(self, container_id: str) -> AsyncIterator[bytes]:
        """The content of its only volume, in pieces of 1000 bytes."""
        whole = self.contents.get(self._mounts(container_id)[0].source, b"")
        for start in range(0, len(whole), 1000):
            await anyio.lowlevel.checkpoint()
            yield whole[start : start + 1000]

    async def unpack(self, container_id: str, path: str, pieces: AsyncIterator[bytes]) -> None:
        await self._asked(f"unpack {path}")
        (mount,) = self._mounts(container_id)
        self.contents[mount.source] = b""
        async for piece in pieces:
            self.contents[mount.source] += piece

    def _mounts(self, container_id: str) -> tuple[Mount, ...]:
        spec = self.specs.get(container_id)
        return () if spec is None else spec.mounts
