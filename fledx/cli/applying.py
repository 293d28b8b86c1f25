"""Specs out of files: what the control plane is to have, by name, whatever it has now."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fledx.cli.goal import Goal
from fledx.cli.output import document, is_document
from fledx.cli.target import connect
from fledx.cli.terminal import Terminal
from fledx.cli.views.differences import Difference, differences
from fledx.cli.views.files import read_documents
from fledx.cli.views.spec import asked_for
from fledx.cli.views.text import harmless
from fledx.cli.waiting import DONE, INTERRUPTED, until, why_not
from fledx.client.api import ControlPlane
from fledx.client.asking import Json
from fledx.errors import InvalidSpec
from fledx.models.codec import decode, decode_lenient, encode
from fledx.models.deployment import DeploymentSpec

STDIN = "-"


@dataclass(frozen=True, kw_only=True)
class Step:
    """
    One deployment on its way to what a file says; `body` is what the file holds.

    `action` is create, change or none; `known` is the deployment as it was found, or as it has become.
    """

    name: str
    body: Json
    action: str
    changes: Sequence[Difference] = ()
    known: Json | None = None

    def encoded(self) -> Json:
        """For programs."""
        changes = [{"path": each.path, "before": each.before, "after": each.after} for each in self.changes]
        told = {"name": self.name, "action": self.action, "changes": changes}
        known = self.known or {}
        return told | {key: known[key] for key in ("deployment_id", "generation", "revision", "status") if key in known}


def apply(args: Namespace, terminal: Terminal) -> int:
    """Create what is not there, replace what is different, leave the rest alone; the worst exit code."""
    wanted = _wanted([*args.files, *(args.file or ())], terminal)
    api = connect(args, terminal)
    steps = [_compared(api, spec, body) for spec, body in wanted]
    act = _tried if args.dry_run else _taken
    done = []
    for step in steps:
        done.append(act(api, terminal, step))
        _tell(args, terminal, done[-1], tense="would be " if args.dry_run else "")
    code = DONE if args.dry_run or args.detach else _stay(args, terminal, api, done)
    if is_document(args):
        terminal.data(document({"items": [step.encoded() for step in done]}, args.output))
    return code


def _wanted(files: Sequence[str], terminal: Terminal) -> list[tuple[DeploymentSpec, Json]]:
    """Every spec of every file, all of them right, or InvalidSpec with all faults of the first that is not."""
    if not files:
        raise InvalidSpec("", "which file? Give -f FILE, or -f - for stdin")
    found: dict[str, tuple[DeploymentSpec, Json]] = {}
    for source in dict.fromkeys(files):
        told = "stdin" if source == STDIN else source
        for number, body in enumerate(read_documents(_content(source, terminal), told), 1):
            spec = _decoded(body, f"{told}, document {number}")
            if spec.name.lower() in found:
                raise InvalidSpec("", f"{told}, document {number}: {spec.name} is described twice")
            found[spec.name.lower()] = spec, body
    if not found:
        raise InvalidSpec("", f"there is no spec in {', '.join(files)}")
    return list(found.values())


def _content(source: str, terminal: Terminal) -> bytes:
    if source == STDIN:
        raw = getattr(terminal.inp, "buffer", None)
        return bytes(raw.read() if raw is not None else terminal.inp.read().encode())
    try:
        return Path(source).read_bytes()
    except OSError as problem:
        raise InvalidSpec("", f"{source} cannot be read: {(problem.strerror or str(problem)).lower()}") from None


def _decoded(body: Any, where: str) -> DeploymentSpec:
    if not isinstance(body, dict):
        raise InvalidSpec("", f"{where} is not a spec: it has no fields", hint="`fledx deployments export` writes one")
    problems = [] if body.get("name") else [("name", "is missing: it says which deployment this is")]
    try:
        spec = decode(DeploymentSpec, body)
    except InvalidSpec as fault:
        problems += [each for each in fault.problems if each[0] != "name" or not problems]
    if problems:
        raise InvalidSpec.of([(f"{where}: {path}" if path else where, text) for path, text in problems])
    return spec


def _compared(api: ControlPlane, spec: DeploymentSpec, body: Json) -> Step:
    """By its very name: a name may look like the beginning of another one's id."""
    found = [each for each in api.deployments({"name": spec.name}).items if each["name"].lower() == spec.name.lower()]
    if not found:
        return Step(name=spec.name, body=body, action="create")
    before = encode(decode_lenient(DeploymentSpec, asked_for(found[0])))
    if spec.restarted_at is None:
        before.pop("restarted_at", None)  # a file that says nothing of it restarts nothing
    changes = differences(before, encode(spec))
    return Step(name=spec.name, body=body, action="change" if changes else "none", changes=changes, known=found[0])


def _tried(api: ControlPlane, terminal: Terminal, step: Step) -> Step:
    if step.action != "create":
        return step
    return Step(name=step.name, body=step.body, action=step.action, known=api.check_deployment(step.body))


def _taken(api: ControlPlane, terminal: Terminal, step: Step) -> Step:
    if step.action == "none":
        return step
    if step.known is None:
        known = api.create_deployment(step.body, pause=terminal.sleep)
    else:
        known = api.put_deployment(step.known["deployment_id"], step.body, generation=step.known["generation"])
    return Step(name=step.name, body=step.body, action=step.action, changes=step.changes, known=known)


def _tell(args: Namespace, terminal: Terminal, step: Step, *, tense: str) -> None:
    if is_document(args):
        return
    name = harmless(step.name)
    if args.output == "name" or (args.quiet and args.output is None):
        terminal.data(name)
        return
    words = {"create": f"{tense}created", "change": f"{tense}changed", "none": "unchanged"}
    lines = [f"{name} {words[step.action]}", *(f"  {each}" for each in step.changes)]
    if tense and step.action == "create":
        lines += [f"  {line}" for line in why_not({**(step.known or {}), "instances": []}) if "pending" in line]
    terminal.data("\n".join(lines))


def _stay(args: Namespace, terminal: Terminal, api: ControlPlane, done: list[Step]) -> int:
    """Wait for each that was changed, in turn; the worst exit code."""
    worst = DONE
    for i, step in enumerate(done):
        if step.action == "none" or step.known is None:
            continue
        goal = Goal(step.known, "stopped" if step.known.get("desired_state") == "stopped" else "running")
        code, last = until(api, terminal, goal, step.known, args.wait_timeout)
        if code == INTERRUPTED:
            return code
        done[i] = Step(name=step.name, body=step.body, action=step.action, changes=step.changes, known=last)
        worst = max(worst, code)
    return worst
