"""The door: find the command, parse its flags, run it, and turn what went wrong into a line and an exit code."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper

from fledx.cli import completion
from fledx.cli.options import VALUED, Parser, add_connection
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb
from fledx.errors import Denied, FledxError, InvalidSpec

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
#: Every noun has a file of its name in `commands/`, with `VERBS` or, if it is a command by itself, `VERB`.
NOUNS = {
    "deployments": "ask for containers, see them run, change and stop them",
    "nodes": "the machines that run them",
    "status": "everything at one look",
    "events": "what happened, and why",
    "profile": "the control planes you know",
    "bootstrap": "make hosts a control plane and nodes, over SSH",
    "cp": "run the control plane",
    "agent": "run a node's agent",
    "demo": "a control plane, nodes and an app on this machine, to try",
    "completions": "teach your shell to complete",
    "version": "which fledx this is",
}
#: What people type first.
SHORT = {
    "ls": ("deployments", "list"),
    "ps": ("deployments", "list"),
    "rm": ("deployments", "delete"),
    "logs": ("deployments", "logs"),
    "scale": ("deployments", "scale"),
    "completion": ("completions",),
    "deployment": ("deployments",),
    "node": ("nodes",),
    "profiles": ("profile",),
}
ROLES = {"fledx-cp": "cp", "fledx-agent": "agent"}


def main(argv: Sequence[str] | None = None, terminal: Terminal | None = None) -> int:
    """Run one command; the exit code. A link called fledx-cp or fledx-agent is that role."""
    terminal = terminal or _own_terminal()
    words = list(argv) if argv is not None else _own_words(sys.argv)
    if completion.wanted(terminal.environ):
        _complete(terminal)
    try:
        return _run(words, terminal)
    except KeyboardInterrupt:
        terminal.say("")
        return INTERRUPTED
    except BrokenPipeError:
        _give_up_output()
        return DONE
    except FledxError as fault:
        terminal.complain(told(fault))
        return USAGE if isinstance(fault, InvalidSpec) else FAILED
    except ImportError:  # the archive's own entry says which part of Python is missing
        raise
    except Exception as fault:
        if terminal.environ.get("FLEDX_DEBUG"):
            raise
        terminal.complain(f"this should not happen: {type(fault).__name__}: {fault} (FLEDX_DEBUG=1 shows where)")
        return FAILED


def _own_terminal() -> Terminal:
    """The process's own streams; a letter that they cannot carry is written out, never an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return Terminal()


def _own_words(argv: Sequence[str]) -> list[str]:
    role = ROLES.get(argv[0].rpartition("/")[2])
    return [role, *argv[1:]] if role else list(argv[1:])


def _run(words: list[str], terminal: Terminal) -> int:
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
    """Help where it was asked for; else a word that is no command, or help on stderr as a command is missing."""
    from fledx.cli import help

    if command.unknown is not None:
        known = (
            [*command.verbs, *command.aliases]
            if command.path
            else [*NOUNS, *(word for word, full in SHORT.items() if len(full) > 1), "help"]
        )
        verbs = () if command.path else tuple(Command(["deployments"]).verbs)
        terminal.complain(help.unknown_word(command.unknown, command.path, known, verbs))
        return USAGE
    if not command.path and any(word in help.VERSION for word in command.words):
        return _run(["version"], terminal)
    if command.path:
        verbs_help = {name: verb.help for name, verb in command.verbs.items()}
        screen = help.noun_screen(command.path[0], NOUNS[command.path[0]], verbs_help, command.aliases)
    else:
        screen = help.overview(NOUNS, SHORT)
    if any(word in help.ASKED for word in command.words):
        terminal.data(screen)
        return DONE
    terminal.say(screen)
    return USAGE


class Command:
    """The command that words name: its noun, its verb if they get that far, and what is left for its flags."""

    def __init__(self, words: Sequence[str]) -> None:
        head, self.rest = _split_rest(words)
        if head[:1] == ["help"]:
            head = [*head[1:], "--help"]
        self.path: tuple[str, ...] = ()
        self.words = list(head)
        self.verb: Verb | None = None
        self.verbs: dict[str, Verb] = {}
        self.aliases: dict[str, str] = {}
        self.unknown: str | None = None
        self.spoken: list[str] = []
        self._find()

    def _find(self) -> None:
        if (noun := self._next_word()) is None:
            return
        full = SHORT.get(noun, (noun,))
        if full[0] not in NOUNS:
            self.unknown = noun
            return
        module = import_module(f"fledx.cli.commands.{full[0]}")
        self.path = full[:1]
        self.verb, self.verbs = getattr(module, "VERB", None), getattr(module, "VERBS", {})
        self.aliases = getattr(module, "ALIASES", {})
        if not self.verbs:
            return
        verb = full[1] if len(full) > 1 else self._next_word()
        if verb is None:
            return
        verb = self.aliases.get(verb, verb)
        if verb in self.verbs:
            self.path, self.verb = (full[0], verb), self.verbs[verb]
        else:
            self.unknown = verb

    def _next_word(self) -> str | None:
        """Take the first word that is neither a flag nor the value of one."""
        skip = False
        for i, word in enumerate(self.words):
            if skip or word.startswith("-"):
                skip = not skip and word in VALUED
                continue
            self.spoken.append(self.words.pop(i))
            return word
        return None

    def parser(self, spoken: int = 0) -> Parser:
        """The parser of this command alone; for completion it steps over so many words of the command itself."""
        assert self.verb is not None
        text = self.verb.help[:1].upper() + self.verb.help[1:]
        parser = Parser(" ".join(("fledx", *self.path)), f"{text}.", self.verb.epilog)
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


def _complete(terminal: Terminal) -> None:
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


def told(fault: FledxError) -> str:
    """An error in one line; several faults of one request in one line each."""
    from fledx.cli.views.text import harmless

    request = f" [request {harmless(fault.request_id)}]" if fault.request_id else ""
    hint = f" ({harmless(fault.hint)})" if fault.hint else ""
    problems = getattr(fault, "problems", ())
    if len(problems) > 1:
        lines = [harmless(f"{path}: {text}" if path else text) for path, text in problems]
        return "\n  ".join([f"{len(lines)} faults{hint}{request}:", *lines])
    text = harmless(fault.text) or fault.code
    if isinstance(fault, Denied) and not text.startswith("denied"):
        text = f"denied: {text}"
    return f"{text}{hint}{request}"


def _give_up_output() -> None:
    """The reader has gone: what Python still holds for it must not fail once more at the end."""
    import os

    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
