"""
From which image a replica's container is made, and how it gets here.

One pull at a time for each image, however many replicas wait for it, and never in anybody else's way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import anyio

from fledx.agent.images.disk import Disk
from fledx.agent.images.pins import Pins
from fledx.agent.images.records import Records
from fledx.agent.runtime.base import ImageStore, Tell
from fledx.agent.runtime.containers import PullFailed
from fledx.errors import FledxError
from fledx.models.desired import ReplicaDesired
from fledx.models.image import by_digest, digest_in, registry_of, repository_of, short
from fledx.models.registry import RegistryLogin

T = TypeVar("T")
ASIDE = ("unreachable", "rate_limited", "cut")
"""What is wrong with the registry for now and not with the image: then what is here may do."""


@dataclass(kw_only=True)
class _Errand:
    """Something that is done once for all who wait; ``outcome`` counts once it has ended and says how."""

    listeners: list[Tell] = field(default_factory=list)
    ended: anyio.Event = field(default_factory=anyio.Event)
    arrived: bool = False
    result: Any = None
    problem: FledxError | None = None

    def tell(self, text: str) -> None:
        """Pass it on to all who wait."""
        for listener in self.listeners:
            listener(text)


class Images:
    """
    Finds out what a replica's image is, once for its revision, and gets it if it is missing.

    What a tag stands for is what this node has under it, if its policy allows, else what the registry says. An image
    that was built or loaded here has no digest, and is taken as it is.
    """

    def __init__(
        self,
        store: ImageStore,
        *,
        pins: Pins,
        records: Records,
        disk: Disk,
        login: Callable[[str], RegistryLogin | None],
    ) -> None:
        self._store = store
        self._pins = pins
        self._records = records
        self._disk = disk
        self._login = login
        self._errands: dict[tuple[str, str], _Errand] = {}

    async def ready(self, replica: ReplicaDesired, tell: Tell) -> str:
        """
        The name of the replica's image on this engine, which has it now; raises PullFailed or Unavailable.

        By its digest wherever that is known.
        """
        name = await self._chosen(replica, tell)
        releases = self._records.kept.releases.get(replica.deployment_id)
        if not releases or releases[0] != name:
            self._records.used(replica.deployment_id, replica.image, name)
            self._disk.soon()
        return name

    async def _chosen(self, replica: ReplicaDesired, tell: Tell) -> str:
        if replica.pull == "never":
            return await self._as_it_is(replica)
        digest = digest_in(replica.image) or self._pins.of(replica)
        if digest is None:
            digest = await self._found_out(replica, tell)
        if digest is None:
            return await self._by_tag(replica, tell)
        name = by_digest(replica.image, digest)
        if await self._store.image(name) is None:
            if await self._was_loaded(replica):
                return replica.image
            await self._pull(name, tell, of=replica)
        return name

    async def _as_it_is(self, replica: ReplicaDesired) -> str:
        if await self._store.image(replica.image) is None:
            text = f"image {replica.image}: it is not on this node, and the deployment says that it is never pulled"
            raise PullFailed("not_found", text, hint="load it here, or set --pull if-not-present")
        return replica.image

    async def _was_loaded(self, replica: ReplicaDesired) -> bool:
        """Whether there is one of that name here which no registry gave: somebody has put it there on purpose."""
        if replica.pull == "always" or digest_in(replica.image):
            return False
        local = await self._store.image(replica.image)
        return local is not None and not local.digests

    async def _found_out(self, replica: ReplicaDesired, tell: Tell) -> str | None:
        """The digest of a tag that nobody has looked up for this revision yet; None where it has none."""
        local = await self._store.image(replica.image) if replica.pull != "always" else None
        if local is not None:
            digest = local.digest_at(repository_of(replica.image))
        else:
            digest = await self._at_registry(replica, tell)
        return None if digest is None else await self._pins.settle(replica, digest)

    async def _at_registry(self, replica: ReplicaDesired, tell: Tell) -> str | None:
        image = replica.image
        tell(f"asking {registry_of(image)} for {image}")
        try:
            return await self._once("resolve", image, tell, lambda _: self._store.resolve(image, self._login(image)))
        except PullFailed as problem:
            last = self._records.kept.digests.get(image)
            aside = problem.kind in ASIDE and replica.pull != "always" and last is not None
            if not aside or await self._store.image(by_digest(image, last or "")) is None:
                raise
            return last

    async def _by_tag(self, replica: ReplicaDesired, tell: Tell) -> str:
        """What is here under the tag; an engine that cannot look tags up at a registry learns the digest by pulling."""
        if replica.pull == "always" or await self._store.image(replica.image) is None:
            await self._pull(replica.image, tell, of=replica)
            local = await self._store.image(replica.image)
            digest = local.digest_at(repository_of(replica.image)) if local else None
            if digest is not None:
                settled = await self._pins.settle(replica, digest)
                if settled != digest:
                    await self._pull(by_digest(replica.image, settled), tell, of=replica)
                return by_digest(replica.image, settled)
        return replica.image

    async def _pull(self, name: str, tell: Tell, *, of: ReplicaDesired) -> None:
        """Return when it has arrived."""

        shown = _shown(name, of.image)

        async def work(tell: Tell) -> None:
            await self._disk.admit(shown)
            tell(f"pulling {shown}")
            await self._store.pull(
                name,
                lambda text: tell(text.replace(name, shown)),
                login=self._login(name),
                room=self._disk.room(shown),
            )
            self._records.pulled(name)
            self._disk.soon()

        try:
            await self._once("pull", name, tell, work)
        except PullFailed as problem:
            raise _told(problem, of, name, shown) from None

    async def _once(self, kind: str, image: str, tell: Tell, work: Callable[[Tell], Awaitable[T]]) -> T:
        """
        The result of an errand that others may be on already.

        Who comes first does it for all. If that one is cancelled the next takes over, and what has arrived is not lost.
        """
        while True:
            errand = self._errands.get((kind, image))
            if errand is None:
                return await self._lead((kind, image), tell, work)
            errand.listeners.append(tell)
            try:
                await errand.ended.wait()
            finally:
                errand.listeners.remove(tell)
            if errand.problem is not None:
                raise errand.problem
            if errand.arrived:
                return cast(T, errand.result)

    async def _lead(self, key: tuple[str, str], tell: Tell, work: Callable[[Tell], Awaitable[T]]) -> T:
        errand = self._errands[key] = _Errand(listeners=[tell])
        try:
            result = await work(errand.tell)
            errand.result, errand.arrived = result, True
            return result
        except FledxError as problem:
            errand.problem = problem
            raise
        finally:
            del self._errands[key]
            errand.ended.set()


def _shown(name: str, image: str) -> str:
    """An image's name as the operator gave it, with as much of the digest as tells it from another."""
    _, at, digest = name.partition("@")
    return f"{image.partition('@')[0]} ({short(digest)})" if at else name


def _told(problem: PullFailed, replica: ReplicaDesired, name: str, shown: str) -> PullFailed:
    """In the operator's words; for bytes that the registry has no longer, with the way to others."""
    text, hint = problem.text.replace(name, shown), problem.hint
    if problem.kind == "not_found" and name != replica.image and digest_in(replica.image) is None:
        text = f"{text}; that is what {replica.image} stood for when revision {replica.revision} was made"
        hint = f"`fledx deployments restart {replica.deployment}` asks for {replica.image} anew"
    return PullFailed(problem.kind, text, hint=hint, retry_after=problem.retry_after)
