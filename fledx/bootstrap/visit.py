"""Look, plan, print, act, look again: the road of every command that changes a host."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fledx.bootstrap.act import Progress, act
from fledx.bootstrap.facts import HostFacts, read_facts
from fledx.bootstrap.host import Host
from fledx.bootstrap.layout import Layout
from fledx.bootstrap.look import Look
from fledx.bootstrap.plan import Plan
from fledx.errors import Conflict, FledxError, Unavailable

Decide = Callable[[HostFacts], Plan]


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How far to go: not at all (``dry_run``), until it is installed, or (``wait``) until it is seen to work."""

    dry_run: bool = False
    wait: bool = True
    wait_secs: float = 120.0


@dataclass(frozen=True, kw_only=True)
class Places:
    """Directories as the operator gave them, plain paths; None is where they are already, else the usual ones."""

    bin_dir: str | None = None
    config_dir: str | None = None
    data_dir: str | None = None

    def __post_init__(self) -> None:
        Layout(**{name: path for name, path in vars(self).items() if path is not None})


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One host, for the time of one command."""

    host: Host
    places: Places
    mode: Mode
    progress: Progress

    def look(self) -> HostFacts:
        """What is on the host now."""
        began = time.monotonic()
        places = self.places
        done = self.host.run(Look(bin_dir=places.bin_dir, config_dir=places.config_dir, data_dir=places.data_dir))
        if done.code is None:
            raise Unavailable(
                f"it was lost while it was looked at: {done.err}", hint="nothing was changed; run it again"
            )
        if done.code != 0:
            raise FledxError(f"it cannot be looked at: {done.said}", hint="try `sudo sh -c true` there by hand")
        facts = read_facts(done.out)
        self.progress.took("look", began)
        return facts

    def check(self, plan: Plan) -> None:
        """Tell what stands in the way; Conflict with all that is fatal and what mends it."""
        self.progress.troubles = plan.troubles
        if plan.fatal:
            raise Conflict(
                "; ".join(trouble.text for trouble in plan.fatal) + "; nothing was changed",
                hint="; ".join(trouble.mend for trouble in plan.fatal),
            )
        for trouble in plan.troubles:
            self.progress.say("told", trouble.text, reason=trouble.mend)

    def carry_out(self, facts: HostFacts, decide: Decide) -> HostFacts:
        """
        Tell the plan for these facts and, unless it is just for show, carry it out; what is on the host afterwards.

        The plan for what it left behind has to be empty: that is how it is known to have worked.
        """
        plan = decide(facts)
        self.check(plan)
        self._tell(plan)
        if self.mode.dry_run or not plan.steps:
            return facts
        act(self.host, plan, self.progress)
        after = self.look()
        left = decide(after)
        if left.fatal or left.steps:
            words = [trouble.text for trouble in left.fatal] + [f"{each.line} ({each.reason})" for each in left.steps]
            raise FledxError(
                f"it is not as it was left a moment ago: {'; '.join(words)}",
                hint="someone else may be working on it; run the same command again",
            )
        return after

    def _tell(self, plan: Plan) -> None:
        self.progress.steps = plan.steps
        for number, step in enumerate(plan.steps, 1):
            self.progress.say("planned", step.line, reason=step.reason, number=number, of=len(plan.steps))
        if not plan.steps:
            self.progress.say("planned", "nothing to do")


def described(facts: HostFacts) -> str:
    """What kind of host it is, in one line."""
    python, docker = facts.python, facts.docker
    words = [facts.distribution, facts.machine]
    words += [f"Python {'.'.join(map(str, python.version))}"] if python else []
    words += [f"Docker {docker.version}"] if docker.version else []
    return ", ".join(words)
