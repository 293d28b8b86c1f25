"""Carries one action out through the runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import anyio

from fledx.agent.clock import Clock
from fledx.agent.images.choosing import Images
from fledx.agent.mounted import strayed
from fledx.agent.named_volumes import NamedVolumes
from fledx.agent.reconcile.actions import Action, Examine, Remove, Replace, Resume, Start, Stop
from fledx.agent.runtime.base import Runtime
from fledx.agent.runtime.containers import Container, ImageMissing, Mount, NameTaken, PortTaken
from fledx.agent.secrets import NodeSecrets
from fledx.agent.spec import container_name, container_spec, marks_for
from fledx.agent.volumes import Policy
from fledx.errors import Conflict, FledxError, InvalidSpec, NotFound, Unavailable
from fledx.models.desired import ReplicaDesired

PORT_PATIENCE = 3.0
"""Seconds a taken port is waited for: its last owner may be another replica of ours on its way out."""
PORT_RETRY = 0.25
NAMES = 50
TAIL_LINES, TAIL_BYTES = 20, 1200


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of an action: the container that was started, or the last lines that were read."""

    container: Container | None = None
    lines: str | None = None


class GivenUp(FledxError):
    """A pull was interrupted because something newer is wanted."""

    code = "given_up"


class Attempt:
    """An action while it runs: what it is doing, and the scope in which it may be interrupted without harm."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.doing = ""
        self._changed = changed
        self._scope: anyio.CancelScope | None = None

    def tell(self, text: str) -> None:
        """Show what is being done now."""
        self.doing = text
        self._changed()

    def interrupt(self) -> None:
        """Give up waiting for an image, if that is what it does; any other step is short and runs to its end."""
        if self._scope is not None:
            self._scope.cancel()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Leaving it early raises GivenUp."""
        with anyio.CancelScope() as self._scope:
            yield
        interrupted, self._scope = self._scope.cancelled_caught, None
        if interrupted:
            raise GivenUp("something newer is wanted")


class Executor:
    """Does what a plan says on this node; every error is raised, with the sentence for the operator as its text."""

    def __init__(
        self,
        *,
        node_id: str,
        node: str,
        runtime: Runtime,
        images: Images,
        secrets: NodeSecrets,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self._node_id = node_id
        self._node = node
        self._runtime = runtime
        self._images = images
        self._secrets = secrets
        self._policy = policy
        self._volumes = NamedVolumes(runtime, node_id)
        self._clock = clock

    async def carry_out(self, action: Action, attempt: Attempt) -> Outcome:
        """Do it. Raises what the runtime raises, NotFound, InvalidSpec, and GivenUp when `attempt` is interrupted."""
        match action:
            case Start():
                return await self._start(action, attempt)
            case Resume():
                return await self._resume(action, attempt)
            case Replace():
                return await self._replace(action, attempt)
            case Stop():
                return await self._stop(action, attempt)
            case Remove():
                await self._runtime.remove(action.copy.container.id)
            case Examine():
                return Outcome(lines=await self._last_lines(action.copy.container.id))
        return Outcome()

    async def _start(self, action: Start, attempt: Attempt) -> Outcome:
        attempt.tell("starting")
        made = await self._created(action.replica, action.restarts, attempt, run=action.run)
        try:
            await self._started(made, action.replica)
        except FledxError:
            await self._discard(made)
            raise
        return await self._shown(made)

    async def _resume(self, action: Resume, attempt: Attempt) -> Outcome:
        attempt.tell("starting")
        container = action.copy.container
        if container.state == "paused":
            await self._runtime.resume(container.id)
        else:
            self._mounts(action.replica)
            await self._started(container.id, action.replica)
        return await self._shown(container.id)

    async def _replace(self, action: Replace, attempt: Attempt) -> Outcome:
        old = action.old.container
        made = (
            action.prepared.container.id
            if action.prepared
            else await self._created(action.replica, 0, attempt, old.name)
        )
        attempt.tell(f"stopping {old.name} for revision {action.replica.revision}")
        try:
            await self._runtime.stop(old.id, grace=old.stop_grace)
            await self._started(made, action.replica)
        except Unavailable:
            raise
        except FledxError:
            await self._discard(made)
            await self._runtime.start(old.id)
            raise
        return await self._shown(made)

    async def _stop(self, action: Stop, attempt: Attempt) -> Outcome:
        container = action.copy.container
        attempt.tell(f"stopping {container.name}: {action.reason}")
        if container.state == "paused":
            await self._runtime.resume(container.id)
        await self._runtime.stop(container.id, grace=container.stop_grace)
        if action.remove:
            await self._runtime.remove(container.id)
        return Outcome()

    async def _created(
        self, replica: ReplicaDesired, restarts: int, attempt: Attempt, taken: str = "", *, run: str = ""
    ) -> str:
        """Get the image, make the container, and find a name but `taken`."""
        marks = marks_for(replica, self._node_id, restarts, run)
        spec = container_spec(
            replica,
            marks,
            node=self._node,
            secrets=self._secrets.variables(replica),
            mounts=(*self._mounts(replica), *await self._volumes.mounts(replica)),
        )
        names = iter(name for i in range(NAMES) if (name := container_name(replica, self._node_id, i)) != taken)
        spec = replace(spec, name=next(names), image=await self._image(replica, attempt))
        lost = False
        while True:
            try:
                return await self._runtime.create(spec)
            except ImageMissing:
                if lost:
                    raise
                lost, spec = True, replace(spec, image=await self._image(replica, attempt))
            except NameTaken as conflict:
                spec = replace(spec, name=next(names, ""))
                if not spec.name:
                    raise Conflict(f"no free container name was found: {conflict.text}") from None

    async def _image(self, replica: ReplicaDesired, attempt: Attempt) -> str:
        with attempt.interruptible():
            name = await self._images.ready(replica, attempt.tell)
            attempt.tell("starting")
        return name

    def _mounts(self, replica: ReplicaDesired) -> tuple[Mount, ...]:
        """Checked anew each time a container is made or started: a link, or the node's mind, may be another by now."""
        self._policy.check(replica)
        return self._policy.mounts(replica.volumes or ()) + self._secrets.mounts(replica)

    async def _started(self, container_id: str, replica: ReplicaDesired) -> None:
        deadline = self._clock.monotonic() + PORT_PATIENCE
        while True:
            try:
                await self._runtime.start(container_id)
                return await self._confirm(container_id, replica)
            except PortTaken as taken:
                if self._clock.monotonic() >= deadline:
                    raise await self._port_conflict(replica, taken) from None
                await self._clock.sleep(PORT_RETRY)

    async def _confirm(self, container_id: str, replica: ReplicaDesired) -> None:
        """Look once more where its directories are, now that nobody can exchange them; end it if one is another."""
        mounts = self._policy.mounts(replica.volumes or ())
        container = await self._runtime.inspect(container_id) if mounts else None
        if container is None or (path := strayed(container, mounts)) is None:
            return
        await self._runtime.stop(container_id, grace=0)
        raise InvalidSpec("volumes", f"{path} was exchanged for something else while it was mounted")

    async def _port_conflict(self, replica: ReplicaDesired, taken: PortTaken) -> Conflict:
        """Name the port and who has it, as far as the engine knows."""
        for port in replica.ports or ():
            if port.host_port is None or str(port.host_port) not in taken.text:
                continue
            holder = await self._runtime.holder(port)
            by = f"container {holder}" if holder else "a process outside Docker"
            text = f"port {port.host_port}/{port.protocol} of node {self._node} is taken by {by}"
            return PortTaken(text, hint="stop it, or choose another host port")
        return taken

    async def _discard(self, container_id: str) -> None:
        """Remove what did not start; if even that fails, the next look finds it."""
        with anyio.CancelScope(shield=True):
            try:
                await self._runtime.remove(container_id)
            except FledxError:
                return

    async def _shown(self, container_id: str) -> Outcome:
        container = await self._runtime.inspect(container_id)
        if container is None:
            raise NotFound("the container was removed from outside fledx as soon as it was started")
        return Outcome(container=container)

    async def _last_lines(self, container_id: str) -> str | None:
        """The end of what it wrote, bounded; None if it wrote nothing."""
        lines: list[str] = []
        try:
            async with self._runtime.logs(container_id, tail=TAIL_LINES) as entries:
                async for batch in entries:
                    lines += [entry.line for entry in batch]
        except NotFound:
            return None
        text = "\n".join(line for line in lines if line.strip())
        return text[-TAIL_BYTES:] or None
