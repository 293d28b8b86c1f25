"""The parser of one command, the flags that every command knows, and how a thing is named."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from fledx.cli.suggest import near, typed
from fledx.cli.words import CONNECTION, OUTPUTS, PROFILE
from fledx.errors import InvalidSpec

IDS = ", its id or the beginning of its id"
NAMED = ("profile",)  # what has no id


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Told the width, as argparse would import shutil and three compressors to ask for it."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=_width())


def _width() -> int:
    try:
        return min(os.get_terminal_size(sys.stdout.fileno()).columns, 120) - 2
    except (OSError, ValueError):
        return 98


class Parser(argparse.ArgumentParser):
    """One command's flags; a wrong one ends with 2 and names the near ones."""

    def __init__(self, prog: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=prog, description=description, epilog=epilog, formatter_class=Formatter, allow_abbrev=False
        )
        self.color = False  # Python 3.14 would import its themes
        self.takes_rest = False

    def settle(self) -> None:
        """Once all flags are in: a usage of one line, as that of fifty flags fills a screen."""
        places = [action for action in self._actions if not action.option_strings]
        shapes = {"?": "[{}]", "*": "[{} ...]"}
        words = [shapes.get(str(action.nargs), "{}").format(action.metavar or action.dest) for action in places]
        self.usage = " ".join([self.prog, *words, "[flags]"]).replace("%", "%%")

    def error(self, message: str) -> NoReturn:
        """Exit with 2 and one line."""
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            message = self._unknown((unknown.split() or [unknown])[0])
        self.exit(2, f"fledx: {message.removeprefix('argument ')} (see `{self.prog} --help`)\n")

    def _unknown(self, word: str) -> str:
        known = [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]
        guess = near(word.partition("=")[0], known) if word.startswith("-") else None
        if guess is None and self.takes_rest:
            return f"unknown word {typed(word)}: a command for the container goes after a `--` of its own"
        return f"unknown {'flag' if word.startswith('-') else 'word'} {typed(word)}" + (
            f": did you mean {guess}?" if guess else ""
        )


def add_connection(parser: Parser) -> None:
    """The flags that say which control plane, and how to print."""
    group = parser.add_argument_group("of every command, before it or after")
    flag, metavar, text = PROFILE
    group.add_argument(flag, metavar=metavar, help=text)
    for flag, metavar, text in CONNECTION:
        names = (flag, "--token") if flag == "--operator-token" else (flag,)
        group.add_argument(*names, metavar=metavar, help=text)
    group.add_argument("-o", "--output", choices=OUTPUTS, help="how to print: " + ", ".join(OUTPUTS))
    group.add_argument("--json", dest="output", action="store_const", const="json", help="the same as -o json")
    group.add_argument("--yaml", dest="output", action="store_const", const="yaml", help="the same as -o yaml")
    group.add_argument("--wide", dest="output", action="store_const", const="wide", help="the same as -o wide")
    group.add_argument("-q", "--quiet", action="store_true", help="names only, and no words on stderr")
    group.add_argument("--no-color", action="store_true", help="no colour, as NO_COLOR")


def add_ref(parser: Parser, noun: str, *, many: bool = False) -> None:
    """The name, id or beginning of an id of one thing, by place or by flag."""
    place = parser.add_argument(
        "refs", metavar=noun.upper(), nargs="*" if many else "?", help="name, id or its beginning"
    )
    flags = parser.add_argument_group(f"the {noun} by flag")
    by_id = flags.add_argument("--id", metavar="ID", action="append", help="id, its beginning, or name")
    by_name = flags.add_argument("--name", metavar="NAME", action="append", help="name")
    complete(noun, place, by_id, by_name)


def complete(noun: str, *actions: argparse.Action) -> None:
    """Live names of deployments or nodes on TAB; `completion.py` looks for the attribute."""
    for action in actions:
        action.live = noun  # type: ignore[attr-defined]


def refs(args: argparse.Namespace) -> list[str]:
    """All things that were named, in order, each once."""
    placed = args.refs if isinstance(args.refs, list) else [args.refs] if args.refs is not None else []
    return list(dict.fromkeys([*placed, *(args.id or ()), *(getattr(args, "name", None) or ())]))


def ref(args: argparse.Namespace, noun: str) -> str:
    """The one thing that was named."""
    return one(refs(args), noun)


def one(found: Sequence[str], noun: str) -> str:
    """The only item; InvalidSpec tells which is missing or that there are several."""
    if not found:
        raise InvalidSpec("", f"which {noun}? Give its name{'' if noun in NAMED else IDS}")
    if len(found) > 1:
        raise InvalidSpec("", f"one {noun} at a time, not {', '.join(found)}")
    return found[0]


def some(found: Sequence[str], noun: str) -> Sequence[str]:
    """At least one item."""
    if not found:
        raise InvalidSpec("", f"which {noun}? Give its name{'' if noun in NAMED else IDS}")
    return found


def given(args: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """The flags of those that were given."""
    return {name: value for name in names if (value := getattr(args, name, None)) is not None}
