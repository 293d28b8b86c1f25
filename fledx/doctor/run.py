"""The door of the doctor: findings of this machine, and the archive for a bug report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fledx.doctor import bundle
from fledx.doctor.facts import Finding
from fledx.doctor.installed import ETC
from fledx.doctor.judge import judged
from fledx.doctor.look import Look
from fledx.errors import Unavailable


def examine(
    environ: Mapping[str, str], *, role: str | None, operator: Mapping[str, Any] | None, etc: Path = ETC
) -> list[Finding]:
    """
    Findings for the roles this machine has, or for one role.

    `operator` is how the CLI reaches its control plane: `{url, headers, ca_path, profiles}`, or `{broken}`, why it
    cannot know; None leaves that out. `etc` is where the machine's own settings lie.
    """
    return judged(Look(environ, operator, etc).facts(role))


def pack(environ: Mapping[str, str], target: Path, *, operator: Mapping[str, Any] | None) -> list[Finding]:
    """Write the archive and return what the doctor found; Unavailable when it cannot be written."""
    facts = Look(environ, operator).facts(None)
    findings = judged(facts)
    try:
        bundle.write(target, environ, facts, [asdict(each) for each in findings])
    except OSError as fault:
        raise Unavailable(f"{target} cannot be written: {fault.strerror}") from None
    return findings
