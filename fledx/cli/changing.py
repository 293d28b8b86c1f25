"""Creating and changing deployments, and staying until the change has arrived."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence

from fledx.cli import naming
from fledx.cli.goal import Goal
from fledx.cli.options import Parser, ref, refs, some
from fledx.cli.output import show
from fledx.cli.spec_body import body_of, cleared, merged, needs_current, needs_ports
from fledx.cli.target import connect
from fledx.cli.terminal import Terminal
from fledx.cli.types import replicas_of, some_seconds
from fledx.cli.views.deployments import deployment_screen
from fledx.cli.views.text import harmless
from fledx.cli.waiting import DONE, INTERRUPTED, until
from fledx.client.api import ControlPlane
from fledx.client.asking import Json
from fledx.errors import InvalidSpec


def add_waiting(parser: Parser, default: str = "5m without a step forward; a job that runs: to its end") -> None:
    """Whether to stay, and how long."""
    group = parser.add_argument_group("waiting")
    group.add_argument("--detach", action="store_true", help="do not wait until it has happened")
    group.add_argument(
        "--wait-timeout",
        metavar="TIME",
        type=some_seconds,
        help=f"how long to wait; exit code 3 when it has not happened by then [{default}]",
    )


def create(args: Namespace, terminal: Terminal) -> int:
    """A new deployment."""
    names = refs(args)
    if len(names) > 1:
        raise InvalidSpec("", f"one name, not {', '.join(names)}")
    body = {"name": names[0], **body_of(args)} if names else body_of(args)
    if "image" not in body:
        raise InvalidSpec("", "which image? Give --image, such as --image nginx:1.27")
    warn_of_variables(terminal, [*(args.secret_env or ()), *(args.secret_env_optional or ())])
    api = connect(args, terminal)
    if args.dry_run:
        checked = api.check_deployment(body, configs=args.config or ())
        show(args, terminal, checked, lambda: deployment_screen(checked, terminal.now(), columns=terminal.width))
        return DONE
    made = api.create_deployment(body, pause=terminal.sleep, configs=args.config or ())
    terminal.say(f"{harmless(made['name'])} created")
    return _stay(args, terminal, api, [made])


def update(args: Namespace, terminal: Terminal) -> int:
    """Other fields for a deployment; nested ones are laid over what it has."""
    wanted = ref(args, "deployment")
    api = connect(args, terminal)
    known = naming.deployment(api, wanted) if needs_ports(args) else None
    body = body_of(args, known.get("ports") or () if known else ())
    changes = {**body, **cleared(args, body), **({"name": args.rename} if args.rename else {})}
    if not changes:
        raise InvalidSpec("", "nothing to change: give at least one flag, such as --image or --replicas")
    warn_of_variables(terminal, [*(args.secret_env or ()), *(args.secret_env_optional or ())])
    current = known or naming.deployment(api, wanted)
    generation = args.if_generation
    if needs_current(changes):
        changes = merged(changes, current)
        generation = generation or current["generation"]
    changed = api.patch_deployment(current["deployment_id"], changes, generation=generation)
    terminal.say(f"{harmless(changed['name'])} updated")
    return _stay(args, terminal, api, [changed])


def warn_of_variables(terminal: Terminal, wanted: Sequence[Json]) -> None:
    """A secret in a variable is not as secret as one in a file."""
    if wanted:
        names = ", ".join(harmless(each["name"]) for each in wanted)
        terminal.say(f"`docker inspect` on the node shows what {names} holds; with --secret-file it shows nothing")


def start(args: Namespace, terminal: Terminal) -> int:
    """Let stopped deployments run again."""
    return _tell(args, terminal, some(refs(args), "deployment"), {"desired_state": "running"}, "started")


def stop(args: Namespace, terminal: Terminal) -> int:
    """Stop deployments; they keep their names and places."""
    wanted = some(refs(args), "deployment")
    if not terminal.ask(f"Stop {', '.join(wanted)}?", yes=args.yes):
        terminal.say("nothing was stopped")
        return 1
    return _tell(args, terminal, wanted, {"desired_state": "stopped"}, "told to stop")


def scale(args: Namespace, terminal: Terminal) -> int:
    """Other numbers of replicas: `NAME=3`, or `NAME --replicas 3`."""
    wanted = []
    words = some(refs(args), "deployment")
    number = next((word for word in words if word.isdigit()), "3")
    for word in words:
        if "=" in word:
            wanted.append(_replicas_of(word))
        elif args.replicas is not None:
            wanted.append((word, args.replicas))
        else:
            raise InvalidSpec("", f"how many replicas of {word}? Write {word}={number}")
    api = connect(args, terminal)
    found = [(naming.deployment(api, name), count) for name, count in wanted]
    changed = []
    for deployment, count in found:
        changed.append(api.patch_deployment(deployment["deployment_id"], {"replicas": count}))
        terminal.say(f"{harmless(deployment['name'])} scaled from {deployment['replicas']} to {count}")
    return _stay(args, terminal, api, changed)


def _tell(args: Namespace, terminal: Terminal, wanted: Sequence[str], changes: Json, done: str) -> int:
    api = connect(args, terminal)
    found = [naming.deployment(api, name) for name in wanted]
    changed = []
    for deployment in found:
        changed.append(api.patch_deployment(deployment["deployment_id"], changes))
        terminal.say(f"{harmless(deployment['name'])} {done}")
    return _stay(args, terminal, api, changed)


def rollback(args: Namespace, terminal: Terminal) -> int:
    """Back to an earlier revision."""
    wanted = ref(args, "deployment")
    api = connect(args, terminal)
    current = naming.deployment(api, wanted)
    target = "the last good revision" if args.to is None else f"revision {args.to}"
    question = f"Take {harmless(current['name'])} from revision {current.get('revision')} back to {target}?"
    if not terminal.ask(question, yes=args.yes):
        terminal.say("nothing was changed")
        return 1
    changed = api.rollback_deployment(current["deployment_id"], to=args.to)
    name, before = harmless(changed["name"]), current.get("revision")
    terminal.say(f"{name} goes back from revision {before} to revision {changed['revision']}")
    return _stay(args, terminal, api, [changed])


def restart(args: Namespace, terminal: Terminal) -> int:
    """New containers of the same template."""
    api = connect(args, terminal)
    found = [naming.deployment(api, name) for name in some(refs(args), "deployment")]
    changed = []
    for deployment in found:
        changed.append(api.restart_deployment(deployment["deployment_id"]))
        terminal.say(f"{harmless(deployment['name'])} gets new containers")
    return _stay(args, terminal, api, changed)


def _stay(args: Namespace, terminal: Terminal, api: ControlPlane, changed: Sequence[Json]) -> int:
    """Wait for each in turn, print each; the worst exit code."""
    worst = DONE
    for deployment in changed:
        last = deployment
        if not args.detach:
            goal = Goal(deployment, "stopped" if deployment.get("desired_state") == "stopped" else "running")
            code, last = until(api, terminal, goal, deployment, args.wait_timeout)
            if code == INTERRUPTED:
                return code
            worst = max(worst, code)
        _print(args, terminal, last)
    return worst


def _print(args: Namespace, terminal: Terminal, deployment: Json) -> None:
    def screen() -> str:
        return deployment_screen(deployment, terminal.now(), columns=terminal.width, colour=terminal.colour)

    show(args, terminal, deployment, screen)


def _replicas_of(word: str) -> tuple[str, int]:
    name, _, number = word.partition("=")
    if number.strip() == "0":
        raise InvalidSpec("replicas", f"{name} cannot have none", hint=f"`fledx deployments stop {name}` stops it")
    try:
        return replicas_of(word)
    except ArgumentTypeError as problem:
        raise InvalidSpec("replicas", str(problem)) from None
