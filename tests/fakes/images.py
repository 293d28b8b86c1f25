"""The images of an engine in memory, and the registry it pulls from."""

from __future__ import annotations

from abc import ABC, abstractmethod

import anyio

from fledx.agent.runtime.base import Room, Tell
from fledx.agent.runtime.containers import Container, Image, Refused
from fledx.errors import FledxError
from fledx.models.image import by_digest
from fledx.models.registry import RegistryLogin


class FakeImages(ABC):
    """
    ``images`` are those the engine has, ``registry`` those it can pull (an error instead of None refuses), by the name
    that is asked for. ``digests`` is what their tags stand for at the registry, an error where that is not told; of a
    tag that is not in it this engine cannot find out. ``given`` is the same of tags that the engine has.
    """

    def __init__(self) -> None:
        self.images: set[str] = {"app:1", "app:2"}
        self.registry: dict[str, FledxError | None] = {}
        self.digests: dict[str, str | FledxError] = {}
        self.given: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self.logins: list[RegistryLogin | None] = []
        self.root: str | None = None
        self.gates: dict[str, anyio.Event] = {}

    @abstractmethod
    async def _asked(self, what: str | None = None) -> None: ...

    @abstractmethod
    def all(self) -> list[Container]: ...

    async def image(self, name: str) -> Image | None:
        await self._asked()
        return self._image(name) if name in self.images else None

    async def all_images(self) -> tuple[Image, ...]:
        await self._asked()
        return tuple(self._image(name) for name in sorted(self.images))

    def _image(self, name: str) -> Image:
        by_tag = "@" not in name
        digests = [by_digest(name, self.given[name])] if name in self.given else [] if by_tag else [name]
        tags = (name,) if by_tag else ()
        return Image(id=f"id of {name}", tags=tags, digests=tuple(digests), size=self.sizes.get(name, 0))

    async def resolve(self, name: str, login: RegistryLogin | None) -> str | None:
        await self._asked(f"resolve {name}")
        self.logins.append(login)
        found = self.digests.get(name)
        if isinstance(found, FledxError):
            raise found
        return found

    async def pull(
        self, name: str, tell: Tell, *, login: RegistryLogin | None = None, room: Room = lambda missing: None
    ) -> None:
        await self._asked(f"pull {name}")
        self.logins.append(login)
        tell(f"pulling {name}: 1 of 2 MB")
        room(self.sizes.get(name, 0))
        if name in self.gates:
            await self.gates[name].wait()
        if (refusal := self.registry.get(name)) is not None:
            raise refusal
        if name not in self.registry:
            raise Refused(f"the test's registry does not know {name}")
        self.images.add(name)

    async def remove_image(self, name: str) -> bool:
        await self._asked(f"remove image {name}")
        if any(each.image == name for each in self.all()):
            return False
        self.images.discard(name)
        return True

    async def data_root(self) -> str | None:
        await self._asked()
        return self.root
