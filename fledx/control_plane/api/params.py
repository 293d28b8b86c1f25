"""Query parameters: declared once for the reader, the refusal and the API's description."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from fledx.errors import InvalidSpec, NotFound
from fledx.models.check import Faults, control_free, shown
from fledx.models.moment import stamp, unix
from fledx.settings.declare import boolean, duration

MAX_PARAMS = 100
MAX_REF = 255
LARGEST = 2**53  # every JSON reader holds it exactly
FULL_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
FORBIDDEN = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, kw_only=True)
class Param:
    """
    One query parameter.

    `read` turns its text into a value or raises ValueError with a sentence; one with `many` may be repeated, and its
    value is the tuple of all.
    """

    name: str
    help: str
    read: Callable[[str], Any] = str
    default: Any = None
    many: bool = False
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})


def parse(params: Sequence[Param], query: bytes) -> dict[str, Any]:
    """A value for every declared parameter; InvalidSpec with all faults, unknown names among them."""
    found = {param.name: param.default for param in params}
    if not query:
        return found
    given: dict[str, list[str]] = {}
    for name, text in _pairs(query):
        given.setdefault(name, []).append(text)
    known, faults = {param.name: param for param in params}, Faults()
    for name, texts in given.items():
        if (param := known.get(name)) is None:
            faults.add(f"query.{_clean(name)}", _unknown(known))
        else:
            _settle(found, param, texts, faults)
    faults.settle()
    return found


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        text = query.decode("ascii")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMS)
    except UnicodeError:
        raise InvalidSpec("query", "is not UTF-8 in percent signs") from None
    except ValueError:
        raise InvalidSpec("query", f"has more than {MAX_PARAMS} parameters") from None


def _settle(found: dict[str, Any], param: Param, texts: list[str], faults: Faults) -> None:
    where = f"query.{param.name}"
    if len(texts) > 1 and not param.many:
        faults.add(where, "is given more than once")
        return
    values = []
    for text in texts:
        try:
            values.append(param.read(text))
        except ValueError as problem:
            faults.add(where, str(problem))
        except InvalidSpec as problem:
            faults.add(where, problem.problems[0][1])
    found[param.name] = tuple(values) if param.many else next(iter(values), None)


def _clean(name: str) -> str:
    return FORBIDDEN.sub("?", name[:60])


def _unknown(known: Mapping[str, Param]) -> str:
    return f"is not a parameter here; there are: {', '.join(known)}" if known else "is not a parameter here"


def number(name: str, help: str, *, default: int | None, least: int, most: int = LARGEST) -> Param:
    """A whole number between two bounds, both included."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,20}", text):
            raise ValueError(f"{shown(text)} is not a whole number")
        if not least <= int(text) <= most:
            raise ValueError(f"{text} is not between {least} and {most}")
        return int(text)

    schema: dict[str, Any] = {"type": "integer", "minimum": least, "maximum": most}
    if default is not None:
        schema["default"] = default
    return Param(name=name, help=help, read=read, default=default, schema=schema)


def choice(name: str, help: str, words: Sequence[str]) -> Param:
    """One of some words, in any case."""

    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"{shown(text)} is not one of {', '.join(words)}")
        return text.lower()

    return Param(name=name, help=help, read=read, schema={"type": "string", "enum": list(words)})


def word(name: str, help: str, *, many: bool = False) -> Param:
    """A text of one line."""

    def read(text: str) -> str:
        if not text or len(text) > MAX_REF:
            raise ValueError("is empty" if not text else f"{shown(text)} is longer than {MAX_REF} characters")
        if (fault := control_free(text)) is not None:
            raise ValueError(fault)
        return text

    schema: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": MAX_REF}
    if many:
        schema = {"type": "array", "items": schema}
    return Param(name=name, help=help, read=read, default=() if many else None, many=many, schema=schema)


def flag(name: str, help: str) -> Param:
    """True or false; the name alone is true."""
    return Param(
        name=name,
        help=help,
        read=lambda text: not text or boolean(text),
        default=False,
        schema={"type": "boolean", "default": False},
    )


def moment(name: str, help: str) -> Param:
    """A time (RFC 3339), or how long ago (`90s`, `10m`, `2h`); the value is RFC 3339."""

    def read(text: str) -> str:
        if re.fullmatch(r"[0-9.]+[a-z]*", text):
            return stamp(max(0.0, time.time() - duration(text)))
        seconds = unix(text)
        return text if FULL_MOMENT.fullmatch(text) else stamp(seconds)

    return Param(name=name, help=help, read=read)


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"{shown(text)} is not KEY=VALUE")
    return key, value


LABELS = Param(
    name="label",
    help="only those with this label, KEY=VALUE; may be repeated",
    read=_label,
    default=(),
    many=True,
    schema={"type": "array", "items": {"type": "string", "pattern": "^[^=]+=.*$"}},
)
LIMIT = number("limit", "how many at most", default=50, least=1, most=500)
PAGING = (LIMIT, number("offset", "how many to leave out before them", default=0, least=0))


def reference(text: str, what: str) -> str:
    """A name, an id or the beginning of one from the path; NotFound for what none of them can be."""
    if len(text) > MAX_REF or control_free(text) is not None:
        raise NotFound(f"no {what} {shown(text)}")
    return text
