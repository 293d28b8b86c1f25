"""What the doctor found, the worst first within each role."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fledx.cli.views.text import harmless

SIGNS = {"ok": "ok  ", "warn": "warn", "bad": "BAD "}
COLOURS = {"ok": "32", "warn": "33", "bad": "31"}


class Finding(Protocol):
    """One check with its outcome."""

    @property
    def role(self) -> str: ...
    @property
    def check(self) -> str: ...
    @property
    def level(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def mend(self) -> str | None: ...


def findings_screen(found: Sequence[Finding], *, colour: bool = False) -> str:
    """One line a check, the mend below what is not well, and a count at the end."""
    lines = []
    for each in found:
        sign = SIGNS[each.level]
        shown = f"\x1b[{COLOURS[each.level]}m{sign}\x1b[0m" if colour else sign
        lines.append(f"{shown}  {each.role:<8}  {each.check:<13}  {harmless(each.text)}")
        if each.mend:
            lines.append(f"{'':<31}-> {harmless(each.mend)}")
    bad, warn = (sum(each.level == level for each in found) for level in ("bad", "warn"))
    outcome = f"{bad} bad, {warn} to look at" if bad or warn else "all well"
    lines.append(f"\n{len(found)} checks: {outcome}")
    return "\n".join(lines)
