"""`fledx deployments`: ask for containers, see them run, change and stop them."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from fledx.cli import types
from fledx.cli.options import Parser, add_ref, complete, ref, refs, some
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb

STATUSES = ("pending", "deploying", "running", "stopped", "failed")
LAST_EVENTS = 8


def add_filters(parser: Parser) -> None:
    """What narrows a list of deployments."""
    parser.add_argument("--status", choices=STATUSES, help="only those in this state")
    parser.add_argument(
        "--label", metavar="KEY=VALUE", type=types.label, action="append", help="only those with this label; repeatable"
    )
    complete("node", parser.add_argument("--node", metavar="NODE", help="only those with a replica on this node"))


def add_paging(parser: Parser) -> None:
    """A part of a list instead of the whole."""
    parser.add_argument("--limit", metavar="N", type=types.count, help="at most so many [all]")
    parser.add_argument("--offset", metavar="N", type=types.whole, default=0, help="leave out so many first [0]")


def list_flags(parser: Parser) -> None:
    add_filters(parser)
    parser.add_argument("--name", metavar="NAME", help="only the one of this name")
    add_paging(parser)


def list_them(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.listing import show_deployments

    return show_deployments(args, terminal, name=args.name)


def status_flags(parser: Parser) -> None:
    add_ref(parser, "deployment", many=True)
    add_filters(parser)
    add_paging(parser)


def status(args: Namespace, terminal: Terminal) -> int:
    if refs(args):
        return show(args, terminal)
    from fledx.cli.listing import show_deployments

    return show_deployments(args, terminal, summary=True)


def show_flags(parser: Parser) -> None:
    add_ref(parser, "deployment", many=True)
    parser.add_argument("--env", action="store_true", help="where each variable and file is from, values masked")
    parser.add_argument("--replica", metavar="N", type=types.whole, default=0, help="for --env: this replica's [0]")


def show_environment(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import naming, output
    from fledx.cli.target import connect
    from fledx.cli.views.configs import environment_screen

    api = connect(args, terminal)
    for name in some(refs(args), "deployment"):
        found = api.environment(naming.deployment(api, name)["deployment_id"], args.replica)
        output.show(args, terminal, found, lambda found=found: environment_screen(found))  # type: ignore[misc]
    return 0


def show(args: Namespace, terminal: Terminal) -> int:
    if getattr(args, "env", False):
        return show_environment(args, terminal)
    from fledx.cli import naming, output
    from fledx.cli.target import connect
    from fledx.cli.views.deployments import deployment_screen

    wanted = some(refs(args), "deployment")
    api = connect(args, terminal)
    for name in wanted:
        found = naming.deployment(api, name)
        asks = not output.is_document(args) and args.output != "name" and not args.quiet
        events = api.events({"deployment": found["deployment_id"], "limit": LAST_EVENTS}) if asks else []

        def screen(found: dict[str, Any] = found, events: list[dict[str, Any]] = events) -> str:
            return deployment_screen(
                found, terminal.now(), events=events, columns=terminal.width, colour=terminal.colour
            )

        output.show(args, terminal, found, screen)
    return 0


def export_flags(parser: Parser) -> None:
    add_ref(parser, "deployment", many=True)


def export(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import naming, output
    from fledx.cli.target import connect
    from fledx.cli.views.spec import asked_for

    wanted = some(refs(args), "deployment")
    api = connect(args, terminal)
    specs = [asked_for(naming.deployment(api, name)) for name in wanted]
    if args.output == "json":
        terminal.data(output.document(specs if len(specs) > 1 else specs[0], "json"))
    else:
        terminal.data("---\n".join(output.document(spec, "yaml") for spec in specs))
    return 0


def apply_flags(parser: Parser) -> None:
    from fledx.cli.changing import add_waiting

    parser.add_argument("files", metavar="FILE", nargs="*", help="files of specs, YAML or JSON; - is stdin")
    parser.add_argument("-f", "--file", metavar="FILE", action="append", help="the same; repeatable")
    parser.add_argument("--dry-run", action="store_true", help="only show what would change")
    add_waiting(parser)


def apply(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import applying

    return applying.apply(args, terminal)


def create_flags(parser: Parser) -> None:
    from fledx.cli.changing import add_waiting
    from fledx.cli.spec_flags import add_spec

    add_name(parser)
    add_spec(parser)
    complete(
        "config",
        parser.add_argument("--config", metavar="CONFIG", action="append", help="attach this config; repeatable"),
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would come of it, and do nothing")
    add_waiting(parser)


def add_name(parser: Parser) -> None:
    parser.add_argument("refs", metavar="NAME", nargs="?", help="its name [the image's]")
    parser.add_argument("--name", metavar="NAME", action="append", help="the same")
    parser.set_defaults(id=None)


def create(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import changing

    return changing.create(args, terminal)


def update_flags(parser: Parser) -> None:
    from fledx.cli.changing import add_waiting
    from fledx.cli.spec_flags import add_clear, add_spec

    place = parser.add_argument("refs", metavar="DEPLOYMENT", nargs="?", help="name, id or its beginning")
    by_id = parser.add_argument("--id", metavar="ID", action="append", help="the same")
    complete("deployment", place, by_id)
    parser.add_argument("--name", dest="rename", metavar="NAME", help="another name for it")
    add_spec(parser)
    add_clear(parser)
    parser.add_argument("--if-generation", metavar="N", type=types.count, help="only if it is still at this generation")
    add_waiting(parser)


def update(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import changing

    return changing.update(args, terminal)


def stop_flags(parser: Parser) -> None:
    start_flags(parser)
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def stop(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import changing

    return changing.stop(args, terminal)


def start_flags(parser: Parser) -> None:
    from fledx.cli.changing import add_waiting

    add_ref(parser, "deployment", many=True)
    add_waiting(parser)


def start(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import changing

    return changing.start(args, terminal)


def scale_flags(parser: Parser) -> None:
    start_flags(parser)
    parser.add_argument("--replicas", metavar="N", type=types.count, help="how many, for names without a number")


def scale(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import changing

    return changing.scale(args, terminal)


def history_flags(parser: Parser) -> None:
    add_ref(parser, "deployment")


def history(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import naming, output
    from fledx.cli.target import connect
    from fledx.cli.views.revisions import revision_table

    api = connect(args, terminal)
    found = api.revisions(naming.deployment(api, ref(args, "deployment"))["deployment_id"])
    output.show(
        args,
        terminal,
        found.encoded(),
        lambda: revision_table(found.items, terminal.now(), columns=terminal.width, colour=terminal.colour),
    )
    return 0


def rollback_flags(parser: Parser) -> None:
    from fledx.cli.changing import add_waiting

    add_ref(parser, "deployment")
    parser.add_argument("--to", metavar="N", type=types.count, help="this revision [the last good one]")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    add_waiting(parser)


def rollback(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import changing

    return changing.rollback(args, terminal)


def restart(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import changing

    return changing.restart(args, terminal)


def delete_flags(parser: Parser) -> None:
    add_ref(parser, "deployment", many=True)
    parser.add_argument("--if-generation", metavar="N", type=types.count, help="only if it is still at this generation")
    parser.add_argument("--volumes", action="store_true", help="delete the data in its volumes by name, too, for good")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def delete(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import naming
    from fledx.cli.target import connect
    from fledx.cli.views.text import counted, harmless

    wanted = some(refs(args), "deployment")
    api = connect(args, terminal)
    found = [naming.deployment(api, name) for name in wanted]
    told = ", ".join(f"{harmless(each['name'])} ({counted(each['replicas'], 'replica')})" for each in found)
    data = " and all data in their volumes" if args.volumes else ""
    if not terminal.ask(f"Delete {told}{data}?", yes=args.yes, for_good=args.volumes):
        terminal.say("nothing was deleted")
        return 1
    for each in found:
        api.delete_deployment(each["deployment_id"], generation=args.if_generation, volumes=args.volumes)
        terminal.say(f"{harmless(each['name'])} deleted")
    return 0


def watch_flags(parser: Parser) -> None:
    add_ref(parser, "deployment")
    parser.add_argument("--follow-logs", action="store_true", help="print its output too, until Ctrl-C")
    parser.add_argument("--max-runtime", metavar="TIME", type=types.some_seconds, help="end after this time [never]")
    for flag in ("--poll-interval", "--max-interval", "--follow-logs-interval"):
        parser.add_argument(
            flag, metavar="TIME", type=types.some_seconds, help="accepted; changes arrive by themselves"
        )


def watch(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import settling

    wanted = ref(args, "deployment")
    if terminal.full_screen and args.output is None and args.max_runtime is None:
        from fledx.cli import naming
        from fledx.cli.live import show
        from fledx.cli.target import connect

        return show.one(args, terminal, naming.deployment(connect(args, terminal), wanted)["deployment_id"])
    return settling.watch(args, terminal, wanted)


def logs_flags(parser: Parser) -> None:
    add_ref(parser, "deployment", many=True)
    parser.add_argument("--resource-id", metavar="ID", action="append", help="the same as --id")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    parser.add_argument(
        "--since", metavar="TIME", type=types.moment, help="from here on: a time, or how long ago (10m)"
    )
    parser.add_argument("--until", metavar="TIME", type=types.moment, help="up to here")
    parser.add_argument(
        "-n", "--tail", metavar="N", type=types.whole, help="the last N lines of each replica [all of them]"
    )
    parser.add_argument("-t", "--timestamps", action="store_true", help="when each line was written")
    parser.add_argument("--replica", metavar="N", type=types.whole, help="of this replica alone")
    parser.add_argument("--no-prefix", action="store_true", help="the lines alone, without name/replica")


def logs(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import following

    return following.logs(args, terminal)


CREATE_EXAMPLES = """\
examples:
  fledx deployments create --name web --image nginx:latest --replicas 2 --port 80
  fledx deployments create web --image nginx:latest --port 8080:80 --health-http /
  fledx deployments create tick --image alpine:3 --command "sh -c 'while date; do sleep 5; done'"
  fledx deployments create tick --image alpine:3 -- sh -c 'while date; do sleep 5; done'
  fledx deployments create tick --image postgres:17 --entrypoint sh -- -c 'while date; do sleep 5; done'

It ends with 0 when all replicas run, 1 when they cannot, 3 when they do not in time, 130 at Ctrl-C, which only stops
the watching. Without a readiness probe one must have run for a second, or for a --min-healthy that is not the usual."""
UPDATE_EXAMPLES = """\
examples:
  fledx deployments update web --image nginx:1.28
  fledx deployments update web --limit-memory 256Mi --clear-env

What is not given stays as it is: the defaults in brackets are those of a new deployment.
A list or a map that is given, such as --env or --port, replaces the old one; of limits, constraints, placement, health
and update each flag changes its own part."""
APPLY_EXAMPLES = """\
examples:
  fledx deployments export web api > shop.yaml
  fledx deployments apply -f shop.yaml --dry-run
  fledx deployments apply -f shop.yaml

A file holds specs as `export` writes them, several of them divided by lines of `---`. Each is created if there is no
deployment of its name, else replaced as a whole: what the file does not say is as if it had never been asked for. One
that is already so is left alone. Nothing is deleted. It ends as `create` does."""
LOGS_EXAMPLES = """\
examples:
  fledx logs web --follow --tail 20
  fledx logs --since 10m --timestamps"""

VERBS = {
    "create": Verb(create, "ask for a new deployment and see it run", create_flags, rest=True, epilog=CREATE_EXAMPLES),
    "list": Verb(list_them, "all deployments, a line each", list_flags),
    "status": Verb(status, "how many are in which state, and all of them", status_flags),
    "show": Verb(show, "what was asked, where it runs, what happened last, why not", show_flags),
    "update": Verb(update, "change it and see the change arrive", update_flags, rest=True, epilog=UPDATE_EXAMPLES),
    "rollback": Verb(rollback, "go back to an earlier revision and see it arrive", rollback_flags),
    "restart": Verb(restart, "new containers of the same, step by step", start_flags),
    "history": Verb(history, "its revisions: when, by whom, what changed, what became of it", history_flags),
    "export": Verb(export, "its spec alone, as YAML or --json: what apply, PUT and POST take", export_flags),
    "apply": Verb(apply, "make it so: create or replace what files of specs say", apply_flags, epilog=APPLY_EXAMPLES),
    "scale": Verb(scale, "other numbers of replicas: NAME=3", scale_flags),
    "stop": Verb(stop, "stop its containers and keep the deployment", stop_flags),
    "start": Verb(start, "let a stopped one run again", start_flags),
    "delete": Verb(delete, "remove it and its containers", delete_flags),
    "logs": Verb(
        logs, "what its containers wrote; without a name, of every deployment", logs_flags, epilog=LOGS_EXAMPLES
    ),
    "watch": Verb(watch, "see it change until it is settled; exit code 1 if it failed", watch_flags),
}
ALIASES = {"ls": "list", "ps": "list", "rm": "delete", "get": "show", "describe": "show"}
