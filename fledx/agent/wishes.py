"""Which request stands behind what is done about a replica, so that the agent's log names it."""

from __future__ import annotations

from fledx.agent.spec import Key
from fledx.models.desired import NodeDesiredState, ReplicaDesired

OF_ITSELF = frozenset({"adopt", "crash", "drift", "exit", "restart", "unhealthy"})
"""What happens to a replica without anybody's wish; after that its last wish explains nothing any more."""


class Wishes:
    """The newest request by replica, for as long as what happens to the replica follows from it."""

    def __init__(self) -> None:
        self._behind: dict[Key, str] = {}

    def changed(self, before: NodeDesiredState | None, after: NodeDesiredState, request_id: str | None) -> None:
        """A newer state has come; what differs in it is this request's doing, or nobody's where there is none."""
        old, new = _by_key(before), _by_key(after)
        for key in old.keys() | new.keys():
            if old.get(key) == new.get(key):
                continue
            self._behind.pop(key, None)
            if request_id is not None:
                self._behind[key] = request_id

    def behind(self, key: Key | None, kind: str) -> str | None:
        """The request that this happening of a replica follows."""
        if key is None or kind in OF_ITSELF:
            self._behind.pop(key or ("", 0), None)
            return None
        return self._behind.get(key)


def _by_key(state: NodeDesiredState | None) -> dict[Key, ReplicaDesired]:
    return {} if state is None else {replica.key: replica for replica in state.replicas}
