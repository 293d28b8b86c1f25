"""Staying until a deployment is what was asked for, or cannot become it, or time is up."""

from __future__ import annotations

import math

from fledx.cli.changes import Changes
from fledx.cli.goal import Goal, steady
from fledx.cli.progress import Progress
from fledx.cli.terminal import Terminal
from fledx.cli.views.replicas import replicas
from fledx.cli.views.text import brief, counted, further, harmless, harmless_line, span
from fledx.client.api import ControlPlane
from fledx.client.asking import Json
from fledx.errors import FledxError
from fledx.models.instance import ARRIVING

DONE, FAILED, NOT_REACHED, INTERRUPTED = 0, 1, 3, 130
WAIT_TIMEOUT = 300.0
LOOK = 0.5
#: A rollout is judged by the control plane at its next look after its deadline.
GRACE = 30.0
LOG_LINES = 10
LOG_SECONDS = 3.0


def until(api: ControlPlane, terminal: Terminal, goal: Goal, deployment: Json, limit: float | None) -> tuple[int, Json]:
    """
    Watch until the goal is reached, with progress on stderr; the exit code, and the deployment as it was seen last.

    No `limit` is five minutes without a step forward, and as long as the control plane itself has patience with a
    rollout, so that its end is seen; a job which runs by then is waited for as long as it runs.
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
    def __init__(
        self, api: ControlPlane, terminal: Terminal, goal: Goal, deployment: Json, limit: float | None
    ) -> None:
        self._api = api
        self._terminal = terminal
        self._goal = goal
        self._to_the_end = goal.is_end and limit is None
        self._limit = limit
        self._begun = terminal.clock()
        self._deadline = self._begun + (WAIT_TIMEOUT if limit is None else limit)
        self._furthest = way(deployment)
        self._progress = Progress(terminal)
        self._changes = Changes(api, terminal, str(deployment["deployment_id"]), self._progress.note)
        self._seen = False
        self.deployment = deployment

    def run(self) -> int:
        while (left := self._deadline - self._terminal.clock()) > 0:
            for event in self._changes.next(min(left, LOOK)):
                if event.kind == "gone":
                    self._terminal.complain(f"{harmless(self.deployment['name'])} was deleted meanwhile")
                    return FAILED
                self.deployment = event.data
                self._seen = True
                self._stay_longer()
            self._progress.show(self.deployment)
            if self._seen and (code := self._settled()) is not None:
                return code
        return self._not_reached()

    def close(self) -> None:
        self._changes.close()

    def _stay_longer(self) -> None:
        """Nobody said how long: what moves on is waited for, and what the control plane will decide about."""
        if self._limit is not None:
            return
        if self._to_the_end and self.deployment.get("ready_replicas"):
            self._deadline = math.inf
        now = way(self.deployment)
        if any(new > old for new, old in zip(now, self._furthest, strict=True)):
            self._deadline = max(self._deadline, self._terminal.clock() + patience(self.deployment))
        else:
            self._deadline = max(self._deadline, self._begun + patience(self.deployment))
        self._furthest = tuple(max(new, old) for new, old in zip(now, self._furthest, strict=True))

    def _settled(self) -> int | None:
        verdict, why = self._goal.judge(self.deployment, self._terminal.clock())
        if verdict == "waiting":
            return None
        self._progress.end()
        if verdict == "reached":
            return DONE
        tell_failure(self._api, self._terminal, self.deployment, why)
        return FAILED

    def _not_reached(self) -> int:
        self._progress.end()
        name = harmless(self.deployment["name"])
        waited = self._terminal.clock() - self._begun if self._limit is None else self._limit
        going_on = self._goal.state == self.deployment.get("status") == "running"
        lacks = "has not finished its update" if going_on else f"is not {self._goal.state}"
        self._terminal.complain(f"{name} {lacks} after {span(waited)}")
        for line in why_not(self.deployment):
            self._terminal.say(f"  {line}")
        self._terminal.say(f"it is tried further; look again with `fledx deployments show {name}`")
        return NOT_REACHED


def patience(deployment: Json) -> float:
    """How long it may stand still, in seconds; of a rollout at least until the control plane has given it up."""
    usual = max(WAIT_TIMEOUT, steady(deployment) + GRACE)
    if (deployment.get("rollout") or {}).get("state") != "progressing":
        return usual
    limit = (deployment.get("update") or {}).get("progress_deadline_seconds") or 0.0
    return max(usual, float(limit) + GRACE)


def way(deployment: Json) -> tuple[int, ...]:
    """Numbers that grow as it gets on: replicas that were updated, those that are ready, images that arrive."""
    updated = (deployment.get("rollout") or {}).get("updated", 0)
    arriving = [ARRIVING.match(str(each.get("message") or "")) for each in deployment.get("instances") or ()]
    return updated, deployment.get("ready_replicas", 0), sum(int(found[1]) for found in arriving if found)


def why_not(deployment: Json) -> list[str]:
    """One line for each reason, with the replicas it holds back; where all run, what its rollout waits for."""
    reasons: dict[str, list[int]] = {}
    for each in replicas(deployment):
        if each.state != "running":
            told = f"{each.state}: {each.why}" if each.why else each.state
            reasons.setdefault(f"{told} (on {each.node})" if each.node != "-" else told, []).append(each.number)
    waits = (deployment.get("rollout") or {}).get("waits_for")
    return [f"{_numbered(numbers)} {reason}" for reason, numbers in reasons.items()] or (
        [harmless(waits)] if waits else []
    )


def _numbered(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"replica {numbers[0]}"
    return counted(len(numbers), "replica")


def tell_failure(api: ControlPlane, terminal: Terminal, deployment: Json, why: str) -> None:
    """The reason, and what the container wrote last: by the agent's own message, else from its logs."""
    terminal.complain(f"{harmless(deployment['name'])} failed: {brief(why).removesuffix(' …')}")
    for line in further(why):
        terminal.say(f"  {line}")
    if not further(why):
        last_lines(api, terminal, deployment)


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
