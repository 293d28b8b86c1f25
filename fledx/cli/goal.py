"""When a deployment is what was asked for, and when it cannot become it; decided from what is seen, and from when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fledx.cli.views.replicas import Replica, replicas

Json = Mapping[str, Any]
ENDED = ("rolled_back", "failed", "paused")
#: A container that ended that often in a row will hardly stay; the agent tries on all the same.
ENOUGH_RESTARTS = 2
#: A replica that fails for so long is told as failed: a name mistyped is to be seen soon, a hiccup may pass.
PATIENCE = 5.0
#: Without a readiness probe a container is ready the moment it starts; one that dies at once does so within this.
STEADY = 1.0
#: What a spec has as `min_healthy_seconds` whose author said nothing of it; `models.deployment.UpdatePolicy`.
USUAL_HEALTHY = 3.0


class Goal:
    """
    What a change is to lead to: `state` running or stopped, at its generation and revision or a later one.

    Made from the deployment as it was right after the change: what ran then need not prove itself anew, and a rollout
    that had ended by then is old news.
    """

    def __init__(self, deployment: Json, state: str = "running") -> None:
        self.state = state
        self.generation = int(deployment.get("generation", 1))
        self.revision = int(deployment.get("revision", 1))
        self._before = deployment.get("rollout")
        self.is_end = deployment.get("mode") == "job" and not deployment.get("schedule") and state == "running"
        self._is_job = deployment.get("mode") == "job"
        self._was_over = deployment.get("outcome") is not None
        self._hold = 0.0 if _runs(deployment) or _has_readiness(deployment) else steady(deployment)
        self._steady_since: float | None = None
        self._failing: dict[int, float] = {}

    def judge(self, deployment: Json, now: float) -> tuple[str, str]:
        """`reached`, `failed` or `waiting`, and why; to be asked again while time passes (`now`, in seconds)."""
        if deployment.get("generation", 0) < self.generation:
            return "waiting", ""
        if int(deployment.get("revision", 1)) < self.revision:
            return "failed", f"it went back to revision {deployment.get('revision')}: {_reason(deployment)}"
        if deployment.get("desired_state") != self.state:
            return "failed", f"it was told meanwhile to be {deployment.get('desired_state')}"
        if self.state == "stopped":
            return ("reached" if deployment.get("status") == "stopped" else "waiting"), ""
        if self._is_job:
            return self._judge_job(deployment)
        if (ended := self._ended_rollout(deployment)) is not None:
            return "failed", ended
        if self._arrived(deployment, now):
            return "reached", ""
        hopeless = self._hopeless(deployment, now)
        return ("waiting", "") if hopeless is None else ("failed", f"replica {hopeless.number}: {hopeless.message}")

    def _judge_job(self, deployment: Json) -> tuple[str, str]:
        """One that runs once has to succeed, unless it had ended before; one with a schedule is kept by its nodes."""
        if not self.is_end:
            kept = deployment.get("status") == "running"
            broken = deployment.get("status") == "failed"
            return ("reached", "") if kept else ("failed", _reason(deployment)) if broken else ("waiting", "")
        if self._was_over or deployment.get("outcome") == "succeeded":
            return "reached", ""
        return ("failed", _reason(deployment)) if deployment.get("outcome") == "failed" else ("waiting", "")

    def _ended_rollout(self, deployment: Json) -> str | None:
        rollout = deployment.get("rollout")
        if not rollout or rollout == self._before or rollout.get("state") not in ENDED:
            return None
        if rollout.get("state") == "rolled_back" and int(deployment.get("revision", 1)) == self.revision:
            return None
        return f"the update was {str(rollout['state']).replace('_', ' ')}: {_reason(deployment)}"

    def _arrived(self, deployment: Json, now: float) -> bool:
        """Every replica runs what was asked for, and has done so for long enough to believe it."""
        if _finished(deployment):
            return True
        if self.revision > 1 and _rolling(deployment):
            self._steady_since, self._hold = None, min(self._hold, STEADY)  # the rollout has held it for as long
            return False
        if not _runs(deployment):
            self._steady_since = None
            return False
        if self._steady_since is None:
            self._steady_since = now
        return now - self._steady_since >= self._hold

    def _hopeless(self, deployment: Json, now: float) -> Replica | None:
        """A replica that cannot be started or ends again and again, where no rollout will decide about it."""
        if self.revision > 1 and _rolling(deployment):
            return None
        failing = [each for each in replicas(deployment) if each.is_current and _state(each) == "failed"]
        self._failing = {each.number: self._failing.get(each.number, now) for each in failing}
        for each in failing:
            stays_down = deployment.get("restart", "always") == "never"
            restarts = (each.instance or {}).get("restart_count", 0)
            if stays_down or restarts >= ENOUGH_RESTARTS or now - self._failing[each.number] >= PATIENCE:
                return each
        return None


def steady(deployment: Json) -> float:
    """How long one without a readiness probe must run to be believed: what its spec demands where that is not usual."""
    wanted = (deployment.get("update") or {}).get("min_healthy_seconds", USUAL_HEALTHY)
    return STEADY if wanted == USUAL_HEALTHY else float(wanted)


def _state(replica: Replica) -> str | None:
    return None if replica.instance is None else replica.instance.get("state")


def _reason(deployment: Json) -> str:
    return str((deployment.get("rollout") or {}).get("reason") or deployment.get("reason") or "no reason was given")


def _has_readiness(deployment: Json) -> bool:
    return bool((deployment.get("health") or {}).get("readiness"))


def _runs(deployment: Json) -> bool:
    """All replicas at the present revision and ready."""
    complete = not deployment.get("unplaced_replicas")
    enough = deployment.get("ready_replicas", 0) >= max(1, deployment.get("replicas", 1))
    return complete and enough and deployment.get("status") == "running"


def _rolling(deployment: Json) -> bool:
    return bool((deployment.get("rollout") or {}).get("state") == "progressing")


def _finished(deployment: Json) -> bool:
    """Every replica of a deployment that is not started again ended well."""
    if deployment.get("restart", "always") == "always":
        return False
    found = replicas(deployment)
    return bool(found) and all(each.is_current and _ended_well(each) for each in found)


def _ended_well(replica: Replica) -> bool:
    return _state(replica) == "stopped" and (replica.instance or {}).get("exit_code") == 0
