"""All that has to do with images on this node, wired together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from fledx.agent.clock import Clock
from fledx.agent.images.choosing import Images
from fledx.agent.images.disk import Disk, InUse, Limits
from fledx.agent.images.pins import Pins, Say
from fledx.agent.images.records import Records
from fledx.agent.runtime.base import ImageStore
from fledx.agent.spec import Key
from fledx.models.desired import NodeDesiredState, ReplicaDesired
from fledx.models.image import by_digest, registry_of
from fledx.models.registry import RegistryLogin
from fledx.settings.agent import AgentSettings


class ImageKeeping:
    """
    The images of a node and the loop that watches the disk under them.

    `containers` are the images' names of those that are there, `say` sends to the control plane, `tell` keeps what
    happened, `pull_again` hears the kind of failure that is over and for which replicas.
    """

    def __init__(
        self,
        settings: AgentSettings,
        directory: Path,
        store: ImageStore,
        clock: Clock,
        *,
        desired: Callable[[], NodeDesiredState | None],
        containers: Callable[[], Iterable[str]],
        say: Say,
        tell: Callable[[str], None],
        pull_again: Callable[[str, Collection[Key]], None],
    ) -> None:
        self._desired = desired
        self._containers = containers
        self._pull_again = pull_again
        self._logins: dict[str, RegistryLogin] = {}
        self._records = Records(directory / "images.json")
        self._records.load()
        self._pins = Pins(desired=desired, say=say)
        self._disk = Disk(
            store,
            self._records,
            clock,
            Limits(reserve=settings.disk_reserve_bytes, clean_percent=settings.disk_clean_percent),
            in_use=self._in_use,
            tell=tell,
            eased=lambda: pull_again("no_space", {each.key for each in self._replicas()}),
        )
        self.images = Images(store, pins=self._pins, records=self._records, disk=self._disk, login=self.login)

    @property
    def pressure(self) -> str | None:
        """Why no image is pulled, None while there is room."""
        return self._disk.pressure

    async def run(self) -> None:
        """Watch the disk until cancelled."""
        await self._disk.run()

    def connected(self) -> None:
        """There is a link to the control plane."""
        self._pins.connected()

    def changed(self) -> None:
        """Another desired state is here; pulls that a registry denied are tried again with a new login at once."""
        self._pins.changed()
        self._records.follow(self._desired())
        state = self._desired()
        logins = {each.host: each for each in state.registries} if state else {}
        fresh = {host for host, login in logins.items() if self._logins.get(host) != login}
        self._logins = logins
        if fresh:
            keys = {each.key for each in self._replicas() if registry_of(each.image) in fresh}
            self._pull_again("denied", keys)

    def login(self, image: str) -> RegistryLogin | None:
        """What the control plane holds for the registry that an image comes from."""
        state = self._desired()
        registry = registry_of(image)
        return next((each for each in (state.registries if state else ()) if each.host == registry), None)

    def _replicas(self) -> Iterable[ReplicaDesired]:
        state = self._desired()
        return state.replicas if state else ()

    def _in_use(self) -> InUse:
        wanted = {each.image for each in self._replicas()}
        wanted |= {by_digest(each.image, digest) for each in self._replicas() if (digest := self._pins.of(each))}
        return InUse(wanted=wanted, used=set(self._containers()))
