"""
The decision: which backends have nobody to go to just now, though somebody is to come; pure.

What is asked of such a one waits. The only instance of a deployment that is replaced where it runs is taken out before
it is told to go, so that it has nothing under way by then, and what comes meanwhile goes to its successor.
"""

from __future__ import annotations

from collections.abc import Sequence

from fledx.agent.ingress.targets import Reached
from fledx.models.ingress import Backend, GatewayDesired

PARTING_SECS = 1.0
"""So long the last one may finish what is under way while others wait; one that takes longer serves them meanwhile."""
AWAITED_SECS = 30.0
"""So long requests wait for somebody to come, each of them for some seconds; after that they are refused at once."""


class Awaited:
    """Since when each backend has had nobody, in seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, bool], float] = {}

    def look(self, desired: GatewayDesired, ways: Sequence[Reached], now: float) -> dict[str, bool]:
        """The names of those that have nobody but what drains, and whether they are to let everybody wait now."""
        of: dict[str, list[Reached]] = {}
        for each in ways:
            of.setdefault(each.backend.name, []).append(each)
        found: dict[str, bool] = {}
        since: dict[tuple[str, bool], float] = {}
        for backend in desired.backends:
            mine = of.get(backend.name, [])
            if _is_awaited(backend, mine):
                parting = any(each.target is not None for each in mine)
                key = backend.name, parting
                since[key] = self._since.get(key, now)
                found[backend.name] = now - since[key] < (PARTING_SECS if parting else AWAITED_SECS)
        self._since = since
        return found


def _is_awaited(backend: Backend, ways: Sequence[Reached]) -> bool:
    """Whether none serves, and one is to: by the control plane's word, or as it is to be here and does not run yet."""
    wanted = [each for each in ways if not each.endpoint.draining]
    return (backend.awaited or bool(wanted)) and all(each.target is None for each in wanted)
