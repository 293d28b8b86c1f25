"""Docker behind the `Runtime` protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from fledx.agent.runtime.body import Body, lines
from fledx.agent.runtime.commands import EngineCommand, begun, execute
from fledx.agent.runtime.containers import Container, ContainerSpec, Execution, LogEntry, Refused, RuntimeEvent, Usage
from fledx.agent.runtime.engine import QUICK, Client, Engine, own_login
from fledx.agent.runtime.engine_images import EngineImages
from fledx.agent.runtime.lines import Tally, entries
from fledx.agent.runtime.shapes import container_of, create_body, event_of, log_bound, usage_of
from fledx.agent.runtime.volumes import archived, labels_of, measured, removed, unpacked
from fledx.errors import NotFound, Unavailable
from fledx.models.exec import ExecRequest
from fledx.models.port import PortMapping

T = TypeVar("T")

UNPACK_SECS = 86400.0


class DockerRuntime(EngineImages):
    """The engine at one address (``unix://PATH`` or ``tcp://HOST:PORT``)."""

    def __init__(self, address: str | None = None) -> None:
        self._engine = Engine(address)
        self._known: dict[str, Container] = {}
        self._watching = self._noticed = 0

    async def describe(self) -> str:
        return await self._engine.negotiate()

    async def look(self, node_id: str) -> tuple[Container, ...]:
        """
        One list, and an inspection of each that an event or its state calls changed; all, while no events come.

        Over a new connection: an engine on its way down stops the containers and still serves the old ones, so that one
        would take its end for somebody's doing.
        """
        chosen = {"label": [f"fledx.node_id={node_id}"]}
        listed = await self._engine.look(lambda client: client.containers(all=True, filters=chosen))
        if not self._watching:
            self._known.clear()
        self._known = {each["Id"]: known for each in listed if (known := self._known.get(each["Id"])) is not None}
        found = []
        for each in listed:
            known = self._known.get(each["Id"])
            if known is None or known.state != each["State"]:
                known = await self.inspect(each["Id"])
            if known is not None:
                found.append(known)
        return tuple(found)

    async def labelled(self, name: str, value: str) -> tuple[Container, ...]:
        chosen = {"label": [f"{name}={value}"]}
        listed = await self._ask(lambda client: client.containers(all=True, filters=chosen))
        found = [await self.inspect(each["Id"]) for each in listed]
        return tuple(each for each in found if each is not None)

    async def inspect(self, container_id: str) -> Container | None:
        noticed = self._noticed
        try:
            shown = await self._ask(lambda client: client.inspect_container(container_id))
        except NotFound:
            return None
        container = container_of(shown)
        if noticed == self._noticed:  # else this answer may be older than the event
            self._known[container_id] = container
        return container

    async def create(self, spec: ContainerSpec) -> str:
        body = create_body(spec)
        made = await self._work(lambda client: client.create_container_from_config(body, spec.name))  # type: ignore[no-untyped-call]
        return str(made["Id"])

    async def start(self, container_id: str) -> None:
        self._known.pop(container_id, None)
        await self._work(lambda client: client.start(container_id))

    async def stop(self, container_id: str, *, grace: float) -> None:
        self._known.pop(container_id, None)
        seconds = int(grace + 0.999)
        try:
            await self._work(lambda client: client.stop(container_id, timeout=seconds), more=seconds)
        except NotFound:
            return

    async def pause(self, container_id: str) -> None:
        self._known.pop(container_id, None)
        try:
            await self._work(lambda client: client.pause(container_id))
        except Refused as refused:
            if "already paused" not in refused.text:
                raise

    async def resume(self, container_id: str) -> None:
        self._known.pop(container_id, None)
        try:
            await self._work(lambda client: client.unpause(container_id))
        except Refused as refused:
            if "not paused" not in refused.text:
                raise

    async def remove(self, container_id: str) -> None:
        self._known.pop(container_id, None)
        try:
            await self._work(lambda client: client.remove_container(container_id, v=True, force=True))
        except NotFound:
            return
        except Refused as refused:
            if "already in progress" not in refused.text:
                raise

    async def holder(self, port: PortMapping) -> str | None:
        wanted = (port.host_port, port.protocol)  # not by a filter: Podman has none for ports
        for each in await self._ask(lambda client: client.containers()):
            published = {(found.get("PublicPort"), found.get("Type")) for found in each.get("Ports") or ()}
            if wanted in published and each.get("Names"):
                return str(each["Names"][0]).lstrip("/")
        return None

    @asynccontextmanager
    async def events(self, node_id: str) -> AsyncIterator[AsyncIterator[RuntimeEvent]]:
        actions = ["start", "die", "oom", "pause", "unpause", "destroy", "stop", "kill"]
        chosen = {"type": ["container"], "label": [f"fledx.node_id={node_id}"], "event": actions}
        query = {"filters": json.dumps(chosen)}
        body = await self._ask(lambda client: client.open("GET", "/events", params=query, seconds=QUICK))
        self._known.clear()
        self._watching += 1
        try:
            yield self._events(body)
        finally:
            self._watching -= 1
            body.close()

    async def _events(self, body: Body) -> AsyncIterator[RuntimeEvent]:
        try:
            async for line in lines(body):
                event = event_of(json.loads(line))
                if event is not None:
                    self._noticed += 1
                    self._known.pop(event.container_id, None)
                    yield event
        except Unavailable:
            return

    @asynccontextmanager
    async def logs(
        self,
        container_id: str,
        *,
        follow: bool = False,
        since: str | None = None,
        until: str | None = None,
        tail: int | None = None,
    ) -> AsyncIterator[AsyncIterator[Sequence[LogEntry]]]:
        bounds = {name: log_bound(value) for name, value in (("since", since), ("until", until)) if value}
        query = {"stdout": 1, "stderr": 1, "timestamps": 1, "tail": "all" if tail is None else tail, **bounds}
        body = await self._log(container_id, query, follow=follow)
        try:
            yield self._followed(body, container_id, query) if follow else entries(body)
        finally:
            body.close()

    async def _followed(
        self, body: Body, container_id: str, query: Mapping[str, Any]
    ) -> AsyncIterator[Sequence[LogEntry]]:
        tally = Tally()
        async for batch in entries(body):
            tally.note(batch)
            yield batch
        since = {"since": log_bound(tally.last), "tail": "all"} if tally.last else {}
        try:
            rest = await self._log(container_id, {**query, **since}, follow=False)
        except NotFound:
            return
        try:
            async for batch in entries(rest):
                if unread := tally.unread(batch):
                    yield unread
        finally:
            rest.close()

    async def _log(self, container_id: str, query: Mapping[str, Any], *, follow: bool) -> Body:
        path = f"/containers/{container_id}/logs"
        asked = {**query, "follow": int(follow)}
        return await self._ask(lambda client: client.open("GET", path, params=asked, seconds=QUICK))

    async def usage(self, container_id: str) -> Usage | None:
        try:
            return usage_of(await self._ask(lambda client: client.stats(container_id, stream=False, one_shot=True)))
        except NotFound:
            return None

    async def execute(self, container_id: str, command: Sequence[str], *, limit: float, most: int) -> Execution:
        return await execute(self._ask, container_id, command, limit=limit, most=most)

    def command(self, container_id: str, wanted: ExecRequest) -> AbstractAsyncContextManager[EngineCommand]:
        return begun(self._ask, container_id, wanted)

    async def volume(self, name: str) -> Mapping[str, str] | None:
        return await labels_of(self._ask, name)

    async def make_volume(self, name: str, labels: Mapping[str, str]) -> None:
        await self._work(lambda client: client.create_volume(name, driver="local", labels=dict(labels)))

    async def remove_volume(self, name: str) -> bool:
        return await removed(self._work, name)

    async def volume_sizes(self, node_id: str) -> Mapping[str, int]:
        return await measured(self._ask, node_id)

    def archive(self, container_id: str, path: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return archived(self._ask, container_id, path)

    async def unpack(self, container_id: str, path: str, pieces: AsyncIterator[bytes]) -> None:
        await unpacked(lambda work: self._work(work, more=UNPACK_SECS), container_id, path, pieces)

    async def aclose(self) -> None:
        await self._engine.aclose()

    def _own_login(self, client: Any, image: str) -> str | None:
        return own_login(client, image)

    async def _ask(self, question: Callable[[Client], T]) -> T:
        return await self._engine.ask(question)

    async def _work(self, work: Callable[[Client], T], *, more: float = 0.0) -> T:
        return await self._engine.work(work, more=more)
