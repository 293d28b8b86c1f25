"""Container logs as they are written: prefixed, aligned, and taken up again where a broken stream left off."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from fledx.cli import naming
from fledx.cli.options import refs
from fledx.cli.target import connect
from fledx.cli.terminal import Terminal
from fledx.cli.views.documents import as_json_line
from fledx.cli.views.text import harmless, harmless_line
from fledx.client.api import ControlPlane
from fledx.client.streams import Stream
from fledx.errors import InvalidSpec, Unavailable

Json = Mapping[str, Any]
PALETTE = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
TAIL_OF_ALL = 100
AGAIN = 1.0


def logs(args: Namespace, terminal: Terminal) -> int:
    """The containers' own output; without a name that of every deployment."""
    if args.follow and args.until:
        raise InvalidSpec("", "--follow has no end, so that --until cannot be given with it")
    api = connect(args, terminal)
    named = list(dict.fromkeys([*refs(args), *(args.resource_id or ())]))
    found = [naming.deployment(api, name) for name in named]
    known = found or api.deployments({}).items
    tail = args.tail if args.tail is not None or named or args.since else TAIL_OF_ALL
    query = {"replica": args.replica, "since": args.since, "until": args.until, "tail": tail}
    ids = [str(each["deployment_id"]) for each in found]
    printer = Printer(terminal, args, known)
    if args.follow:
        follow(api, terminal, printer, ids, {**query, "follow": True})
    else:
        to_the_end(api.logs(ids, query), printer)
    return 0


def to_the_end(stream: Stream[dict[str, Any]], printer: Printer) -> None:
    """Print everything there is."""
    try:
        while not stream.ended:
            printer.print(stream.take(None))
    finally:
        stream.close()


def follow(
    api: ControlPlane, terminal: Terminal, printer: Printer, ids: Sequence[str], query: Mapping[str, Any]
) -> None:
    """Print what is there and what comes, until the other side ends the stream or Ctrl-C does."""
    asked = dict(query)
    while True:
        try:
            to_the_end(api.logs(ids, asked), printer)
            return
        except Unavailable as fault:
            terminal.say(f"{harmless(fault.text)}; trying again")
            terminal.sleep(AGAIN)
            if (since := printer.resume()) is not None:
                asked = {**query, "since": since, "tail": None}


class Printer:
    """One line of output for each line of a container."""

    def __init__(self, terminal: Terminal, args: Namespace, known: Sequence[Json]) -> None:
        self._terminal = terminal
        self._raw = args.output in ("json", "yaml")
        self._prefixed = not args.no_prefix
        self._stamped = args.timestamps
        self._tty = terminal.interactive
        self._room = max((len(_prefix(each["name"], each.get("replicas", 1) - 1)) for each in known), default=0)
        self._colours: dict[str, str] = {}
        self._last: dict[tuple[Any, Any], str] = {}
        self._printed: dict[tuple[Any, Any], str] = {}

    def resume(self) -> str | None:
        """After a break: the moment from which on to ask again; what was printed already is left out then."""
        self._printed = dict(self._last)
        return min(self._last.values(), default=None)

    def print(self, lines: Sequence[Json]) -> None:
        """Print what arrived together; notices of the control plane are words, not data."""
        shown = []
        for line in lines:
            if "line" in line and self._is_new(line):
                shown.append(self._text(line))
            elif "notice" in line:
                self._terminal.say(harmless(line["notice"]))
        self._terminal.data("\n".join(shown) + "\n" if shown else "")

    def _is_new(self, line: Json) -> bool:
        key, time = (line.get("deployment"), line.get("replica_number")), str(line.get("time", ""))
        self._last[key] = max(time, self._last.get(key, ""))
        return not time or time > self._printed.get(key, "")

    def _text(self, line: Json) -> str:
        if self._raw:
            return as_json_line(line)
        text = str(line["line"])
        parts = [self._painted(_prefix(line["deployment"], line["replica_number"]))] if self._prefixed else []
        parts += [harmless(line.get("time", ""))] if self._stamped else []
        return " ".join([*parts, harmless_line(text) if self._tty else text])

    def _painted(self, prefix: str) -> str:
        self._room = max(self._room, len(prefix))
        padded = prefix.ljust(self._room) + " |"
        if not self._terminal.colour:
            return padded
        code = self._colours.setdefault(prefix, PALETTE[len(self._colours) % len(PALETTE)])
        return f"\x1b[{code}m{padded}\x1b[0m"


def _prefix(name: object, number: object) -> str:
    return f"{harmless(name)}/{number}"
