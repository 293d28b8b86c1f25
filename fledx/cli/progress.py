"""How far a change has got, on stderr: redrawn in place on a terminal, else a line for each change."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fledx.cli.terminal import Terminal, columns
from fledx.cli.views.deployments import ready, rollout
from fledx.cli.views.replicas import Replica, replicas
from fledx.cli.views.text import cut, harmless, span, width

Json = Mapping[str, Any]
MOST_ROWS = 16
MOST_NEWS = 20  # that are remembered of a replica on its way up, which fails and is tried again with the same words
#: What changes in a message with each attempt and is no news.
RETRY = re.compile(r"; (failed \d+ times in a row, )?tried again after .*")


class Progress:
    """Shows a deployment again and again; a note that repeats itself is said once."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._began = terminal.clock()
        self._drawn = 0
        self._noted = ""
        self._news: dict[int, list[str]] = {}

    def show(self, deployment: Json) -> None:
        """The deployment as it is now."""
        if self._terminal.live:
            self._redraw(deployment)
        else:
            self._tell(deployment)

    def note(self, text: str) -> None:
        """A word about the watching itself."""
        if self._noted != text:
            self._noted = text
            self._drawn = 0
            self._terminal.say(harmless(text))

    def end(self) -> None:
        """Leave what was drawn where it is."""
        self._drawn = 0

    def _redraw(self, deployment: Json) -> None:
        room = columns(self._terminal.err) or 80
        passed = span(self._terminal.clock() - self._began)
        lines = [f"{harmless(deployment['name'])}: {ready(deployment)} ready, {passed}", *rows(replicas(deployment))]
        if told := rollout(deployment.get("rollout")):
            lines.insert(1, f"  {told}")
        back = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
        self._terminal.say(back + "\n".join(cut(line, room) for line in lines))
        self._drawn = len(lines)

    def _tell(self, deployment: Json) -> None:
        for each in replicas(deployment):
            text = row(each)
            news = RETRY.sub("", text)
            told = self._news.setdefault(each.number, [])
            if told[-1:] != [news] and (each.state == "running" or news not in told):
                self._terminal.say(f"{harmless(deployment['name'])}/{each.number}  {text}")
            self._news[each.number] = [news] if each.state == "running" else [*told, news][-MOST_NEWS:]


def row(each: Replica) -> str:
    """Where a replica is, how it is, and why."""
    return "  ".join(filter(None, (each.node if each.node != "-" else "", each.state, each.why)))


def rows(found: Sequence[Replica]) -> list[str]:
    """A line a replica; of many, those that are not running, and how many are."""
    shown = list(found)
    if len(shown) > MOST_ROWS:
        shown = [each for each in found if each.state != "running"][:MOST_ROWS]
    nodes = max((width(each.node) for each in shown), default=0)
    lines = [f"  {each.number:>3}  {each.node.ljust(nodes)}  {each.state}  {each.why}".rstrip() for each in shown]
    if len(shown) < len(found):
        lines.append(f"  and {len(found) - len(shown)} more")
    return lines
