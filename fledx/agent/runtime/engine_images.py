"""An engine's images and its way to registries, by questions that `docker.py` knows how to put."""

from __future__ import annotations

import base64
import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import anyio

from fledx.agent.runtime.base import Room, Tell
from fledx.agent.runtime.body import Body, lines
from fledx.agent.runtime.containers import Image, PullFailed, Refused
from fledx.agent.runtime.pulling import Progress, pull_failure, wrong_platform
from fledx.errors import FledxError, NotFound, Unavailable
from fledx.models.image import repository_of
from fledx.models.registry import RegistryLogin

T = TypeVar("T")
SILENT = 300
"""Seconds between two signs of life of a pull."""
TELL_EVERY = 1.0
ASK_EVERY = 0.1
"""Seconds between two looks whether there is room: a fast link fills a small disk within a second."""
CANNOT_ASK = ("is not supported", "not implemented", "page not found")
NO_SUCH_ROUTE = "Not Found"
"""All that Podman has to say to a question of Docker's that it does not know."""

HUB_ADDRESS = "https://index.docker.io/v1/"
"""What Docker Hub is called where logins are concerned."""


class EngineImages(ABC):
    """`ImageStore` for an engine that speaks Docker's API."""

    @abstractmethod
    async def _ask(self, question: Callable[[Any], T]) -> T:
        """A question to the engine's client, in a thread."""

    @abstractmethod
    async def _work(self, work: Callable[[Any], T], *, more: float = 0.0) -> T:
        """The same for what takes its time."""

    @abstractmethod
    def _own_login(self, client: Any, image: str) -> str | None:
        """What `docker login` has left on this node for an image's registry, as the header's value."""

    async def image(self, name: str) -> Image | None:
        try:
            return _image_of(await self._ask(lambda client: client.inspect_image(name)))
        except NotFound:
            return None

    async def all_images(self) -> tuple[Image, ...]:
        return tuple(_image_of(each) for each in await self._ask(lambda client: client.images()))

    async def resolve(self, name: str, login: RegistryLogin | None) -> str | None:
        def ask(client: Any) -> tuple[Any, Any]:
            headers = self._login(client, name, login)
            told = client._result(client._get(client._url("/distribution/{0}/json", name), headers=headers), True)
            return told, client.version(api_version=False)

        try:
            told, engine = await self._work(ask)
        except Unavailable:
            raise
        except FledxError as refused:
            if refused.text == NO_SUCH_ROUTE or any(words in refused.text for words in CANNOT_ASK):
                return None
            raise pull_failure(name, refused.text, user=login.username if login else None) from None
        own = f"{engine.get('Os', 'linux')}/{engine.get('Arch', '')}"
        found = [f"{each.get('os', '')}/{each.get('architecture', '')}" for each in told.get("Platforms") or ()]
        if (wrong := wrong_platform(name, found, own)) is not None:
            raise wrong
        return str(told["Descriptor"]["digest"])

    async def pull(
        self, name: str, tell: Tell, *, login: RegistryLogin | None = None, room: Room = lambda missing: None
    ) -> None:
        progress, told_at, asked_at, text = Progress(name), 0.0, 0.0, ""
        user = login.username if login else None
        body = await self._pulled(name, login)
        try:
            async for line in _never_silent(lines(body), name):
                said = json.loads(line)
                if said.get("error"):
                    raise pull_failure(name, str(said["error"]), user=user)
                progress.note(said)
                if (now := time.monotonic()) - asked_at >= ASK_EVERY:
                    asked_at = now
                    room(progress.missing)
                if now - told_at >= TELL_EVERY and str(progress) != text:
                    told_at, text = now, str(progress)
                    tell(text)
        finally:
            body.close()

    async def _pulled(self, name: str, login: RegistryLogin | None) -> Body:
        def ask(client: Any) -> Body:
            repository, at, digest = name.partition("@")
            if not at:
                repository, digest = repository_of(name), name[len(repository_of(name)) + 1 :] or "latest"
            query = {"fromImage": repository, "tag": digest}
            headers = self._login(client, name, login)
            body: Body = client.open("POST", "/images/create", params=query, headers=headers, seconds=SILENT)
            return body

        try:
            return await self._work(ask, more=SILENT)
        except Unavailable:
            raise
        except FledxError as refused:
            raise pull_failure(name, refused.text, user=login.username if login else None) from None

    def _login(self, client: Any, name: str, login: RegistryLogin | None) -> dict[str, str]:
        if login is None:
            header = self._own_login(client, repository_of(name))
        else:
            address = HUB_ADDRESS if login.host == "docker.io" else login.host
            facts = {"username": login.username, "password": login.password, "serveraddress": address}
            header = base64.urlsafe_b64encode(json.dumps(facts).encode()).decode("ascii")
        return {"X-Registry-Auth": header} if header else {}

    async def remove_image(self, name: str) -> bool:
        try:
            await self._work(lambda client: client.remove_image(name))
        except NotFound:
            return True
        except Refused:
            return False
        return True

    async def data_root(self) -> str | None:
        found = (await self._ask(lambda client: client.info())).get("DockerRootDir")
        return str(found) if found else None


def _image_of(shown: dict[str, Any]) -> Image:
    """From `GET /images/{name}/json` or `GET /images/json`; what has no name is called `<none>` there."""
    tags, digests = (
        [each for each in shown.get(key) or () if "<none>" not in each] for key in ("RepoTags", "RepoDigests")
    )
    return Image(id=str(shown["Id"]), tags=tuple(tags), digests=tuple(digests), size=int(shown.get("Size") or 0))


async def _never_silent(source: AsyncIterator[bytes], name: str) -> AsyncIterator[bytes]:
    """The same items, and PullFailed when none has come for `SILENT` seconds, or the engine hung up."""
    while True:
        try:
            with anyio.fail_after(SILENT):
                item = await anext(source)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise PullFailed("unreachable", f"image {name}: nothing arrived for {SILENT} s") from None
        yield item
