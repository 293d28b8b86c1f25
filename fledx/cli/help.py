"""What is shown where no whole command was named: the commands there are, or the one that was probably meant."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from fledx import __version__, _boot
from fledx.cli.suggest import MOST, near, typed
from fledx.cli.terminal import Terminal
from fledx.cli.words import CONNECTION, NOUNS, OUTPUTS, PROFILE, SHORT, VALUED

ASKED = ("-h", "--help")
VERSION = ("-V", "-v", "--version")
SWITCHES = ("--json", "--yaml", "--wide")
OPERATE = (
    "deployments",
    "nodes",
    "configs",
    "secrets",
    "registries",
    "certificates",
    "volumes",
    "exec",
    "forward",
    "status",
    "events",
    "usage",
    "metrics",
    "audit",
    "tokens",
)
ROLES = ("demo", "bootstrap", "cp", "agent")
CREATING = ("run", "deploy", "up")
"""How others call what makes a deployment."""
EXIT_CODES = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not reached in time, 130 interrupted."
RARE = ("--operator-header", "--registration-token")  # each command's own help tells of them
FLAGS = (
    (f"{PROFILE[0]} {PROFILE[1]}", PROFILE[2]),
    *((f"{flag} {metavar}", text) for flag, metavar, text in CONNECTION if flag not in RARE),
    ("-o, --output FORM", ", ".join(OUTPUTS) + " (--json, --yaml and --wide for short)"),
    ("-q, --quiet", "names only, and no words on stderr"),
    ("--no-color", "no colour, as NO_COLOR"),
)


def without_command(words: Sequence[str], terminal: Terminal) -> int:
    """Flags alone: the version, the overview, or a flag that nobody knows."""
    if any(word in VERSION for word in words):
        terminal.data(version_line())
        return 0
    known = {*ASKED, *VALUED, *SWITCHES, *(word for flag, _ in FLAGS for word in flag.replace(",", " ").split())}
    unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in known]
    if unknown:
        terminal.complain(f"unknown flag {typed(unknown[0])}{_meant(unknown[0], known)} (see `fledx --help`)")
        return 2
    return give(overview(), words, terminal)


def give(screen: str, words: Sequence[str], terminal: Terminal) -> int:
    """Help to stdout where it was asked for; else to stderr, as a command is missing."""
    if any(word in ASKED for word in words):
        terminal.data(screen)
        return 0
    terminal.say(screen)
    return 2


def version_line() -> str:
    """Which fledx this is."""
    build = _boot.build_id()
    return f"fledx {__version__}" + (f" (build {build})" if build else "")


def known_words() -> list[str]:
    """What may stand first on a command line."""
    return [*NOUNS, *(word for word, full in SHORT.items() if len(full) > 1), "help"]


def overview() -> str:
    """One screen: all commands, the short forms, the flags that every command knows."""
    tool = [noun for noun in NOUNS if noun not in (*OPERATE, *ROLES)]
    parts = ["usage: fledx COMMAND [flags]", "Containers on many machines, behind NAT or not, from one file."]
    for title, group in (("operate", OPERATE), ("run", ROLES), ("this tool", tool)):
        parts.append(section(title, [(noun, NOUNS[noun]) for noun in group if noun in NOUNS]))
    parts.append(section("verbs that need no noun", _short_forms()))
    parts.append(section("flags of every command, before it or after", FLAGS))
    parts.append(f"`fledx COMMAND --help` tells more. {EXIT_CODES}")
    return "\n\n".join(parts)


def _short_forms() -> list[tuple[str, str]]:
    """A line for each noun: its verbs that may stand alone, under other names too."""
    found: dict[str, list[str]] = {}
    for word, full in SHORT.items():
        if len(full) > 1:
            found.setdefault(full[0], []).append(word if word == full[1] else f"{word} ({full[1]})")
    return [(noun, ", ".join(words)) for noun, words in found.items()]


def noun_screen(noun: str, text: str, verbs: Mapping[str, str], aliases: Mapping[str, str]) -> str:
    """The verbs of one noun."""
    rows = [(verb, help) for verb, help in verbs.items()]
    parts = [f"usage: fledx {noun} VERB [flags]", f"{text[:1].upper()}{text[1:]}.", section("verbs", rows)]
    if aliases:
        parts.append("also: " + ", ".join(f"{alias} for {verb}" for alias, verb in aliases.items()))
    parts.append(f"`fledx {noun} VERB --help` tells more.")
    return "\n\n".join(parts)


def section(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """A title and two aligned columns."""
    room = max((len(left) for left, _ in rows), default=0) + 2
    return "\n".join([title, *(f"  {left.ljust(room)}{right}" for left, right in rows)])


def unknown_word(word: str, path: Sequence[str], known: Sequence[str], nouns: Sequence[str]) -> str:
    """A line about a word that is no command; of a verb without its noun, with the `nouns` that have it."""
    place = " ".join(("fledx", *path))
    if nouns:
        return f"{typed(word)} needs its noun: {', '.join(f'`fledx {noun} {word}`' for noun in nouns)}"
    word = word if word.isascii() and word.isprintable() and len(word) <= MOST else typed(word)
    if not path and word in CREATING:
        return f"no command fledx {word}: did you mean `fledx deployments create`?"
    if (guess := near(word, known)) is not None:
        return f"no command {place} {word}: did you mean `{place} {guess}`?"
    return f"no command {place} {word} (see `{place} --help`)"


def _meant(word: str, known: Collection[str]) -> str:
    guess = near(word.partition("=")[0], known)
    return f": did you mean {guess}?" if guess else ""
