"""Volumes of the engine and what lies in them, as `Runtime` has it; the client that is asked is docker-py's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio

from fledx.agent.runtime.body import Body
from fledx.agent.runtime.containers import Refused
from fledx.errors import NotFound

Ask = Callable[[Callable[[Any], Any]], Awaitable[Any]]
ARCHIVE_SECS = 60
"""Until the first byte of an archive."""
AS_IT_IS = {"Accept-Encoding": "identity"}  # else the engine packs it
IN_USE = ("in use", "being used")  # of Docker, of Podman
PIECE = 64 * 1024


async def labels_of(ask: Ask, name: str) -> Mapping[str, str] | None:
    """`Runtime.volume`."""
    try:
        shown = await ask(lambda client: client.inspect_volume(name))
    except NotFound:
        return None
    return shown.get("Labels") or {}


async def removed(ask: Ask, name: str) -> bool:
    """`Runtime.remove_volume`."""
    try:
        await ask(lambda client: client.remove_volume(name))
    except NotFound:
        return True
    except Refused as refused:
        if any(words in refused.text for words in IN_USE):
            return False
        raise
    return True


async def measured(ask: Ask, node_id: str) -> Mapping[str, int]:
    """
    `Runtime.volume_sizes`; engines before API 1.42 measure images and containers as well, which nobody reads.

    Which are this node's is asked apart: Podman measures without telling labels.
    """

    def look(client: Any) -> Any:
        return client._result(client._get(client._url("/system/df"), params={"type": "volume"}), json=True)

    listed = await ask(lambda client: client.volumes(filters={"label": f"fledx.node_id={node_id}"}))
    own = {each["Name"] for each in listed.get("Volumes") or ()}
    if not own:
        return {}
    measured = (await ask(look)).get("Volumes") or ()
    sizes = {str(each["Name"]): int((each.get("UsageData") or {}).get("Size", -1)) for each in measured}
    return {name: size for name, size in sizes.items() if name in own and size >= 0}


@asynccontextmanager
async def archived(ask: Ask, container_id: str, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """`Runtime.archive`."""
    where, query = f"/containers/{container_id}/archive", {"path": path}
    body = await ask(lambda client: client.open("GET", where, params=query, headers=AS_IT_IS, seconds=ARCHIVE_SECS))
    try:
        yield _pieces(body)
    finally:
        body.close()


async def _pieces(body: Body) -> AsyncIterator[bytes]:
    while piece := await body.receive():
        yield piece


async def unpacked(work: Ask, container_id: str, path: str, pieces: AsyncIterator[bytes]) -> None:
    """
    `Runtime.unpack`.

    A thread sends what it reads from a pipe, so that no more is on its way than the pipe holds. An engine that wants no
    more closes its end; then the rest is not read.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    problem: BaseException | None = None

    def send(client: Any) -> None:
        with contextlib.closing(_read(reader)) as source:
            client.put_archive(container_id, path, source)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_fill, writer, pieces)
        try:
            await work(send)
        except Exception as caught:
            problem = caught
            tasks.cancel_scope.cancel()
    if problem is not None:
        raise problem


def _read(reader: int) -> Generator[bytes, None, None]:
    with os.fdopen(reader, "rb", buffering=0) as source:
        while piece := source.read(PIECE):
            yield piece


async def _fill(writer: int, pieces: AsyncIterator[bytes]) -> None:
    try:
        async for piece in pieces:
            left = memoryview(piece)
            while left:
                await anyio.wait_writable(writer)
                left = left[os.write(writer, left) :]
    except BrokenPipeError:
        return
    finally:
        os.close(writer)
