"""What the database keeps of a rollout: what is shown of it, and what `rollout/` must remember."""

from __future__ import annotations

from typing import Any

from fledx.control_plane.rollout.state import RolloutState
from fledx.control_plane.store.deployments import Stored
from fledx.models.codec import decode_lenient, encode
from fledx.models.moment import stamp


def kept(stored: Stored) -> RolloutState | None:
    """The state as it was stored; None for a deployment that has not been looked at yet."""
    found = (stored.rollout or {}).get("kept")
    return None if found is None else decode_lenient(RolloutState, found)


def stored_as(state: RolloutState) -> dict[str, Any]:
    """The state as it is stored; the fields beside `kept` are what the API shows."""
    shown = {
        "state": state.phase,
        "reason": state.reason,
        "since": stamp(state.started_at),
        "waits_for": state.waits_for,
    }
    return {**{name: value for name, value in shown.items() if value is not None}, "kept": encode(state)}
