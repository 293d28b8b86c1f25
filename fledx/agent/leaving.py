"""Ending an agent: by itself when asked to, in time, and if wanted without its containers."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from fledx.agent.runtime.base import Runtime
from fledx.errors import FledxError

logger = logging.getLogger(__name__)
T = TypeVar("T")

EXIT_SECS = 2.0


def leave_anyway() -> None:
    """End the process soon even if a name is being looked up: the interpreter would wait for a resolver that hangs."""
    timer = threading.Timer(EXIT_SECS, os._exit, (0,))
    timer.daemon = True
    timer.start()


async def unless(stop: anyio.Event, wanted: Callable[[], Awaitable[T]]) -> T | None:
    """What `wanted` returns or raises, None if `stop` is set first."""
    result: T | None = None
    problem: FledxError | None = None
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            await stop.wait()
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        try:
            result = await wanted()
        except FledxError as caught:
            problem = caught
        tasks.cancel_scope.cancel()
    if problem is not None:
        raise problem
    return result


async def clean_up(runtime: Runtime, node_id: str) -> None:
    """Take a node's containers away, its Envoy among them, all at the same time."""

    async def away(container_id: str, grace: float) -> None:
        try:
            await runtime.stop(container_id, grace=grace)
            await runtime.remove(container_id)
        except FledxError as problem:
            logger.warning("a container is left behind", extra={"container": container_id, "reason": problem.text})

    try:
        found = (*await runtime.look(node_id), *await runtime.labelled("fledx.gateway", node_id))
    except FledxError as problem:
        logger.warning("the containers are left behind", extra={"reason": problem.text})
        return
    async with anyio.create_task_group() as tasks:
        for container in found:
            tasks.start_soon(away, container.id, container.stop_grace)
