"""Staying until a deployment is what was asked for, or cannot become it, or time is up."""

from __future__ import annotations

from fledx.cli.changes import Changes
from fledx.cli.progress import Progress
from fledx.cli.terminal import Terminal
from fledx.cli.views.replicas import Replica, replicas
from fledx.cli.views.text import counted, harmless, harmless_line, span
from fledx.client.api import ControlPlane, Json
from fledx.errors import FledxError

DONE, FAILED, NOT_REACHED, INTERRUPTED = 0, 1, 3, 130
ENDED = ("rolled_back", "failed", "paused")
#: A container that ended that often in a row will hardly stay; the agent tries on all the same.
ENOUGH_RESTARTS = 2
LOOK = 1.0
LOG_LINES = 10
LOG_SECONDS = 3.0


class Goal:
    """
    What a change is to lead to: `state` running or stopped, at its generation and revision or a later one.

    `before` is the rollout that the deployment showed when it was changed: if it had ended by then, it is old news.
    """

    def __init__(self, deployment: Json, state: str = "running") -> None:
        self.state = state
        self.generation = int(deployment.get("generation", 1))
        self.revision = int(deployment.get("revision", 1))
        self.before = deployment.get("rollout")

    def judge(self, deployment: Json) -> tuple[str, str]:
        """`reached`, `failed` or `waiting`, and why; a deployment as it was before the change only waits."""
        if deployment.get("generation", 0) < self.generation:
            return "waiting", ""
        if deployment.get("desired_state") != self.state:
            return "failed", f"it was told meanwhile to be {deployment.get('desired_state')}"
        reason = str(deployment.get("reason") or "")
        if self.state == "stopped":
            return ("reached", "") if deployment.get("status") == "stopped" else ("waiting", reason)
        if (ended := self._ended_rollout(deployment)) is not None:
            return "failed", ended
        if _runs(deployment) or _finished(deployment):
            return "reached", ""
        if deployment.get("status") == "failed" and (hopeless := _hopeless(deployment)) is not None:
            return "failed", f"replica {hopeless.number}: {hopeless.why or reason}"
        return "waiting", reason

    def _ended_rollout(self, deployment: Json) -> str | None:
        rollout = deployment.get("rollout")
        if not rollout or rollout == self.before or rollout.get("state") not in ENDED:
            return None
        if rollout.get("revision", 0) < self.revision:
            return None
        return f"the update was {str(rollout['state']).replace('_', ' ')}: {rollout.get('reason') or 'no reason given'}"


def _runs(deployment: Json) -> bool:
    wanted = deployment.get("replicas", 1)
    complete = not deployment.get("unplaced_replicas") and deployment.get("ready_replicas", 0) >= wanted
    rolling = (deployment.get("rollout") or {}).get("state") == "progressing"
    return complete and not rolling and deployment.get("status") == "running"


def _finished(deployment: Json) -> bool:
    """Every replica of a deployment that is not started again ended well."""
    if deployment.get("restart", "always") == "always":
        return False
    found = replicas(deployment)
    return bool(found) and all(each.is_current and _ended_well(each) for each in found)


def _ended_well(replica: Replica) -> bool:
    instance = replica.instance or {}
    return instance.get("state") == "stopped" and instance.get("exit_code") == 0


def _hopeless(deployment: Json) -> Replica | None:
    """A replica of the current revision that could not be started, or that was and ended again and again."""
    for each in replicas(deployment):
        instance = each.instance or {}
        if not each.is_current or instance.get("state") != "failed":
            continue
        never_ran = instance.get("exit_code") is None
        stays_down = deployment.get("restart", "always") == "never"
        if never_ran or stays_down or instance.get("restart_count", 0) >= ENOUGH_RESTARTS:
            return each
    return None


def until(api: ControlPlane, terminal: Terminal, goal: Goal, deployment: Json, limit: float) -> tuple[int, Json]:
    """
    Watch until the goal is reached, with progress on stderr; the exit code, and the deployment as it was seen last.

    A control plane that goes away meanwhile is waited for; Ctrl-C only ends the watching.
    """
    watch = _Watch(api, terminal, goal, deployment, limit)
    try:
        code = watch.run()
    except KeyboardInterrupt:
        name = harmless(deployment["name"])
        terminal.say(f"\ndetached; {name} goes on: look again with `fledx deployments watch {name}`")
        code = INTERRUPTED
    finally:
        watch.close()
    return code, watch.deployment


class _Watch:
    def __init__(self, api: ControlPlane, terminal: Terminal, goal: Goal, deployment: Json, limit: float) -> None:
        self._api = api
        self._terminal = terminal
        self._goal = goal
        self._limit = limit
        self._deadline = terminal.clock() + limit
        self._progress = Progress(terminal)
        self._changes = Changes(api, terminal, str(deployment["deployment_id"]), self._progress.note)
        self.deployment = deployment

    def run(self) -> int:
        while (left := self._deadline - self._terminal.clock()) > 0:
            for event in self._changes.next(min(left, LOOK)):
                if event.kind == "gone":
                    self._terminal.complain(f"{harmless(self.deployment['name'])} was deleted meanwhile")
                    return FAILED
                self.deployment = event.data
                if (code := self._settled()) is not None:
                    return code
            self._progress.show(self.deployment)
        return self._not_reached()

    def close(self) -> None:
        self._changes.close()

    def _settled(self) -> int | None:
        verdict, why = self._goal.judge(self.deployment)
        if verdict == "waiting":
            return None
        self._progress.show(self.deployment)
        self._progress.end()
        if verdict == "reached":
            return DONE
        self._terminal.complain(f"{harmless(self.deployment['name'])} failed: {harmless(why)}")
        last_lines(self._api, self._terminal, self.deployment)
        return FAILED

    def _not_reached(self) -> int:
        self._progress.end()
        name = harmless(self.deployment["name"])
        self._terminal.complain(f"{name} is not {self._goal.state} after {span(self._limit)}")
        for line in why_not(self.deployment):
            self._terminal.say(f"  {line}")
        self._terminal.say(f"it is tried further; look again with `fledx deployments show {name}`")
        return NOT_REACHED


def why_not(deployment: Json) -> list[str]:
    """One line for each reason, with the replicas it holds back."""
    reasons: dict[str, list[int]] = {}
    for each in replicas(deployment):
        if each.state != "running":
            told = f"{each.state}: {each.why}" if each.why else each.state
            reasons.setdefault(f"{told} (on {each.node})" if each.node != "-" else told, []).append(each.number)
    return [f"{_numbered(numbers)} {reason}" for reason, numbers in reasons.items()]


def _numbered(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"replica {numbers[0]}"
    return counted(len(numbers), "replica")


def last_lines(api: ControlPlane, terminal: Terminal, deployment: Json) -> None:
    """What the failed replica wrote last, to stderr; nothing where that cannot be had."""
    failed = [each.number for each in replicas(deployment) if (each.instance or {}).get("state") == "failed"]
    if not failed:
        return
    try:
        stream = api.logs([str(deployment["deployment_id"])], {"replica": failed[0], "tail": LOG_LINES})
        lines: list[Json] = []
        deadline = terminal.clock() + LOG_SECONDS
        while not stream.ended and (left := deadline - terminal.clock()) > 0:
            lines += [line for line in stream.take(left) if "line" in line]
        stream.close()
    except FledxError:
        return
    if lines:
        terminal.say(f"last lines of {harmless(deployment['name'])}/{failed[0]}:")
    for line in lines[-LOG_LINES:]:
        terminal.say(f"  {harmless_line(str(line['line']))}")
