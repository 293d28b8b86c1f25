"""What this agent has pulled, and for whom: so that it cleans up after itself and after nobody else."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import anyio

from fledx.agent.files import write_private
from fledx.agent.images.cleaning import Kept
from fledx.errors import FledxError
from fledx.models.codec import decode_lenient
from fledx.models.desired import NodeDesiredState

logger = logging.getLogger(__name__)
MOST_RELEASES = 20
MOST_TAGS = 1000


class Records:
    """
    `images.json`; it changes when something was pulled or a deployment's image is another one, which is seldom.

    Nobody waits for it to be written: what a crash loses is an image that is not cleaned up one day. A file that cannot
    be read is no harm: then the images of before stay until somebody removes them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: Kept | None = None
        self.kept = Kept()
        self._lock = anyio.Lock()

    def load(self) -> None:
        """Take up what was stored."""
        try:
            self.kept = self._written = decode_lenient(Kept, json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, ValueError, FledxError) as problem:
            logger.warning("images.json cannot be read", extra={"reason": str(problem)})

    def pulled(self, name: str) -> None:
        """An image has been pulled under this name."""
        self.kept = replace(self.kept, pulled=self.kept.pulled | {name})

    def removed(self, names: Collection[str]) -> None:
        """These are gone."""
        self.kept = replace(self.kept, pulled=self.kept.pulled - set(names))

    def used(self, deployment_id: str, tag: str, name: str) -> None:
        """A container of a deployment is made from this; what its spec calls `tag`."""
        names = self.kept.releases.get(deployment_id, ())
        latest = (name, *(each for each in names if each != name))[:MOST_RELEASES]
        digests = self.kept.digests
        if "@" in name and digests.get(tag) != name.partition("@")[2]:
            digests = {**_newest(digests), tag: name.partition("@")[2]}
        self.kept = replace(self.kept, releases={**self.kept.releases, deployment_id: latest}, digests=digests)

    def follow(self, state: NodeDesiredState | None) -> None:
        """Forget the releases of deployments that are not this node's any more."""
        here = {each.deployment_id for each in state.replicas} if state else set()
        if state is None or self.kept.releases.keys() <= here:
            return
        releases = {deployment: names for deployment, names in self.kept.releases.items() if deployment in here}
        self.kept = replace(self.kept, releases=releases)

    async def store(self) -> None:
        """Put it on disk unless it is there; a disk that takes nothing is no reason not to go on."""
        async with self._lock:
            kept = self.kept
            if kept == self._written:
                return
            body = {"pulled": sorted(kept.pulled), "releases": kept.releases, "digests": kept.digests}
            try:
                await anyio.to_thread.run_sync(write_private, self._path, json.dumps(body).encode())
            except OSError as problem:
                logger.warning("images.json cannot be written", extra={"reason": problem.strerror})
                return
            self._written = kept


def _newest(digests: Mapping[str, str]) -> dict[str, str]:
    """With room for one more; the oldest go."""
    return dict(list(digests.items())[-(MOST_TAGS - 1) :])
