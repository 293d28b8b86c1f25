"""Texts of others made harmless, and numbers and times as people read them."""

from __future__ import annotations

import re
import unicodedata

UNSAFE = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
COLOURING = re.compile(r"\x1b\[[0-9;:]*m")


def harmless(text: object) -> str:
    """
    A text with every character that could move a cursor, change a direction or end a line written out as an escape.

    Letters of any script stay as they are.
    """
    word = str(text)
    if word.isascii() and word.isprintable():
        return word
    return "".join(
        _escaped(character) if unicodedata.category(character) in UNSAFE else character for character in word
    )


def brief(text: object) -> str:
    """The first line of a text, harmless, with an ellipsis where there are more."""
    first, _, rest = str(text).strip().partition("\n")
    return harmless(first.rstrip()) + (" …" if rest else "")


def further(text: object) -> list[str]:
    """The other lines of a text, harmless; agents tell there what a container wrote last."""
    return [harmless_line(line.rstrip()) for line in str(text).strip().split("\n")[1:] if line.strip()]


def harmless_line(text: str) -> str:
    """A container's line for a terminal: tabs stay, its colours go, everything else that is not text is written out."""
    if text.isascii() and text.isprintable():
        return text
    return "\t".join(harmless(part) for part in COLOURING.sub("", text).split("\t"))


def _escaped(character: str) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character) or (
        f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"
    )


def width(text: str) -> int:
    """How many columns a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def cut(text: str, columns: int) -> str:
    """At most so many columns, with an ellipsis where something was left out."""
    if width(text) <= columns:
        return text
    kept, used = [], 1
    for character in text:
        used += _columns(character)
        if used > columns:
            break
        kept.append(character)
    return "".join(kept).rstrip() + "…"


def age(since: str | None, now: float) -> str:
    """`12s`, `3m`, `2h`, `5d`, or `-` where it is not known; `now` is unix seconds."""
    if since is None:
        return "-"
    from fledx.errors import InvalidSpec
    from fledx.models.moment import unix

    try:
        return span(max(0.0, now - unix(since)))
    except InvalidSpec:
        return harmless(since)


def span(seconds: float) -> str:
    """A duration in its largest unit, with the next smaller one while that tells something."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole}s"
    if whole < 120 * 60:
        return f"{whole // 60}m"
    if whole < 48 * 3600:
        hours, minutes = divmod(whole // 60, 60)
        return f"{hours}h{minutes}m" if hours < 10 and minutes else f"{hours}h"
    return f"{whole // 86400}d"


def cores(millis: int | None) -> str:
    """Thousandths of a core as `1.5` or `250m`."""
    if millis is None:
        return "-"
    return f"{millis / 1000:g}" if millis % 100 == 0 else f"{millis}m"


def whole_seconds(moment: str) -> str:
    """A time of the API as people read it: without its milliseconds."""
    head, dot, tail = harmless(moment).partition(".")
    return f"{head}Z" if dot and tail.endswith("Z") else head


def size(count: int | None) -> str:
    """Bytes as `512Mi` or `1.5Gi`; exact numbers stay exact, others get one decimal."""
    if count is None:
        return "-"
    value, unit = float(count), "B"
    for larger in ("Ki", "Mi", "Gi", "Ti", "Pi"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f}".removesuffix(".0") + unit


def labels(values: object) -> str:
    """`k=v,k=v`, sorted; `-` where there are none."""
    if not isinstance(values, dict) or not values:
        return "-"
    return ",".join(f"{harmless(key)}={harmless(value)}" for key, value in sorted(values.items()))


def counted(number: int, noun: str) -> str:
    """`1 replica`, `2 replicas`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
