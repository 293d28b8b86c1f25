"""Envoy's container: one, ours, confined, and left running when the agent goes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fledx.agent.ingress.envoy_config.shapes import CONF, SOCKETS
from fledx.agent.ingress.shared import Owner, Shared
from fledx.agent.listening import listening
from fledx.agent.runtime.base import Runtime
from fledx.agent.runtime.containers import Confinement, Container, ContainerSpec, ImageMissing, Mount
from fledx.errors import NotFound, Unavailable
from fledx.models.registry import RegistryLogin

OWNED, MADE_OF = "fledx.gateway", "fledx.gateway_spec"
"""Labels: whose gateway it is, and what it was made of. A replica's are others, so it is never taken for one."""
DRAIN_SECS = 600
STOP_GRACE = 5.0
CHECK_FILE = "check.json"
CHECK_SECS, CHECK_BYTES = 30.0, 16 * 1024
MAX_REASON = 500
ALIVE = ("running", "paused", "restarting")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that Envoy's container is made of; another one for another of these. ``login`` is what pulls its image."""

    node_id: str
    image: str
    ports: tuple[int, ...]
    bootstrap: bytes = field(repr=False)
    owner: Owner
    shared: Shared
    login: Callable[[], RegistryLogin | None] = lambda: None
    concurrency: int | None = None

    def spec(self) -> ContainerSpec:
        """As the runtime makes it."""
        threads = ("--concurrency", str(self.concurrency)) if self.concurrency else ()
        low = any(port < 1024 for port in self.ports)
        spec = ContainerSpec(
            name=f"fledx-gateway-{self.node_id[:8]}",
            image=self.image,
            entrypoint=("envoy",),
            command=(
                *("-c", f"{CONF}/bootstrap.json", "--disable-hot-restart", "--reject-unknown-dynamic-fields"),
                *("--drain-time-s", str(DRAIN_SECS), "--log-level", "warning", *threads),
                *("--file-flush-interval-msec", "1000"),  # who follows the access log waits 10 s otherwise
            ),
            mounts=(
                Mount(source=str(self.shared.conf), target=CONF, read_only=True),
                Mount(source=str(self.shared.sockets), target=SOCKETS),
            ),
            stop_grace=STOP_GRACE,
            confinement=Confinement(user=self.owner.user, capabilities=("NET_BIND_SERVICE",) if low else ()),
        )
        text = json.dumps([spec.image, spec.command, repr(spec.mounts), repr(spec.confinement)])
        digest = hashlib.sha256(text.encode() + self.bootstrap).hexdigest()[:16]
        return replace(spec, labels={OWNED: self.node_id, MADE_OF: digest})


class EnvoyContainer:
    """Brings it up and asks it things; errors come with the sentence for the operator."""

    def __init__(self, runtime: Runtime, recipe: Recipe) -> None:
        self.id: str | None = None
        self.login = recipe.login
        self._runtime = runtime
        self._recipe = recipe

    async def bring_up(self, tell: Callable[[str], None]) -> bool:
        """
        Have it run; whether it was started for that, and not found running.

        Raises PullFailed, Refused or Unavailable, with the reason.
        """
        spec, kept = self._recipe.spec(), None
        for found in await self._runtime.labelled(OWNED, self._recipe.node_id):
            if kept is None and found.labels.get(MADE_OF) == spec.labels[MADE_OF] and found.state != "dead":
                kept = found
            else:
                await self._away(found)
        if kept is not None and kept.state in ("running", "paused"):
            self.id = kept.id
            await self._runtime.resume(kept.id)
            return False
        self._ports_are_free()
        self.id = kept.id if kept is not None else await self._made(spec, tell)
        await self._started(self.id)
        return True

    async def put_down(self) -> None:
        """End it by force, as it is frozen; it is made anew then."""
        if self.id is not None:
            await self._runtime.remove(self.id)
            self.id = None

    async def state(self) -> Container | None:
        """How it is, None if it is gone."""
        return await self._runtime.inspect(self.id) if self.id is not None else None

    async def check(self, body: bytes) -> str | None:
        """
        What Envoy says against a configuration, None if it takes it.

        A second process in the same container, so with the same rights; the file is gone when it has ended.
        """
        if self.id is None:
            raise Unavailable("Envoy does not run")
        shared = self._recipe.shared
        shared.write(CHECK_FILE, body)
        command = ("envoy", "--mode", "validate", "-c", f"{CONF}/{CHECK_FILE}", "--log-level", "error")
        try:
            done = await self._runtime.execute(self.id, command, limit=CHECK_SECS, most=CHECK_BYTES)
        except NotFound:
            raise Unavailable("Envoy ended while it checked") from None
        finally:
            shared.remove(CHECK_FILE)
        if done.exit_code is None:
            raise Unavailable(f"Envoy's check took longer than {CHECK_SECS:g} s")
        return None if done.exit_code == 0 else complaint(done.output)

    async def last_refusal(self) -> str | None:
        """The newest line of its log that says why it did not take something over."""
        if self.id is None:
            return None
        lines: list[str] = []
        try:
            async with self._runtime.logs(self.id, tail=100) as entries:
                async for batch in entries:
                    lines += [entry.line for entry in batch if entry.stream == "stderr"]
        except NotFound:
            return None
        return next((complaint(line) for line in reversed(lines) if "reject" in line or "error" in line), None)

    def _ports_are_free(self) -> None:
        """Envoy would share a port with another process of its user, or say nothing but in its log."""
        taken = {number for protocol, number in listening() if protocol == "tcp"}
        for port in self._recipe.ports:
            if port in taken:
                raise Unavailable(
                    f"port {port} of this node is taken by another process",
                    hint="stop it, or set FLEDX_AGENT_GATEWAY_HTTP_PORT and FLEDX_AGENT_GATEWAY_HTTPS_PORT",
                )

    async def _made(self, spec: ContainerSpec, tell: Callable[[str], None]) -> str:
        try:
            return await self._runtime.create(spec)
        except ImageMissing:
            tell(f"pulling {spec.image}")
            await self._runtime.pull(spec.image, tell, login=self.login())
            return await self._runtime.create(spec)

    async def _started(self, container_id: str) -> None:
        try:
            await self._runtime.start(container_id)
        except BaseException:
            self.id = None
            await self._runtime.remove(container_id)
            raise

    async def _away(self, container: Container) -> None:
        if container.state in ALIVE:
            await self._runtime.resume(container.id)
            await self._runtime.stop(container.id, grace=STOP_GRACE)
        await self._runtime.remove(container.id)


def complaint(said: str) -> str:
    """The sentence that matters in what Envoy wrote, on one line, without control characters or anything of a key."""
    lines = [line for line in said.partition("-----BEGIN")[0].splitlines() if line.strip()]
    chosen = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "")
    words = chosen.rpartition("] ")[2] if chosen.startswith("[") else chosen
    text = "".join(character if character.isprintable() else " " for character in words)
    return " ".join(text.split())[:MAX_REASON] or "Envoy gave no reason"
