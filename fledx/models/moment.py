"""Moments as texts: RFC 3339 in UTC."""

from __future__ import annotations

from datetime import datetime, timezone

from fledx.errors import InvalidSpec
from fledx.models.check import shown


def stamp(seconds: float) -> str:
    """Unix seconds as `2026-11-25T19:11:06.123Z`; texts of this form sort by time."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def unix(text: str, *, field: str = "time") -> float:
    """Unix seconds of an RFC 3339 text; a moment without an offset is taken as UTC. InvalidSpec names `field`."""
    try:
        moment = datetime.fromisoformat(_python310(text))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return moment.timestamp()
    except (ValueError, OverflowError):
        raise InvalidSpec(field, f"{shown(text)} is not a time such as 2026-11-25T19:11:06Z") from None


def _python310(text: str) -> str:
    """Python 3.10 reads neither `Z`, nor a space for a lost `+`, nor other than 3 or 6 digits of a second."""
    word = text.strip().replace("Z", "+00:00").replace("z", "+00:00")
    if len(word) > 6 and word[-6] == " ":
        word = word[:-6] + "+" + word[-5:]
    head, dot, rest = word.partition(".")
    if not dot:
        return word
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return f"{head}.{(digits + '000000')[:6]}{rest[len(digits) :]}"
