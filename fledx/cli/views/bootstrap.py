"""What bootstrap tells while it works, and what it came to, as lines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fledx.cli.terminal import Terminal, columns
from fledx.cli.views.table import fields
from fledx.cli.views.text import cut, harmless, span

ANONYMOUS = "this machine"


class Progress:
    """
    Words on stderr as they come: what a host is, its plan, each step.

    On a terminal the step that is being done is one line a host, redrawn in place below the rest; elsewhere each step
    is a line of its own. `ask` holds the drawing while the operator is asked for something.
    """

    def __init__(self, terminal: Terminal, hosts: Sequence[str]) -> None:
        self._terminal = terminal
        self._several = len(hosts) > 1
        self._now: dict[str, str] = {}
        self._drawn = 0
        self._lock = threading.RLock()

    def tell(self, news: Any) -> None:
        """One thing that happened on one host."""
        with self._lock:
            if news.kind in ("doing", "undoing", "waiting"):
                self._step(news)
            elif news.kind == "done":
                self._now.pop(news.host, None)
                self._redraw()
            else:
                self._line(news)

    def ask(self, question: Callable[[], str]) -> str:
        """The answer, without a redrawing in between."""
        with self._lock:
            self._wipe()
            return question()

    def _step(self, news: Any) -> None:
        text = harmless(news.text)
        if news.kind == "doing":
            text = f"[{news.number}/{news.of}] {text}"
        elif news.kind == "undoing":
            text = f"undoing: {text}"
        else:
            text = f"waiting {text}"
        if self._terminal.live:
            self._now[news.host] = f"{news.host}: {text}"
            self._redraw()
        else:
            self._terminal.say(self._of(news.host, text))

    def _line(self, news: Any) -> None:
        text = harmless(news.text)
        if news.kind == "planned" and news.number:
            text = f"{news.number:>4}. {text}"
        if news.reason:
            text += f" ({harmless(news.reason)})"
        self._wipe()
        if news.kind == "planned":
            self._now.pop(news.host, None)
        self._terminal.say(self._of(news.host, text))
        self._redraw()

    def _of(self, host: str, text: str) -> str:
        return f"{harmless(host)}: {text}" if self._several or host != ANONYMOUS else text

    def _wipe(self) -> None:
        if self._drawn:
            self._terminal.err.write(f"\x1b[{self._drawn}F\x1b[J")
            self._terminal.err.flush()
            self._drawn = 0

    def _redraw(self) -> None:
        if not self._terminal.live:
            return
        self._wipe()
        room = columns(self._terminal.err) or 80
        for line in self._now.values():
            self._terminal.say(cut(line, room))
        self._drawn = len(self._now)


def ended(outcome: Any) -> str:
    """How it ended on one host, in one line and, where it did not end well, what to do."""
    if outcome.error is not None:
        hint = f"\n  {harmless(outcome.hint)}" if outcome.hint else ""
        return f"{harmless(outcome.host)}: {harmless(outcome.error)}{hint}"
    took = next((timing.seconds for timing in outcome.timings if timing.what == "in all"), 0.0)
    word = "done" if outcome.changed else "nothing was changed" if outcome.steps else "nothing to do"
    return f"{harmless(outcome.host)}: {word}, {span(took)}"


def described(outcome: Any) -> str:
    """`bootstrap status` of one host: its system, then a block a role."""
    facts: Mapping[str, Any] = outcome.facts
    head = [("host", harmless(outcome.host)), ("system", harmless(facts["system"]))]
    for key in ("version", "previous"):
        if facts.get(key):
            head.append((key, harmless(facts[key])))
    blocks = [fields(head)]
    for role, told in facts["roles"].items():
        rows = [(key.replace("_", " "), _word(value)) for key, value in told.items() if value is not None]
        blocks.append(fields([("role", role), *rows]))
    if not facts["roles"]:
        kept = ", ".join(facts["kept"])
        blocks.append("fledx is not installed on it" + (f"; data is kept in {harmless(kept)}" if kept else ""))
    return "\n\n".join(blocks)


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}.get(value, harmless(value)) if isinstance(value, bool) else harmless(value)
