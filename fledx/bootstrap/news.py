"""What a run tells while it works and what it came to, as data; the command line makes words and lines of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fledx.bootstrap.steps import Step
from fledx.bootstrap.wanted import Trouble


@dataclass(frozen=True, kw_only=True)
class News:
    """
    One thing that happened on one host.

    ``kind`` is one of `told` (something the operator should know), `looked` (what the host is), `planned` (a step to
    come), `doing` (step ``number`` of ``of`` begins), `undoing`, `waiting` and `done`.
    """

    host: str
    kind: str
    text: str
    reason: str = ""
    number: int = 0
    of: int = 0


Tell = Callable[[News], None]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long one part of a run took, in seconds."""

    what: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """
    What a run came to on one host.

    ``steps`` are those that were planned, ``done`` counts those carried out. ``error`` is None when all went well, else
    one sentence, with ``hint`` on what to try; ``undone`` tells that the host was put back to what it was. ``facts`` is
    what the command reports beyond that, such as the node's id.
    """

    host: str
    steps: tuple[Step, ...] = ()
    done: int = 0
    troubles: tuple[Trouble, ...] = ()
    error: str | None = None
    hint: str | None = None
    code: str | None = None
    undone: bool = False
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    timings: tuple[Timing, ...] = ()

    @property
    def well(self) -> bool:
        return self.error is None and not any(trouble.fatal for trouble in self.troubles)

    @property
    def changed(self) -> bool:
        return self.done > 0 and not self.undone

    def encoded(self) -> dict[str, Any]:
        """For --json; holds no secret, as steps show only their line and reason."""
        return {
            "host": self.host,
            "ok": self.well,
            "changed": self.changed,
            "plan": [{"step": step.line, "reason": step.reason} for step in self.steps],
            "done": self.done,
            "troubles": [{"text": each.text, "mend": each.mend, "fatal": each.fatal} for each in self.troubles],
            **(
                {"error": self.error, "hint": self.hint, "code": self.code, "undone": self.undone} if self.error else {}
            ),
            **self.facts,
            "seconds": {timing.what: round(timing.seconds, 3) for timing in self.timings},
        }
