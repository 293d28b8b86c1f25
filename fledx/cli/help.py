"""What is shown where no whole command was named: the commands there are, or the one that was probably meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fledx.cli.options import CONNECTION, OUTPUTS, PROFILE
from fledx.cli.suggest import near

ASKED = ("-h", "--help")
VERSION = ("-V", "--version")
OPERATE = ("deployments", "nodes", "status", "events")
RUN = ("demo", "cp", "agent", "bootstrap")
EXIT_CODES = "exit codes: 0 done, 1 failed, 2 wrong usage, 3 not reached in time, 130 interrupted"


def overview(nouns: Mapping[str, str], short: Mapping[str, Sequence[str]]) -> str:
    """One screen: all nouns, the short forms, the flags that every command knows."""
    tool = [noun for noun in nouns if noun not in (*OPERATE, *RUN)]
    parts = ["usage: fledx COMMAND [flags]", "Containers on many machines, behind NAT or not, from one file."]
    for title, group in (("operate", OPERATE), ("run", RUN), ("this tool", tool)):
        parts.append(section(title, [(noun, nouns[noun]) for noun in group if noun in nouns]))
    words = [word for word, full in short.items() if len(full) > 1]
    parts.append(
        f"short forms\n  {', '.join(words)} stand for deployments {', '.join(short[word][1] for word in words)}"
    )
    flags = [
        (f"{PROFILE[0]} {PROFILE[1]}", PROFILE[2]),
        *((f"{flag} {metavar}", text) for flag, metavar, text in CONNECTION),
    ]
    flags += [("-o, --output FORM", ", ".join(OUTPUTS) + " (--json, --yaml and --wide for short)")]
    flags += [("-q, --quiet", "names only, and no words on stderr"), ("--no-color", "no colour, as NO_COLOR")]
    parts.append(section("flags of every command, before it or after", flags))
    parts.append(f"`fledx COMMAND --help` tells more. {EXIT_CODES.capitalize()}.")
    return "\n\n".join(parts)


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


def unknown_word(word: str, path: Sequence[str], known: Sequence[str], verbs_of_deployments: Sequence[str]) -> str:
    """A line about a word that is no command; a verb without its noun is told where it belongs."""
    place = " ".join(("fledx", *path))
    if not path and word in verbs_of_deployments:
        return f"{word!r} needs its noun: `fledx deployments {word}`"
    if (guess := near(word, known)) is not None:
        return f"no command {place} {word}: did you mean `{place} {guess}`?"
    return f"no command {place} {word} (see `{place} --help`)"
