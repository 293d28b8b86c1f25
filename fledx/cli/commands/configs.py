"""`fledx configs`: variables and files under a name, and which deployments and nodes have them."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from fledx.cli import types
from fledx.cli.options import Parser, add_ref, complete, one, ref, refs, some
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb
from fledx.errors import InvalidSpec

KINDS = ("deployment", "node")
EXAMPLE = "fledx configs {0} shop --deployment web, or fledx configs {0} node --config-id ID --node-id ID"


def list_flags(parser: Parser) -> None:
    parser.add_argument("--name", metavar="NAME", help="only the one of this name")
    parser.add_argument("--limit", metavar="N", type=types.count, help="at most so many [all]")
    parser.add_argument("--offset", metavar="N", type=types.whole, default=0, help="leave out so many first [0]")


def list_them(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import show_list
    from fledx.cli.target import connect
    from fledx.cli.views.configs import config_table

    page = connect(args, terminal).configs({"name": args.name}, limit=args.limit, offset=args.offset)

    def screen() -> str:
        return config_table(page.items, terminal.now(), wide=args.output == "wide", columns=terminal.width)

    show_list(args, terminal, page.encoded(), [item["metadata"] for item in page.items], screen)
    return 0


def show_flags(parser: Parser) -> None:
    add_ref(parser, "config", many=True)


def show(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.target import connect

    api = connect(args, terminal)
    for name in some(refs(args), "config"):
        _print(args, terminal, api.config(name))
    return 0


def _print(args: Namespace, terminal: Terminal, found: dict[str, Any]) -> None:
    from fledx.cli import output
    from fledx.cli.views.configs import config_screen
    from fledx.cli.views.text import harmless

    if args.output == "name" or (args.quiet and args.output is None):
        terminal.data(harmless(found["metadata"]["name"]))
    else:
        output.show(args, terminal, found, lambda: config_screen(found, terminal.now()))


def create_flags(parser: Parser) -> None:
    from fledx.cli.config_body import add_content

    parser.add_argument("refs", metavar="NAME", nargs="?", help="its name")
    parser.add_argument("--name", metavar="NAME", action="append", help="the same")
    parser.set_defaults(id=None)
    add_content(parser)


def create(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.config_body import content_of
    from fledx.cli.target import connect
    from fledx.cli.views.text import harmless

    body = {"name": one(refs(args), "config"), **content_of(args)}
    made = connect(args, terminal).create_config(body)
    terminal.say(f"config {harmless(made['metadata']['name'])} created")
    _print(args, terminal, made)
    return 0


def update_flags(parser: Parser) -> None:
    from fledx.cli.config_body import add_content

    place = parser.add_argument("refs", metavar="CONFIG", nargs="?", help="name, id or its beginning")
    by_id = parser.add_argument("--id", metavar="ID", action="append", help="the same")
    complete("config", place, by_id)
    parser.add_argument("--name", dest="rename", metavar="NAME", help="another name for it")
    add_content(parser)
    parser.add_argument("--merge", action="store_true", help="keep the entries and files that are not named")
    parser.add_argument("--clear-entries", action="store_true", help="no entries any more")
    parser.add_argument("--clear-files", action="store_true", help="no files any more")


def update(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.config_body import content_of, laid_over
    from fledx.cli.target import connect
    from fledx.cli.views.text import harmless

    wanted, body = ref(args, "config"), content_of(args)
    for field in ("entries", "files"):
        if getattr(args, f"clear_{field}"):
            if field in body:
                raise InvalidSpec(f"--clear-{field}", "cannot be given together with new ones")
            body[field] = []
    if args.rename:
        body["name"] = args.rename
    api = connect(args, terminal)
    before = api.config(wanted)
    changed = api.put_config(before["metadata"]["config_id"], laid_over(body, before) if args.merge else body)
    terminal.say(f"config {harmless(changed['metadata']['name'])} is at version {changed['metadata']['version']}")
    _tell_lost(terminal, before, changed)
    if changed.get("deployments") or changed.get("nodes"):
        terminal.say("what uses it follows step by step; `fledx deployments list` shows how far it is")
    _print(args, terminal, changed)
    return 0


def _tell_lost(terminal: Terminal, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Entries and files that are given replace the old ones; which of these are gone is worth a word."""
    from fledx.cli.views.text import harmless

    lost = {each["key"] for each in before["entries"]} - {each["key"] for each in after["entries"]}
    lost |= {each["path"] for each in before["files"]} - {each["path"] for each in after["files"]}
    if lost:
        terminal.say(f"not in it any more: {harmless(', '.join(sorted(lost)))} (--merge keeps what is not named)")


def delete_flags(parser: Parser) -> None:
    add_ref(parser, "config", many=True)
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def delete(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.target import connect
    from fledx.cli.views.text import harmless

    api = connect(args, terminal)
    found = [api.config(name) for name in some(refs(args), "config")]
    for each in found:
        users = [*each.get("deployments", ()), *each.get("nodes", ())]
        used = f", which {', '.join(users)} use" if users else ""
        if not terminal.ask(harmless(f"Delete config {each['metadata']['name']}{used}?"), yes=args.yes):
            terminal.say("nothing was deleted")
            return 1
    for each in found:
        gone = api.delete_config(each["metadata"]["config_id"])
        terminal.say(f"config {harmless(gone['name'])} deleted")
    return 0


def attach_flags(parser: Parser) -> None:
    place = parser.add_argument("words", metavar="deployment|node|CONFIG", nargs="*", help="what to, and which configs")
    by_id = parser.add_argument(
        "--config-id", "--config", dest="config_id", metavar="CONFIG", nargs="+", action="append", help="which configs"
    )
    complete("config", place, by_id)
    for noun in KINDS:
        complete(
            noun,
            parser.add_argument(f"--{noun}-id", f"--{noun}", dest=noun, metavar=noun.upper(), help=f"the {noun}"),
        )


def attach(args: Namespace, terminal: Terminal) -> int:
    return _each(args, terminal, "attach_config")


def detach(args: Namespace, terminal: Terminal) -> int:
    return _each(args, terminal, "detach_config")


def _each(args: Namespace, terminal: Terminal, call: str) -> int:
    from fledx.cli import output
    from fledx.cli.target import connect
    from fledx.cli.views.configs import attachment_line

    kind, target = _target(args)
    api, done = connect(args, terminal), []
    for name in _configs(args, terminal):
        done.append(getattr(api, call)(name, kind, target))
    if output.is_document(args):
        terminal.data(output.document(done[0] if len(done) == 1 else {"items": done}, args.output))
    else:
        terminal.data("\n".join(attachment_line(each, f"{kind} {target}") for each in done))
    return 0


def _target(args: Namespace) -> tuple[str, str]:
    given = [(kind, getattr(args, kind)) for kind in KINDS if getattr(args, kind) is not None]
    if len(given) != 1:
        raise InvalidSpec("", "to what? Give --deployment or --node")
    kind, target = given[0]
    if args.words and args.words[0] in KINDS and args.words[0] != kind:
        raise InvalidSpec("", f"{args.words[0]} goes with --{args.words[0]}-id, not with --{kind}-id")
    return kind, str(target)


def _configs(args: Namespace, terminal: Terminal) -> list[str]:
    words = args.words[1:] if args.words and args.words[0] in KINDS else args.words
    named = [*words, *(word for group in args.config_id or () for word in group)]
    split = [part for word in named for part in word.split(",") if part]
    found = list(dict.fromkeys(split))
    if len(found) < len(split):
        terminal.say("configs that were named twice count once")
    return list(some(found, "config"))


VERBS = {
    "create": Verb(create, "variables and files under a name", create_flags),
    "list": Verb(list_them, "all configs, a line each", list_flags),
    "show": Verb(show, "what is in it, and who has it", show_flags),
    "update": Verb(update, "other entries or files; what uses it follows step by step", update_flags),
    "attach": Verb(attach, "give configs to a deployment or a node", attach_flags, epilog=EXAMPLE.format("attach")),
    "detach": Verb(detach, "take configs from a deployment or a node", attach_flags, epilog=EXAMPLE.format("detach")),
    "delete": Verb(delete, "remove it, and take it from all who have it", delete_flags),
}
ALIASES = {"ls": "list", "rm": "delete", "get": "show", "describe": "show"}
