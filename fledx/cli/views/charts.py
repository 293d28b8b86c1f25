"""Small pictures made of letters, one line high."""

from __future__ import annotations

from collections.abc import Sequence

STEPS = " ▁▂▃▄▅▆▇█"
PLAIN = " .:-=+*%#"


def sparkline(values: Sequence[float], *, unicode: bool = True) -> str:
    """
    One character a value, as high as its share of the greatest.

    What is above 0 is always seen. `unicode` False draws with what every terminal has.
    """
    steps = STEPS if unicode else PLAIN
    top = max(values, default=0)
    return "".join(steps[_height(value, top, len(steps) - 1)] for value in values)


def _height(value: float, top: float, most: int) -> int:
    if value <= 0 or top <= 0:
        return 0
    return max(1, round(value / top * most))


def bar(value: float, top: float, *, room: int, unicode: bool = True) -> str:
    """A bar of at most `room` characters, as long as the value's share of `top`; one at least for what is above 0."""
    if value <= 0 or top <= 0:
        return ""
    return ("█" if unicode else "#") * max(1, round(value / top * room))
