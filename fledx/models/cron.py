"""Cron expressions: whether one can be kept, and when it is due; the one adapter of the calendar library."""

from __future__ import annotations

import re
from datetime import datetime, timezone, tzinfo

from fledx.errors import InvalidSpec
from fledx.models.check import shown

ALIASES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
#: Digits, names and the signs of crontab(5), with L (the last) and # (the nth); the library has random fields, too.
FIELD = re.compile(r"(\d|\*|/|-|,|\?|#|L|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC|SUN|MON|TUE|WED|THU|FRI|SAT)+")
FORM = (
    "five fields, minute hour day month weekday, such as '*/5 * * * *', or @hourly, @daily, @weekly, @monthly, @yearly"
)


def expression_fault(text: str) -> str | None:
    """Why this is no expression, or one that is never due; None if it is one."""
    from croniter import CroniterBadDateError, CroniterError, croniter

    fields = text.split()
    if text not in ALIASES and (len(fields) != 5 or not all(FIELD.fullmatch(field.upper()) for field in fields)):
        return f"{shown(text)} is not a cron expression: {FORM}"
    try:
        croniter(text, datetime(2026, 1, 1, tzinfo=timezone.utc)).get_next(datetime)
    except CroniterBadDateError:
        return f"{shown(text)} is never due"
    except (CroniterError, ValueError) as problem:
        return f"{shown(text)} is not a cron expression: {problem}"
    return None


def zone_fault(name: str) -> str | None:
    """Why this machine cannot reckon with a time zone, None if it can; no model asks, as others may know it."""
    try:
        _zone(name)
    except InvalidSpec as fault:
        return fault.problems[0][1]
    return None


def next_after(expression: str, zone: str, moment: datetime) -> datetime:
    """
    The first time after `moment` at which a sound expression is due by the clocks of `zone`; in UTC.

    InvalidSpec when this machine does not know the zone.
    """
    from croniter import croniter

    found: datetime = croniter(expression, moment.astimezone(_zone(zone))).get_next(datetime)
    return found.astimezone(timezone.utc)


def last_until(expression: str, zone: str, moment: datetime) -> datetime:
    """The last time up to `moment`, this included, at which the expression was due; as `next_after`."""
    from datetime import timedelta

    from croniter import croniter

    local = (moment + timedelta(microseconds=1)).astimezone(_zone(zone))
    found: datetime = croniter(expression, local).get_prev(datetime)
    return found.astimezone(timezone.utc)


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return timezone.utc  # needs no data of the machine
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        fault = (
            f"{shown(name)} is not a time zone that this machine knows, such as Europe/Berlin; UTC is known anywhere"
        )
        raise InvalidSpec("timezone", fault) from None
