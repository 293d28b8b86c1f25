"""What is told of a contest with ssh: medians of the rounds, ratios within each, and which goals were missed."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Measure = Callable[[int], dict[str, float]]
"""Figures by name, of whatever begins at a port."""
Figures = dict[str, dict[str, list[float]]]
"""By name of the figure, then of the contender (`fledx`, `ssh`): one value a round."""


def summary(figures: Figures) -> dict[str, dict[str, float]]:
    """Medians, and the median ratio of the rounds."""
    return {
        figure: {
            "fledx": statistics.median(values["fledx"]),
            "ssh": statistics.median(values["ssh"]),
            "ratio": statistics.median(
                ours / theirs for ours, theirs in zip(values["fledx"], values["ssh"], strict=True)
            ),
        }
        for figure, values in figures.items()
    }


def report(figures: Figures, goals: Mapping[str, float], *, rival: str, output: Path, facts: Mapping[str, Any]) -> int:
    """Print the table, write everything to `output`; 1 when a goal is missed. `goals` are least ratios."""
    rows = summary(figures)
    print(f"{'':18} {'fledx':>10} {rival:>10} {'ratio':>7}   goal")
    for figure, row in rows.items():
        goal = f">= {goals[figure]}" if figure in goals else ""
        print(f"{figure:18} {row['fledx']:10.2f} {row['ssh']:10.2f} {row['ratio']:7.2f}   {goal}")
    output.parent.mkdir(parents=True, exist_ok=True)
    told = {"facts": dict(facts), "goals": dict(goals), "summary": rows, "rounds": figures}
    output.write_text(json.dumps(told, indent=2))
    missed = [figure for figure, goal in goals.items() if rows[figure]["ratio"] < goal]
    if missed:
        print("below the goal:", ", ".join(missed))
    return int(bool(missed))
