"""One command: found by its words, parsed by a parser of its own, run."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module

from fledx.cli import completion, help
from fledx.cli.options import Parser, add_connection
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb
from fledx.cli.words import NOUNS, SHORT, VALUED

DONE, USAGE = 0, 2


def run(words: Sequence[str], terminal: Terminal) -> int:
    """Run the command that the words name; the exit code."""
    command = Command(words)
    if command.verb is None:
        return _without_verb(command, terminal)
    parser = command.parser()
    try:
        args = command.parse(parser)
    except SystemExit as ended:  # argparse has said why, or printed its help
        return int(ended.code or 0)
    terminal.plain = getattr(args, "no_color", False)
    terminal.quiet = getattr(args, "quiet", False)
    return command.verb.run(args, terminal)


def _without_verb(command: Command, terminal: Terminal) -> int:
    """A word that is no command; or help, on stderr where it was not asked for, as a verb is missing."""
    if command.unknown is not None:
        known = [*command.verbs, *command.aliases] if command.path else help.known_words()
        nouns = () if command.path else _nouns_with(command.unknown)
        terminal.complain(help.unknown_word(command.unknown, command.path, known, nouns))
        return USAGE
    if not command.path:
        return help.without_command(command.words, terminal)
    verbs_help = {name: verb.help for name, verb in command.verbs.items()}
    noun = command.path[0]
    return help.give(help.noun_screen(noun, NOUNS[noun], verbs_help, command.aliases), command.words, terminal)


def _nouns_with(verb: str) -> list[str]:
    """Of those nouns that people work with most, the ones that have a verb of this name."""
    found = [Command([noun]) for noun in ("deployments", "nodes", "configs")]
    return [command.path[0] for command in found if verb in command.verbs or verb in command.aliases]


class Command:
    """The command that words name: its noun, its verb if they get that far, and what is left for its flags."""

    def __init__(self, words: Sequence[str]) -> None:
        head, self.rest = _split_rest(words)
        if head[:1] == ["help"] or head[1:] == ["help"]:
            head = [*(word for word in head if word != "help"), "--help"]
        self.path: tuple[str, ...] = ()
        self.words = list(head)
        self.verb: Verb | None = None
        self.verbs: dict[str, Verb] = {}
        self.aliases: dict[str, str] = {}
        self.unknown: str | None = None
        self.spoken: list[str] = []
        self._place = 0
        self._find()

    def _find(self) -> None:
        if (noun := self._next_word()) is None:
            return
        full = SHORT.get(noun, (noun,))
        if full[0] not in NOUNS:
            self.unknown = noun
            return
        module = import_module(f"fledx.cli.commands.{full[0].replace('-', '_')}")
        self.path = full[:1]
        self.verb, self.verbs = getattr(module, "VERB", None), getattr(module, "VERBS", {})
        self.aliases = getattr(module, "ALIASES", {})
        if not self.verbs:
            return
        verb = full[1] if len(full) > 1 else self._next_word() if self.verb is None else self._word_here()
        if verb is None:
            return
        verb = self._joined(self.aliases.get(verb, verb))
        if verb in self.verbs:
            self.path, self.verb = (full[0], verb), self.verbs[verb]
        else:
            self.unknown, self.verb = verb, None

    def _joined(self, verb: str) -> str:
        """The verb, together with the next word where the two are one: `token rotate` is `rotate-token`."""
        following = self.words[self._place] if self._place < len(self.words) else ""
        if verb in self.verbs or (whole := self.aliases.get(f"{verb} {following}")) is None:
            return verb
        self.spoken.append(self.words.pop(self._place))
        return whole

    def _next_word(self) -> str | None:
        """Take the first word that is neither a flag nor the value of one."""
        skip = False
        for i, word in enumerate(self.words):
            if skip or word.startswith("-"):
                skip = not skip and word in VALUED
                continue
            self.spoken.append(self.words.pop(i))
            self._place = i
            return word
        return None

    def _word_here(self) -> str | None:
        """Take the word right after the last one, for a noun that is a command by itself, too; a flag is none."""
        if self._place == len(self.words) or self.words[self._place].startswith("-"):
            return None
        self.spoken.append(self.words.pop(self._place))
        return self.spoken[-1]

    def parser(self, spoken: int = 0) -> Parser:
        """The parser of this command alone; for completion it steps over so many words of the command itself."""
        assert self.verb is not None
        text = self.verb.help[:1].upper() + self.verb.help[1:]
        parser = Parser(" ".join(("fledx", *self.path)), f"{text}.", self.verb.epilog)
        parser.takes_rest = self.verb.rest
        for i in range(spoken):
            parser.add_argument(f"word{i}")
        self.verb.flags(parser)
        if self.verb.connects:
            add_connection(parser)
        parser.settle()
        return parser

    def parse(self, parser: Parser) -> Namespace:
        """Flags and positions in any order; what follows `--` by itself where the command takes it."""
        assert self.verb is not None
        words = self.words if self.verb.rest or not self.rest else [*self.words, "--", *self.rest]
        args = parser.parse_intermixed_args(words)
        args.rest = self.rest
        return args


def _split_rest(words: Sequence[str]) -> tuple[list[str], list[str]]:
    if "--" not in words:
        return list(words), []
    mark = list(words).index("--")
    return list(words[:mark]), list(words[mark + 1 :])


def complete(terminal: Terminal) -> None:
    """Offer what fits to the shell and exit."""
    command = Command(completion.words(terminal.environ))
    if command.verb is not None:
        parser = command.parser(len(command.spoken))
    else:
        parser = Parser("fledx", "")
        for i in range(len(command.spoken)):
            parser.add_argument(f"word{i}")
        short = {word: f"short for {' '.join(full)}" for word, full in SHORT.items() if len(full) > 1}
        verbs = {name: verb.help for name, verb in command.verbs.items()}
        completion.choose(parser, "choice", verbs if command.path else {**NOUNS, **short})
        add_connection(parser)
    completion.complete(parser, terminal)
