"""Takes Envoy from what it serves to what it is to serve, file by file, and sees that it has followed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import anyio

from fledx.agent.clock import Clock
from fledx.agent.ingress.admin import Admin
from fledx.agent.ingress.container import CHECK_FILE, EnvoyContainer
from fledx.agent.ingress.envoy_config.bootstrap import bootstrap
from fledx.agent.ingress.envoy_config.files import EnvoyFile, files_of, fits_watches, flattened, structure_of
from fledx.agent.ingress.envoy_config.shapes import Front, Served
from fledx.agent.ingress.envoy_config.upgrades import passed_by
from fledx.agent.ingress.shared import Shared
from fledx.agent.ingress.targets import with_endpoints, with_leaving
from fledx.errors import Conflict

logger = logging.getLogger(__name__)

BOOTSTRAP = "bootstrap.json"
CONFIRM_SECS = 8.0
WARM_SECS = 3.0
"""A new cluster waits for the first check of its endpoints, which is over after a second."""
STATISTICS = "(version_text%7Cupdate_rejected%7Cwarming_clusters)$"
WARMING = "cluster_manager.warming_clusters"
INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")


def watches_allowed(setting: Path = INSTANCES) -> int:
    """
    How many files Envoy may watch: half of what a user may, by inotify(7), whose default is 128.

    Every file costs one inotify instance, and one too many ends Envoy.
    """
    try:
        return int(setting.read_text("ascii")) // 2
    except (OSError, ValueError):
        return 64


class Feed:
    """
    What Envoy has been given.

    ``inline`` says that it was given endpoints within their clusters, as it may not watch a file for each: `watches`
    says how many it may. ``refused`` what was said against the newest
    structure; what was accepted before stays then, with the endpoints of now.
    """

    def __init__(
        self,
        front: Front,
        node_id: str,
        shared: Shared,
        admin: Admin,
        clock: Clock,
        *,
        watches: Callable[[], int] = watches_allowed,
    ) -> None:
        self.bootstrap = bootstrap(front, node_id)
        self.inline = False
        self.refused: str | None = None
        self._front = front
        self._shared = shared
        self._admin = admin
        self._clock = clock
        self._watches = watches
        self._accepted: Served | None = None
        self._structure = ""
        self._refused_structure = ""
        self._live: Served | None = None
        self._wanted: Served | None = None
        self._whole = False
        self._written: dict[str, str] | None = None

    def restarted(self) -> None:
        """Envoy reads everything anew, and has yet to say that it has; it may be of another version."""
        self._live = self._wanted = None

    async def serve(self, wanted: Served, container: EnvoyContainer) -> bool:
        """
        Have Envoy serve this; whether it does, whole.

        Raises Conflict with Envoy's own reason when it does not take what its check let pass, Unavailable when it does
        not answer.
        """
        if wanted == self._wanted:
            return self._whole
        self._wanted = None
        if self._live is None:
            self._front = replace(self._front, upgrades=passed_by(await self._admin.version()))
        self.inline = not fits_watches(wanted, self._watches())
        fit = await self._checked(wanted, container)
        chosen = wanted if fit else with_endpoints(self._accepted, wanted) if self._accepted is not None else None
        if chosen is None:
            return False
        if chosen != self._live:
            await self._move(chosen, container)
            self._live = chosen
        self._wanted, self._whole = wanted, fit
        return fit

    async def _checked(self, wanted: Served, container: EnvoyContainer) -> bool:
        structure = structure_of(wanted, self._front, inline=self.inline)
        if structure == self._refused_structure:
            return False
        if structure != self._structure:
            why = await container.check(flattened(self.bootstrap, wanted, self._front))
            if why is not None:
                logger.error("Envoy would not take the newest state; the old one stays", extra={"reason": why})
                self.refused, self._refused_structure = why, structure
                return False
        self.refused, self._refused_structure, self._structure, self._accepted = None, "", structure, wanted
        return True

    async def _move(self, wanted: Served, container: EnvoyContainer) -> None:
        """Clusters first, then what names them; those that nobody names any more go last."""
        before = self._live.clusters if self._live is not None else ()
        both = with_leaving(wanted, before)
        files = files_of(both, self._front, inline=self.inline)
        first = [file for file in files if file.endpoints or file.name == "cds.json"]
        await self._put(first, container, warm=WARM_SECS)
        await self._put([file for file in files if file not in first], container)
        if both != wanted:
            files = files_of(wanted, self._front, inline=self.inline)
            await self._put([file for file in files if file.name == "cds.json"], container)
        self._sweep({file.name for file in files})

    async def _put(self, files: Sequence[EnvoyFile], container: EnvoyContainer, *, warm: float = 0.0) -> None:
        """Write what differs, and wait until Envoy shows the versions of all."""
        refusals = _refusals(await self._admin.statistics(STATISTICS))
        for file in files:
            if self._on_disk().get(file.name) != file.version:
                self._shared.write(file.name, file.body)
                self._on_disk()[file.name] = file.version
        expected = {file.statistic: file.version for file in files}
        began, wait = self._clock.monotonic(), 0.005
        while True:
            shown = await self._admin.statistics(STATISTICS)
            passed = self._clock.monotonic() - began
            missing = [name for name, version in expected.items() if shown.get(name) != version]
            if not missing and (shown.get(WARMING, "0") == "0" or passed > warm):
                return
            if missing and (_refusals(shown) != refusals or passed > CONFIRM_SECS):
                await self._not_taken(files, missing, container)
            await anyio.sleep(wait)
            wait = min(wait * 2, 0.2)

    async def _not_taken(self, files: Sequence[EnvoyFile], missing: Iterable[str], container: EnvoyContainer) -> None:
        """It stays refused until it is written again: so the next try does that."""
        names = [file.name for file in files if file.statistic in missing]
        for name in names:
            self._on_disk().pop(name, None)
        reason = await container.last_refusal()
        raise Conflict(f"Envoy has not taken over {', '.join(names[:5])}: {reason or 'it gives no reason'}")

    def prepare(self) -> None:
        """What must lie there before Envoy starts: its first file, and the two it names."""
        self._shared.write(BOOTSTRAP, _packed(self.bootstrap))
        for file in files_of(Served(), self._front, inline=False):
            if file.name in ("cds.json", "lds.json") and file.name not in self._on_disk():
                empty = _packed({"version_info": "0", "resources": []})
                self._shared.write(file.name, empty)
                self._on_disk()[file.name] = "0"

    def _on_disk(self) -> dict[str, str]:
        if self._written is None:
            self._written = self._shared.versions()
        return self._written

    def _sweep(self, kept: set[str]) -> None:
        for name in [name for name in self._on_disk() if name not in kept | {BOOTSTRAP, CHECK_FILE}]:
            self._shared.remove(name)
            del self._on_disk()[name]


def _refusals(shown: Mapping[str, str]) -> int:
    return sum(int(value) for name, value in shown.items() if name.endswith("update_rejected") and value.isdigit())


def _packed(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
