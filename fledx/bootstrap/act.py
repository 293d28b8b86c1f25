"""Carrying out a plan's steps, and taking them back when one fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from fledx.bootstrap.host import Done, Host
from fledx.bootstrap.news import News, Tell, Timing
from fledx.bootstrap.plan import Plan
from fledx.bootstrap.steps import Step
from fledx.bootstrap.wanted import Trouble
from fledx.errors import FledxError, Unavailable


class Progress:
    """
    How far a run on one host came; what it holds is read when the run has ended, well or not.

    Once `halt` is set, no further step is begun and nothing is waited for.
    """

    def __init__(self, host: str, tell: Tell, halt: threading.Event | None = None) -> None:
        self.host = host
        self.tell = tell
        self.halt = halt or threading.Event()
        self.steps: tuple[Step, ...] = ()
        self.troubles: tuple[Trouble, ...] = ()
        self.done = 0
        self.undone = False
        self.timings: list[Timing] = []

    def say(self, kind: str, text: str, *, reason: str = "", number: int = 0, of: int = 0) -> None:
        self.tell(News(host=self.host, kind=kind, text=text, reason=reason, number=number, of=of))

    def go_on(self) -> None:
        """Raise FledxError if the operator has interrupted."""
        if self.halt.is_set():
            raise FledxError("interrupted", hint="run the same command again: it goes on from there")

    def took(self, what: str, since: float) -> None:
        self.timings.append(Timing(what=what, seconds=time.monotonic() - since))


def act(host: Host, plan: Plan, progress: Progress) -> None:
    """
    Carry out the steps in order.

    When one fails, all that was done is undone and FledxError says what failed. When the host is lost nothing can be
    undone: Unavailable says so, and the same command goes on from there.
    """
    steps = plan.steps
    for number, step in enumerate(steps, 1):
        progress.go_on()
        progress.say("doing", step.line, reason=step.reason, number=number, of=len(steps))
        began = time.monotonic()
        done = host.run(step)
        progress.took(step.line, began)
        if done.code is None:
            raise Unavailable(
                f"{host.name} was lost while this was done: {step.line} ({done.err})",
                hint="run the same command again: it goes on from there",
            )
        if done.code != 0:
            _give_up(host, plan, steps[:number], done, progress)
        progress.done = number


def _give_up(host: Host, plan: Plan, tried: Sequence[Step], failure: Done, progress: Progress) -> None:
    step = tried[-1]
    left = undo(host, [*reversed(tried)], plan.restore, progress)
    progress.undone = not left
    after = (
        "what had been done was undone"
        if not left
        else f"undoing it failed too, and this is left to do: {'; '.join(each.line for each in left)}"
    )
    raise FledxError(
        f"{step.line}: failed with {failure.code}: {failure.said or 'it did not say why'}; {after}",
        hint="mend that, then run the same command again",
    )


def undo(host: Host, backwards: Sequence[Step], restore: Sequence[Step], progress: Progress) -> list[Step]:
    """Take steps back, the latest first, then run `restore`; the undoing steps that could not be done."""
    left: list[Step] = []
    for step in [*(each for done in backwards for each in done.undo()), *restore]:
        progress.say("undoing", step.line, reason=step.reason)
        if host.run(step).code != 0:
            left.append(step)
    return left
