"""`deployments watch`: a line for each change of one deployment until it is settled, with its logs beside if wanted."""

from __future__ import annotations

import threading
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from fledx.cli import naming
from fledx.cli.changes import Changes
from fledx.cli.following import Printer, follow
from fledx.cli.goal import Goal
from fledx.cli.progress import row
from fledx.cli.target import connect
from fledx.cli.terminal import Terminal
from fledx.cli.views.deployments import ready, rollout
from fledx.cli.views.documents import as_json_line
from fledx.cli.views.replicas import replicas
from fledx.cli.views.text import harmless
from fledx.cli.waiting import DONE, FAILED, NOT_REACHED, tell_failure
from fledx.client.api import ControlPlane
from fledx.client.asking import Json
from fledx.errors import FledxError

LOOK = 0.5


def watch(args: Namespace, terminal: Terminal, ref: str) -> int:
    """
    Print changes until the deployment runs, is stopped or has failed; the exit code tells which.

    With `--follow-logs` it goes on until Ctrl-C, the time limit or the deployment's end.
    """
    api = connect(args, terminal)
    deployment = naming.deployment(api, ref)
    if args.follow_logs:
        _start_logs(args, terminal, deployment)
    limit = args.max_runtime
    deadline = None if limit is None else terminal.clock() + limit
    lines = Lines(terminal, raw=args.output in ("json", "yaml"))
    goal = Goal(deployment, "stopped" if deployment.get("desired_state") == "stopped" else "running")
    changes = Changes(api, terminal, deployment["deployment_id"], lambda text: terminal.say(harmless(text)))
    while deadline is None or terminal.clock() < deadline:
        for event in changes.next(LOOK if deadline is None else min(LOOK, max(deadline - terminal.clock(), 0))):
            if event.kind == "gone":
                terminal.say(f"{harmless(deployment['name'])} was deleted")
                return DONE if args.follow_logs else FAILED
            deployment = event.data
            lines.show(deployment)
        if not args.follow_logs and (code := settled(api, terminal, goal, deployment)) is not None:
            return code
    terminal.say(f"{harmless(deployment['name'])} is still {harmless(deployment['status'])}; the time is over")
    return DONE if args.follow_logs else NOT_REACHED


def settled(api: ControlPlane, terminal: Terminal, goal: Goal, deployment: Json) -> int | None:
    """The exit code of a deployment that will not change by itself; None while it may."""
    verdict, why = goal.judge(deployment, terminal.clock())
    stuck = deployment.get("rollout") or {}
    if verdict == "waiting" and stuck.get("state") in ("failed", "paused"):
        verdict, why = "failed", f"its update is {stuck['state']}: {stuck.get('reason')}"
    if verdict == "waiting":
        return None
    if verdict == "reached":
        return DONE
    tell_failure(api, terminal, deployment, why)
    return FAILED


class Lines:
    """One line a change; a repetition of what was just printed is left out."""

    def __init__(self, terminal: Terminal, *, raw: bool) -> None:
        self._terminal = terminal
        self._raw = raw
        self._last = ""

    def show(self, deployment: Json) -> None:
        """Print it if it is news."""
        text = as_json_line(deployment) if self._raw else line(deployment)
        if text != self._last:
            self._last = text
            at = str(deployment.get("last_reported") or deployment.get("updated_at") or "-")
            self._terminal.data(text if self._raw else f"{harmless(at)}  {text}")


def line(deployment: Mapping[str, Any]) -> str:
    """`generation 3  deploying  1/2 ready  0: edge-1  running; 1: edge-2  pending  pulling`."""
    states = [f"{each.number}: {row(each)}" for each in replicas(deployment)]
    parts = [f"generation {deployment.get('generation')}", str(deployment["status"]), f"{ready(deployment)} ready"]
    return harmless("  ".join(filter(None, [*parts, rollout(deployment.get("rollout")) or "", "; ".join(states)])))


def _start_logs(args: Namespace, terminal: Terminal, deployment: Json) -> None:
    """Its output from now on, by a connection of its own, for as long as this process lives."""
    flags = Namespace(output=args.output, no_prefix=False, timestamps=False)
    printer = Printer(terminal, flags, [deployment])
    api = connect(args, terminal)

    def run() -> None:
        try:
            follow(api, terminal, printer, [deployment["deployment_id"]], {"follow": True, "tail": 10})
        except FledxError as fault:
            terminal.say(f"no more logs: {harmless(fault.text)}")

    threading.Thread(target=run, daemon=True).start()
