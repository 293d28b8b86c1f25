"""Whether what was installed really works: the API answers over TLS, the node is ready."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from fledx.bootstrap.act import Progress
from fledx.client.api import ControlPlane
from fledx.client.asking import Json
from fledx.errors import NotFound, Unavailable

LOOK_SECS = 0.2
NOT_REACHED = "not_reached"
"""The code of what was installed, but was not seen to work in time."""

T = TypeVar("T")


def api_answers(api: ControlPlane, limit: float, progress: Progress) -> Json:
    """The control plane's status, once it gives it to this operator; Unavailable with the last reason at the limit."""
    return _until(lambda: (api.status(), ""), limit, f"the API at {api.peer} did not answer", progress)


def node_is_ready(api: ControlPlane, node_id: str, version: str, limit: float, progress: Progress) -> Json:
    """The node, once the control plane calls it ready and it runs this version; Unavailable at the limit."""

    def look() -> tuple[Json | None, str]:
        try:
            node = api.node(node_id)
        except NotFound:
            return None, "the control plane does not know the node"
        if node.get("status") != "ready":
            return None, f"it is {node.get('status')}: {node.get('reason') or 'no reason given'}"
        if node.get("agent_version") not in (None, version):
            return None, f"it still runs {node.get('agent_version')}"
        return node, ""

    return _until(look, limit, f"node {node_id} is not ready", progress)


def _until(look: Callable[[], tuple[T | None, str]], limit: float, what: str, progress: Progress) -> T:
    """What `look` finds first; it gives None and why when it is too early."""
    end, why = time.monotonic() + limit, ""
    while True:
        try:
            found, why = look()
            if found is not None:
                return found
        except Unavailable as problem:
            why = problem.text
        if time.monotonic() > end:
            late = Unavailable(
                f"{what} after {limit:.0f} s: {why}", hint="see `fledx bootstrap status` and its journal"
            )
            late.code = NOT_REACHED
            raise late
        progress.halt.wait(LOOK_SECS)
        progress.go_on()
