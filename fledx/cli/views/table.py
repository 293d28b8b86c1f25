"""Aligned columns: plain text, two spaces apart, colour only where it was asked for."""

from __future__ import annotations

from collections.abc import Sequence

from fledx.cli.views.text import cut, width

GREEN, YELLOW, RED, CYAN, BLUE = "32", "33", "31", "36", "34"
COLOURS = {
    "ready": GREEN,
    "running": GREEN,
    "unreachable": YELLOW,
    "deploying": YELLOW,
    "cordoned": YELLOW,
    "draining": YELLOW,
    "error": RED,
    "failed": RED,
    "registering": CYAN,
    "pending": CYAN,
    "stopped": BLUE,
    "unknown": YELLOW,
}
LEAST = 12


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, columns: int | None = None, colour: bool = False
) -> str:
    """
    Heads and rows, left-aligned; cells must be harmless already.

    Where `columns` is given, the last column is cut so that a line stays a line. `colour` paints known status words.
    """
    widths = [max(width(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    if columns is not None:
        room = columns - sum(widths[:-1]) - 2 * (len(widths) - 1)
        widths[-1] = min(widths[-1], max(room, LEAST))
    lines = [_line(heads, widths, colour=False), *(_line(row, widths, colour=colour) for row in rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int], *, colour: bool) -> str:
    shown = []
    for i, (cell, room) in enumerate(zip(cells, widths, strict=True)):
        text = cut(cell, room)
        padding = "" if i == len(cells) - 1 else " " * (room - width(text))
        shown.append((painted(text) if colour else text) + padding)
    return "  ".join(shown).rstrip()


def painted(cell: str) -> str:
    """A status word in its colour; any other text as it is."""
    code = COLOURS.get(cell.partition(",")[0])
    return f"\x1b[{code}m{cell}\x1b[0m" if code else cell


def fields(pairs: Sequence[tuple[str, str | None]], *, indent: str = "") -> str:
    """`name   value` lines, aligned; pairs without a value are left out."""
    shown = [(name, value) for name, value in pairs if value]
    room = max((width(name) for name, _ in shown), default=0) + 2
    return "\n".join(f"{indent}{name}{' ' * (room - width(name))}{value}" for name, value in shown)
